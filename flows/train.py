"""Train Linear Learner on a CSV file, judge the model and register it; one task per step."""

if __name__ == "__main__":
    # Before everything else: the command line answers, and starts its servers, while Prefect is still being imported.
    from flows.cli.main import main

    raise SystemExit(main())

from pathlib import PurePosixPath
from typing import Annotated, Any

from prefect import flow
from prefect.context import FlowRunContext
from prefect.exceptions import CancelledRun
from prefect.logging import get_run_logger
from prefect.runtime import deployment
from prefect.states import Cancelled, Completed
from pydantic import Field

from aws.errors import TrainingFailed
from aws.training.compute import Compute
from aws.training.submission import IfExists, Submission
from aws.workspace import Workspace, load_workspace
from flows.reap import stop_jobs_of_run
from linear_learner.hyperparameter_groups import CommonHyperparameters, RareHyperparameters
from linear_learner.hyperparameters import Hyperparameters
from tasks.caching.explain_rerun import track_inputs
from tasks.caching.policy import PERSISTED
from tasks.caching.result_storage import bucket_results
from tasks.check import check
from tasks.download import TrainedModel, download
from tasks.evaluate import check_gate, evaluate
from tasks.evaluation.gate import decide
from tasks.fit import fit, fit_batch_size
from tasks.format import format_channels
from tasks.load import load
from tasks.monitor import FinishedJob, monitor, read_training_log
from tasks.parameters import Dataset, Gate, Registry, Reuse, Split
from tasks.prefect_ui.failure_artifact import failure_artifact
from tasks.record import record
from tasks.register import champion_verdict, find_champion, register
from tasks.report import TrainingRun, plot, report
from tasks.split import split_rows
from tasks.upload import Uploaded, upload

MAX_INTERNAL_ERRORS = 3
"""Attempts that may end in a fault of AWS's own before the run does; each may have cost something."""


def _titled(title: str) -> Any:
    """A heading in the form; without one Prefect shows the parameter's name."""
    return Field(json_schema_extra={"title": title})


def _run_name() -> str:
    """The run's data and, where a deployment asked for it, its purpose: `bonus from transformed_data.csv, nightly`."""
    context = FlowRunContext.get()
    parameters = (context and context.parameters) or {}
    dataset: Dataset = parameters.get("dataset", Dataset())
    purpose = f", {deployment.name}" if deployment.name else ""
    return f"{dataset.target} from {PurePosixPath(dataset.source).name}{purpose}"


DESCRIPTION = """\
Trains Amazon SageMaker's built-in **Linear Learner** on a table in S3, judges the model and registers it:
*load → split → check → format → upload → fit → monitor → download → evaluate → register → report*.

- What has not changed is **reused**, the training job too: nothing is paid for twice.
- The verdict is the run's state: **Completed**, or **Rejected** when the model is no better than guessing or than the
  champion. The artifact `model-report` says why.
- Cancelling a run stops its training job.
"""


