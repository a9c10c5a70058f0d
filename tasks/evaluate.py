"""Evaluate: compute the metrics of the model, the champion and the best constant on the test set, and draw plots."""

from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING
from uuid import uuid4

from prefect import task
from prefect.logging import get_run_logger

from aws.errors import AwsError
from aws.registry import Package
from aws.storage import download_object, read_start, stat_object
from aws.workspace import Workspace
from linear_learner.errors import ArtifactError
from linear_learner.formats.artifact import read_model
from linear_learner.formats.channels import read_channel, read_sample
from linear_learner.model import Examples, LinearModel, Predictions
from tasks.caching import work_folder
from tasks.caching.explain_rerun import Fact
from tasks.caching.policy import RETRIES, Inputs, Result, cached, fingerprint
from tasks.data.parallel import map_files
from tasks.download import TrainedModel
from tasks.environment.folders import explain_disk_errors
from tasks.evaluation.results import Evaluation
from tasks.model_report.effects import ReportFigures
from tasks.model_source import fetch_model, find_package_model
from tasks.parameters import RunParameters
from tasks.upload import Uploaded

if TYPE_CHECKING:
    from tasks.evaluation.champion import EvaluationRows
    from tasks.evaluation.slices import Slices

VERSION = 5
"""Part of the cache key; raised when the metrics or plots are computed in another way."""
MAX_SAMPLE_BYTES, MAX_SAMPLE_ROWS = 8 << 20, 5000
"""Of the training rows with which a closed-form fit is made."""


def _facts(inputs: Inputs) -> dict[str, Fact]:
    trained: TrainedModel = inputs["trained"]
    parameters: RunParameters = inputs["parameters"]
    gate, champion, uploaded = parameters.gate, inputs["champion"], trained.uploaded
    facts: dict[str, Fact] = {
        "training job": trained.job.name,
        "champion": champion.arn if champion else None,
        "gate.metric": gate.metric,
        "gate.confidence": gate.confidence,
        "gate.slice_by": gate.slice_by,
        "version.evaluate": VERSION,
    }
    weighted = parameters.hyperparameters.balance_multiclass_weights
    content = (trained.model.sha256, uploaded["test"].sha256, uploaded.features, weighted, champion, trained.rows)
    plotted = (trained.table.target, trained.table.profile, trained.encoding.table_schema, trained.job.log.summary)
    facts["model.sha256"] = fingerprint(*content, *plotted)
    # For both, columns of the table are read that need not be features.
    reads_table = champion or gate.slice_by
    return {**(trained.table.made_of if reads_table else {}), **facts}


class Evaluated(Result):
    """The evaluation, and what the report shows besides."""

    evaluation: Evaluation
    figures: ReportFigures

    def __str__(self) -> str:
        return str(self.evaluation)


@task(task_run_name="evaluate the model", **cached("evaluate", _facts), **RETRIES)
def evaluate(
    workspace: Workspace, trained: TrainedModel, parameters: RunParameters, champion: Package | None
) -> Evaluated:
    """Return the metrics on the test channel of the model, the best constant and the champion, and the plots.

    The predictions are computed here, from the artifacts, without an endpoint. A champion that cannot score the test
    rows does not fail the run: the evaluation has the reason.
    """
    from tasks.evaluation.assessment import assess  # scikit-learn
    from tasks.evaluation.champion import EvaluationRows
    from tasks.evaluation.closed_form import compare_with_closed_form
    from tasks.model_report.effects import compute_effects, find_worst_rows
    from tasks.model_report.plots import draw_plots

    gate = parameters.gate
    uploaded, folder = trained.uploaded, work_folder(f"evaluate-{uuid4().hex[:8]}")
    try:
        with explain_disk_errors(folder):
            test = _download_test_files(workspace, uploaded, folder / "test")
            examples = read_channel(test, uploaded.content_type, folder)
        model = replace(read_model(trained.model.path), feature_names=uploaded.features)
        predictions, schema = model.predict(examples.features), trained.encoding.table_schema
        test_rows = EvaluationRows(trained.table, trained.rows, schema, examples.features)
        of_champion, objection = (
            _score_champion(workspace, champion, model, test_rows, folder) if champion else (None, None)
        )
        evaluation = assess(
            model,
            examples.labels,
            predictions,
            gate,
            champion=of_champion,
            champion_objection=objection,
            weighted_classes=parameters.hyperparameters.balance_multiclass_weights,
            slices=_slice_rows(workspace, trained, gate.slice_by) if gate.slice_by else [],
            class_names=trained.checked.label.classes,
        )
        spreads = {column.name: column.std for column in trained.table.profile.columns}
        effects = compute_effects(model, schema.sources, spreads, examples.features)
        plots = draw_plots(trained, model, examples.labels, predictions, evaluation, effects)
        weighted = parameters.hyperparameters.balance_multiclass_weights
        sample = _read_training_sample(workspace, uploaded)
        closed_form = compare_with_closed_form(model, sample, examples, weighted_classes=weighted)
        if closed_form and closed_form.is_clearly_worse:
            get_run_logger().warning("%s", closed_form)
        numbers = trained.rows.row_numbers(workspace, trained.table)["test"]
        worst = find_worst_rows(examples.labels, predictions, lambda index: trained.table.name_row(int(numbers[index])))
        figures = ReportFigures(effects=effects, closed_form=closed_form, plots=plots, worst_rows=worst)
        return Evaluated(evaluation=evaluation, figures=figures)
    finally:
        rmtree(folder, ignore_errors=True)


def _download_test_files(workspace: Workspace, uploaded: Uploaded, folder: Path) -> Path:
    for file in uploaded.files_of("test"):
        download_object(workspace, stat_object(workspace, file.uri), folder / file.uri.rpartition("/")[2])
    return folder


def _read_training_sample(workspace: Workspace, uploaded: Uploaded) -> Examples:
    """The first training rows; they are a random sample, as the rows of a channel are shuffled."""
    content = read_start(workspace, uploaded.files_of("train")[0].uri, MAX_SAMPLE_BYTES)
    sample = read_sample(content, uploaded.content_type)
    return Examples(sample.features[:MAX_SAMPLE_ROWS], sample.labels[:MAX_SAMPLE_ROWS])


def _score_champion(
    workspace: Workspace, package: Package, model: LinearModel, test: "EvaluationRows", folder: Path
) -> "tuple[Predictions | None, str | None]":
    """Return the champion's predictions for the test rows, or why it cannot be compared on them."""
    from tasks.evaluation.champion import Champion, score_champion

    try:
        champion = Champion(*fetch_model(workspace, find_package_model(workspace, package), folder / "champion"))
    except (AwsError, ArtifactError) as error:
        if error.retryable:
            raise
        return None, str(error)
    return score_champion(workspace, champion, model, test)


def _slice_rows(workspace: Workspace, trained: TrainedModel, column: str) -> "Slices":
    """Return the test rows of each value, or range of values, of a column."""
    import polars as pl

    from tasks.data.row_assignment import read_cells
    from tasks.evaluation.slices import slice_by_values

    table = trained.table
    options = {"column": column, "purpose": "to slice by", "reading": table.reading}
    cells = pl.concat(map_files(workspace, read_cells, table.parts, **options))
    test = trained.rows.row_numbers(workspace, table)["test"]
    return slice_by_values(cells.gather(test))
