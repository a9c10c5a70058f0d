"""Runs to report on: random rows with labels from a linear model plus noise, predicted by that model."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from aws.registry import Package
from aws.storage import StoredObject
from aws.training.cost import Bill
from aws.training.submission import Submission
from linear_learner.hyperparameters import LOSSES, Hyperparameters
from linear_learner.logs.reader import EpochReport, LogReport
from linear_learner.model import LinearModel, Predictions, PredictorType
from linear_learner.schema import LabelSchema, NumberColumn, Schema
from tasks.check import CheckedData
from tasks.data.column_plan import plan_columns
from tasks.data.label_choice import LabelChoice
from tasks.data.measurement import measure_chunks
from tasks.data.rules.finding import Finding
from tasks.data.source import Source, TablePart
from tasks.download import ModelFile
from tasks.encode import Encoding
from tasks.evaluation.assessment import assess
from tasks.evaluation.results import Evaluation, Verdict
from tasks.format import ChannelFile
from tasks.load import Table
from tasks.model_report.document import TrainingRun, render_report
from tasks.model_report.effects import Effects, Plot, ReportFigures, compute_effects, find_worst_rows
from tasks.model_report.plots import draw_plots
from tasks.monitor import FinishedJob, TrainingLogSummary
from tasks.parameters import Gate, PlanOptions, Split
from tasks.record import Recorded
from tasks.register import Registered
from tasks.split import Rows
from tasks.upload import Uploaded
from tests.linear_learner.formats.files import write_archive

ROWS = 1500
NAMES = ("years_employed", "salary", "age", "distance_km", "overtime_hours", "satisfaction", "team_size")
OBJECTIVES = {
    "regressor": "mse",
    "binary_classifier": "binary_classification_cross_entropy",
    "multiclass_classifier": "multiclass_cross_entropy",
}
JOB = "linear-learner-bonus-3f9a1c07"
PLOTS_OF_CLASSES = {"learning-curve", "roc", "precision-recall", "calibration", "effects"}
PLOTS: dict[PredictorType, set[str]] = {
    "regressor": {"learning-curve", "residuals-and-predicted", "residuals", "effects"},
    "binary_classifier": PLOTS_OF_CLASSES,
    "multiclass_classifier": {*PLOTS_OF_CLASSES, "confusion"},
}
"""The names of the plots of each predictor type."""


@dataclass(frozen=True)
class Case:
    """A run, and the test rows on which its model was evaluated."""

    run: TrainingRun
    model: LinearModel
    labels: NDArray[np.float32]
    predictions: Predictions
    champion: Package | None
    workspace: str = "aws"

    @property
    def summary(self) -> LogReport:
        assert self.run.job.log.summary is not None
        return self.run.job.log.summary

    def effects(self) -> Effects:
        """The effects of the columns of the run's model."""
        spreads = {column.name: column.std for column in self.run.table.profile.columns}
        return compute_effects(self.model, self.model.feature_names or (), spreads)

    def plots(self) -> dict[str, str]:
        """The data URLs of the plots, by name."""
        return {name: plot.url for name, plot in self.draw().items()}

    def draw(self) -> dict[str, Plot]:
        evaluation = self.run.evaluation
        return draw_plots(self.run, self.model, self.labels, self.predictions, evaluation, self.effects())

    def report(self, plots: dict[str, str] | None = None) -> str:
        """The report with plots of these URLs."""
        drawn = {name: Plot(url=url, finding=f"What {name} shows") for name, url in (plots or {}).items()}
        worst = find_worst_rows(self.labels, self.predictions, str)
        figures = ReportFigures(effects=self.effects(), closed_form=None, plots=drawn, worst_rows=worst)
        return render_report(self.run, self.champion, self.workspace, figures)

    def with_warnings(self, *warnings: Finding) -> Self:
        return self.change(checked=self.run.checked.model_copy(update={"findings": warnings}))

    def change(self, **fields: object) -> Self:
        """A copy with other fields of the run."""
        return replace(self, run=self.run.model_copy(update=fields))

    def change_evaluation(self, **fields: object) -> Self:
        return self.change(evaluation=self.run.evaluation.model_copy(update=fields))

    def change_metrics(self, **fields: object) -> Self:
        metrics = self.run.evaluation.metrics
        return self.change_evaluation(metrics=tuple(metric.model_copy(update=fields) for metric in metrics))

    def change_log(self, summary: LogReport | None, objection: str | None = None) -> Self:
        log = TrainingLogSummary(summary=summary, objection=objection)
        return self.change(job=self.run.job.model_copy(update={"log": log}))


MakeCase = Callable[..., Case]


@pytest.fixture
def make_case(tmp_path: Path) -> MakeCase:
    """A function that makes a run for a predictor type."""

    def make(
        kind: PredictorType = "regressor", *, classes: int = 5, names: tuple[str, ...] = NAMES, target: str = "bonus"
    ) -> Case:
        case = evaluated_case(kind, classes, names, target)
        path = tmp_path / "model.tar.gz"
        write_archive(case.model, path)
        model = case.run.model.model_copy(update={"path": path})
        return case.change(
            model=model, recorded=case.run.recorded.model_copy(update={"path": path.with_name("run.json")})
        )

    return make