@flow(
    name="train-linear-learner",
    description=DESCRIPTION,
    flow_run_name=_run_name,
    on_failure=[stop_jobs_of_run],
    on_crashed=[stop_jobs_of_run],
    on_cancellation=[stop_jobs_of_run],
    **PERSISTED,
)
def train_linear_learner(
    dataset: Annotated[Dataset, _titled("Data")] = Dataset(),
    workspace: Annotated[str, _titled("Workspace")] = "sandbox",
    split: Annotated[Split, _titled("Split")] = Split(),
    hyperparameters: Annotated[CommonHyperparameters, _titled("Hyperparameters")] = CommonHyperparameters(),
    compute: Annotated[Compute, _titled("Instances, time and money")] = Compute(),
    gate: Annotated[Gate, _titled("Gate")] = Gate(),
    registry: Annotated[Registry, _titled("Model registry")] = Registry(),
    more_hyperparameters: Annotated[
        RareHyperparameters, _titled("Hyperparameters that few change")
    ] = RareHyperparameters(),
    reuse: Annotated[Reuse, _titled("Reuse")] = Reuse(),
    if_exists: Annotated[IfExists, _titled("If the training job exists")] = "adopt",
    model_dir: Annotated[str, _titled("Model folder")] = "models",
) -> TrainingRun:
    """Train Amazon SageMaker's Linear Learner on a CSV file in S3, download the model, judge and register it.

    Args:
        dataset: The table to train on and the column to predict.
        workspace: Name of the saved Training Workspace block that says where training runs.
        split: How many rows train, validate and test.
        hyperparameters: What the algorithm is told; the defaults suit most tables.
        compute: What the training job runs on, for how long, and what it may cost.
        gate: What the model must show on the test set before it may be used.
        registry: Whether and where the model is registered in SageMaker's Model Registry.
        more_hyperparameters: What the algorithm is told besides; empty leaves the choice to it.
        reuse: What may be reused of earlier runs; by default everything that is still there.
        if_exists: When a training job of this very input runs or is done: adopt it, pay for a new one, or fail.
        model_dir: Folder, on the machine that runs the flow, for the downloaded model.
    """
    try:
        with failure_artifact():
            where = load_workspace(workspace)
            hyperparameters = Hyperparameters.of(hyperparameters, more_hyperparameters)
            chosen = {"split": split, "hyperparameters": hyperparameters, "compute": compute, "gate": gate}
            with bucket_results(where, reuse), track_inputs(where, dataset, **chosen):
                table = load(where, dataset)
                rows = split_rows(where, table, split)
                warnings = check(table.profile, rows.by_channel, hyperparameters, table.source.uri, split.left_out)
                # The next three would else be refused when everything is uploaded, or paid for.
                fit_batch_size(hyperparameters, rows.train)
                check_gate(gate, hyperparameters, table, dataset)
                champion = find_champion(where, registry, dataset)
                formatted = format_channels(where, table, rows, dataset.format, compute.instance_count)
                uploaded = upload(where, formatted)
                submission, job = fit_and_monitor(where, uploaded, hyperparameters, compute, if_exists)
                model = download(where, job, model_dir)
                made = TrainedModel(
                    table=table, rows=rows, uploaded=uploaded, submission=submission, job=job, model=model
                )
                log_summary = read_training_log(where, job)
                reigns = champion_verdict(champion, job)
                rival = None if reigns else champion
                evaluation = evaluate(where, made, hyperparameters, rival, gate)
                verdict = reigns or decide(evaluation, gate, has_champion=rival is not None)
                recorded = record(where, {"dataset": dataset, **chosen, "registry": registry}, made, evaluation)
                registered = None
                if registry.register_model:
                    registered = register(where, dataset, registry, made, recorded, evaluation, verdict, champion)
                run = TrainingRun(
                    **dict(made), evaluation=evaluation, verdict=verdict, recorded=recorded, registered=registered
                )
                about = run.about(log_summary, rival, warnings, gate.slice_by, workspace)
                report(about, plot(about), model.path.parent)
    except CancelledRun as cancelled:
        return Cancelled(message=str(cancelled))  # type: ignore[return-value] # Prefect takes it for the run's state
    if not verdict.passed:
        # Done, but automations and people can tell it from a run whose model may be used.
        return Completed(name="Rejected", message=str(verdict), data=run)  # type: ignore[return-value] # the same
    return run


def fit_and_monitor(
    where: Workspace, uploaded: Uploaded, hyperparameters: Hyperparameters, compute: Compute, if_exists: IfExists
) -> tuple[Submission, FinishedJob]:
    """The finished job. What an attempt cost is taken off the budget of the next; another kind of failure is raised."""
    first_option, faults = 0, 0
    while True:
        fitted = fit(where, uploaded, hyperparameters, compute, if_exists, first_option)
        submission = fitted.submission
        try:
            return submission, monitor(where, submission, stop_when_diverging=compute.stop_when_diverging)
        except TrainingFailed as error:
            if error.outcome is None or error.outcome.retry != "now":
                raise
            faults += error.outcome.kind == "internal"
            budget = None if compute.max_cost_usd is None else compute.max_cost_usd - error.usd
            if faults == MAX_INTERNAL_ERRORS or (budget is not None and budget <= 0):
                raise
            get_run_logger().warning("%s Trying again.", error)
            # After a fault the same kind of instances will do.
            first_option = fitted.option.step + (error.outcome.kind != "internal")
            compute = compute.model_copy(update={"max_cost_usd": budget})
