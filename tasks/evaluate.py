"""Evaluate: score the test set offline, with the model and with the champion, and compare both with guessing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING
from uuid import uuid4

from prefect import task

from aws.errors import AwsError
from aws.registry import Package
from aws.storage import fetch, look, read_object
from aws.workspace import Workspace
from linear_learner.errors import ArtifactError, DataError
from linear_learner.formats.artifact import read_model
from linear_learner.formats.channels import read_channel
from linear_learner.hyperparameter_groups import LOSSES
from linear_learner.hyperparameters import Hyperparameters
from linear_learner.model import LinearModel
from tasks.caching.explain_rerun import record_input
from tasks.caching.local_files import work_folder
from tasks.caching.policy import PERSISTED, RETRIES, ContentCachePolicy, Inputs
from tasks.data.parallel import map_files
from tasks.download import TrainedModel
from tasks.evaluation.results import Evaluation
from tasks.load import Table
from tasks.parameters import Dataset, Gate
from tasks.record import FILE
from tasks.upload import Uploaded

if TYPE_CHECKING:
    from tasks.evaluation.slices import Slices

OF = ("training job", "champion", "gate.metric", "gate.confidence", "gate.slice_by")
VERSION = 1
"""Of the figures."""


def check_gate(gate: Gate, hyperparameters: Hyperparameters, table: Table, dataset: Dataset) -> None:
    """See that the gate can be applied, before anything is paid for.

    Raises HyperparameterError for a metric that the predictor type does not have, DataError for an unknown column.
    """
    from tasks.evaluation.gate import gate_metric

    loss = hyperparameters.loss if hyperparameters.loss != "auto" else LOSSES[hyperparameters.predictor_type][0]
    gate_metric(hyperparameters.predictor_type, loss, gate, hyperparameters.balance_multiclass_weights)
    known = (*table.columns, *dataset.ignore)
    if gate.slice_by is not None and gate.slice_by not in known:
        shown = ", ".join(known[:30])[:300]
        raise DataError(f"gate.slice_by names {gate.slice_by!r}, which is no column of the table. It has: {shown}.")


def _identity(inputs: Inputs) -> tuple[object, ...]:
    trained: TrainedModel = inputs["trained"]
    gate: Gate = inputs["gate"]
    champion: Package | None = inputs["champion"]
    record_input({"champion": champion.arn if champion else None})
    sliced = (gate.slice_by, trained.table.identity) if gate.slice_by else None
    weighted = inputs["hyperparameters"].balance_multiclass_weights
    test = trained.uploaded["test"].sha256, trained.uploaded.content_type
    return (
        (trained.model.sha256, *test, trained.uploaded.features, weighted),
        (champion.arn, champion.model_uri) if champion else None,
        (gate.metric, gate.confidence, sliced, VERSION),
    )


@task(
    task_run_name="evaluate {trained.job.name}",
    cache_policy=ContentCachePolicy(step="evaluate", identity=_identity, of=OF),
    **PERSISTED,
    **RETRIES,
)
def evaluate(
    workspace: Workspace, trained: TrainedModel, hyperparameters: Hyperparameters, champion: Package | None, gate: Gate
) -> Evaluation:
    """The metrics of the model on the test channel, beside those of the best constant and of the champion.

    No endpoint is involved: the scores are computed here, from the artifacts. A champion that cannot score these rows
    is no reason to fail: the evaluation says why it cannot.
    """
    from tasks.evaluation.assessment import assess  # scikit-learn

    uploaded, folder = trained.uploaded, work_folder(f"evaluate-{uuid4().hex[:8]}")
    try:
        test = _fetched(workspace, uploaded, folder / "test")
        examples = read_channel(test, uploaded.content_type, folder)
        judged = read_model(trained.model.path)
        loaded = _load_champion(workspace, champion, judged, uploaded.features, folder) if champion else _Champion()
        return assess(
            judged,
            examples.labels,
            judged.predict(examples.features),
            gate,
            champion=loaded.model.predict(examples.features) if loaded.model else None,
            champion_objection=loaded.objection,
            weighted_classes=hyperparameters.balance_multiclass_weights,
            slices=_slices(workspace, trained, gate.slice_by) if gate.slice_by else [],
        )
    finally:
        rmtree(folder, ignore_errors=True)


def _fetched(workspace: Workspace, uploaded: Uploaded, folder: Path) -> Path:
    for file in uploaded["test"].files:
        fetch(workspace, look(workspace, file.uri), folder / file.uri.rpartition("/")[2])
    for mark in folder.glob("*.identity"):
        mark.unlink()
    return folder


@dataclass(frozen=True)
class _Champion:
    """The champion, if it can score the rows, or why it cannot."""

    model: LinearModel | None = None
    objection: str | None = None


def _load_champion(
    workspace: Workspace, champion: Package, model: LinearModel, features: tuple[str, ...], folder: Path
) -> _Champion:
    path = folder / "champion" / "model.tar.gz"
    try:
        fetch(workspace, look(workspace, champion.model_uri), path)
        loaded = read_model(path)
    except (AwsError, ArtifactError) as error:
        if isinstance(error, AwsError) and error.retryable:
            raise
        return _Champion(objection=str(error))
    if (loaded.predictor_type, loaded.weights.shape[1]) != (model.predictor_type, model.weights.shape[1]):
        return _Champion(objection=f"it is a {_kind(loaded)}, this model a {_kind(model)}.")
    own = _features(workspace, champion)
    if own is None or len(own) != len(loaded.weights):
        # Not recorded, as for a model that others registered: taken to be the same, in the same order.
        same = len(loaded.weights) == len(features)
        return _Champion(loaded) if same else _Champion(objection="it has another number of features.")
    if sorted(own) != sorted(features):
        return _Champion(objection=_other_features(own, features))
    return _Champion(replace(loaded, weights=loaded.weights[[own.index(feature) for feature in features]]))


def _kind(model: LinearModel) -> str:
    outputs = model.weights.shape[1]
    return f"{model.predictor_type} of {outputs} classes" if outputs > 1 else model.predictor_type


def _features(workspace: Workspace, champion: Package) -> tuple[str, ...] | None:
    """What the champion's features are called; None when that was not recorded."""
    try:
        record = json.loads(read_object(workspace, f"{champion.model_uri.rpartition('/')[0]}/{FILE}")[0])
        return tuple(map(str, record["features"]))
    except AwsError as error:
        if error.retryable:
            raise
    except (ValueError, KeyError, TypeError):
        pass
    return None


def _other_features(own: Sequence[str], features: Sequence[str]) -> str:
    removed, new = [f for f in own if f not in features], [f for f in features if f not in own]
    parts = [f"{verb} {', '.join(map(repr, some[:5]))}" for verb, some in (("uses", removed), ("lacks", new)) if some]
    return f"it {' and '.join(parts)}."


def _slices(workspace: Workspace, trained: TrainedModel, column: str) -> "Slices":
    """For each value of a column, or range of values, the test rows that have it."""
    import polars as pl

    from tasks.data.row_assignment import cells_file, indices, split_keys
    from tasks.evaluation.slices import slices_of

    table, split = trained.table, trained.rows.parameters
    cells = pl.concat(map_files(workspace, cells_file, table.parts, column=column, what="to slice by"))
    test = indices(table.rows, split, split_keys(workspace, table.parts, table.target, split), table.holdout_rows)[
        "test"
    ]
    return slices_of(cells.gather(test))