@cache  # evaluating a model takes a third of a second
def evaluated_case(kind: PredictorType, classes: int, names: tuple[str, ...], target: str) -> Case:
    """A run whose files do not exist."""
    random = np.random.default_rng(7)
    spread = np.logspace(-1, 4, len(names))
    features = random.normal(0, spread, (ROWS, len(names))).astype(np.float32)
    outputs = classes if kind == "multiclass_classifier" else 1
    weights = (random.normal(0, 1.5, (len(names), outputs)) / spread[:, None]).astype(np.float32)
    exact = features @ weights + random.normal(0, 1, (ROWS, outputs))
    labels = exact[:, 0] if kind == "regressor" else exact.argmax(axis=1) if outputs > 1 else exact[:, 0] > 1
    model = LinearModel(kind, LOSSES[kind][0], weights, np.zeros(outputs, np.float32), 0.4, {}, names)
    columns = np.vstack([labels, features.T]).astype(np.float64)
    frame = pl.DataFrame(dict(zip([target, *names], columns, strict=True)))
    profile = measure_chunks([frame], [target, *names], target).profile()
    uri = "s3://people-data/output/transformed_data.csv"
    source = Source(uri=uri, parts=(TablePart(uri=uri, size=1, etag="e"),))
    table = Table(source=source, holdout=None, made_of={}, part_rows=(ROWS,), profile=profile)
    evaluation = evaluate(model, labels.astype(np.float32), features)
    classes = () if kind == "regressor" else tuple(map(str, range(max(outputs, 2))))
    checked = CheckedData(
        findings=(finding(),),
        plan=plan_columns(profile, PlanOptions()),
        label=LabelChoice(predictor_type=kind, classes=classes, reason="The predictor type was chosen."),
        hyperparameters=Hyperparameters(predictor_type=kind, num_classes=outputs if outputs > 2 else None),
    )
    schema = Schema(
        label=LabelSchema(name=target, classes=classes), columns=tuple(NumberColumn(name=name) for name in names)
    )
    run = TrainingRun(
        table=table,
        evaluation=evaluation,
        checked=checked,
        encoding=Encoding(table_schema=schema, made_of={}),
        **steps(kind, Path("model.tar.gz"), names),
    )
    predictions = model.predict(features)
    for array in (labels, weights, predictions.scores):
        array.flags.writeable = False  # tests share them
    return Case(run, model, labels.astype(np.float32), predictions, champion())


def evaluate(model: LinearModel, labels: NDArray[np.float32], features: NDArray[np.float32]) -> Evaluation:
    worse = replace(model, weights=model.weights * np.float32(0.6))
    ends = (("Zürich", 0, 900), ("Bern", 900, 1400), ("(missing)", 1400, ROWS))
    return assess(
        model,
        labels,
        model.predict(features),
        Gate(slice_by="town"),
        champion=worse.predict(features),
        slices=[(town, np.arange(start, end)) for town, start, end in ends],
    )


def steps(kind: PredictorType, path: Path, features: tuple[str, ...]) -> dict[str, Any]:
    """The results of every step except load and evaluate."""
    file = ChannelFile(channel="test", uri="s3://bucket/test/part.csv", rows=3960, size=1, sha256="c0ffee")
    model = "s3://bucket/model.tar.gz"
    bill = Bill(
        instance_type="ml.m5.large",
        instance_count=1,
        spot=False,
        training_seconds=240,
        billable_seconds=240,
        price=None,
        usd=None,
    )
    return {
        "rows": Rows(train=28_000, validation=8_040, test=3_960, parameters=Split()),
        "uploaded": Uploaded(
            identity="0", content_type="text/csv", features=features, schema_sha256="0", files=(file,), made_of={}
        ),
        "submission": Submission(name=JOB, arn="arn:aws:sagemaker:::x", how="started"),
        "job": FinishedJob(
            name=JOB,
            model=StoredObject(uri=model, size=1, etag="e"),
            metrics={},
            created=datetime(2026, 1, 1, tzinfo=UTC),
            bill=bill,
            log=TrainingLogSummary(summary=summarize(kind), objection=None),
        ),
        "model": ModelFile(uri=model, path=path, size=1, sha256="x", features=len(features)),
        "verdict": Verdict(
            outcome="promoted",
            headline="promoted: RMSE 1,843, 8.7 % less error than champion version 2",
            reason="This model: RMSE 1,843. Champion (version 2): 2,019. The error is 8.7 % lower.",
        ),
        "recorded": Recorded(
            uri="s3://bucket/models/run.json",
            path=path.with_name("run.json"),
            sha256="x",
            schema_uri="s",
            schema_sha256="x",
        ),
        "registered": Registered(arn="arn", group="linear-learner-bonus", version=3, status="PendingManualApproval"),
    }


def champion() -> Package:
    return Package(
        arn="arn",
        group="linear-learner-bonus",
        version=2,
        status="Approved",
        model_uri="s3://bucket/champion/model.tar.gz",
        training_job="linear-learner-bonus-11d0e2b4",
        metadata={},
        created=datetime(2026, 1, 1, tzinfo=UTC),
    )


def finding(where: str = "column 'age'") -> Finding:
    return Finding(
        level="warning", where=where, what="3 values are far from all others", remedy="Look at rows 17 and 212"
    )


def summarize(kind: PredictorType, epochs: int = 15) -> LogReport:
    losses = [0.35 + 2.2 * 0.6**epoch + 0.004 * max(0, epoch - 9) for epoch in range(epochs)]
    return LogReport(
        objective=OBJECTIVES[kind],
        criterion=f"{OBJECTIVES[kind]}_objective",
        model_count=32,
        saved_model=7,
        best_hyperparameters={"learning_rate": 0.1, "wd": 0.0001, "l1": 0.0, "optimizer": "adam"},
        epoch_count=epochs,
        saved_epoch=9,
        saved_value=losses[9],
        best_epoch=10,
        best_value=0.3687,
        stopped_early=True,
        throughput=17_302.4,
        epochs=tuple(EpochReport(index=n, train={7: 0.4 * v}, validation={7: v}) for n, v in enumerate(losses)),
    )
