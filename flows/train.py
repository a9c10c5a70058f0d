"""The flow that trains Linear Learner on a table, evaluates the model and registers it; one task per step."""

if __name__ == "__main__":
    # Before the other imports: the command line prints, and starts its servers, while Prefect is being imported.
    from importlib import import_module

    from flows.cli.command import run_command

    raise SystemExit(
        run_command(
            lambda: import_module("flows.cli.main").main(lambda: import_module("flows.train").train_linear_learner)
        )
    )

from prefect import flow
from prefect.exceptions import CancelledRun
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed

from aws.errors import TrainingFailed
from aws.training.compute import Compute
from aws.training.submission import IfExists, Submission
from aws.workspace import Workspace
from flows.endpoint import load_running_workspace
from flows.form import (
    ComputeForm,
    DatasetForm,
    GateForm,
    HyperparametersForm,
    JobIfExists,
    ModelFolder,
    RegistryForm,
    ReuseForm,
    SplitForm,
    WorkspaceName,
)
from flows.reap import stop_or_leave_jobs
from linear_learner.hyperparameters import Hyperparameters
from tasks.caching.result_storage import bucket_results
from tasks.check import check, check_workspace
from tasks.download import TrainedModel, download
from tasks.encode import encode
from tasks.evaluate import evaluate
from tasks.fit import fit
from tasks.format import format_channels
from tasks.load import find, load
from tasks.monitor import FinishedJob, monitor
from tasks.parameters import (
    Dataset,
    Gate,
    Registry,
    RequestedHyperparameters,
    Reuse,
    RunParameters,
    Split,
)
from tasks.prefect_ui.console_output import ignore_closed_pipe
from tasks.prefect_ui.failure_artifact import failure_artifact
from tasks.prefect_ui.run_name import add_verdict, training_run_name
from tasks.record import record
from tasks.register import decide_verdict, find_champion, register
from tasks.report import TrainingRun, report, show_report
from tasks.split import split_rows
from tasks.upload import Uploaded, upload

MAX_INTERNAL_ERRORS = 3
"""Number of attempts with an internal error of AWS after which the run fails; each may have been billed."""


DESCRIPTION = """\
Trains Amazon SageMaker's built-in **Linear Learner** on a table in S3, evaluates the model and registers it:
*check workspace → load → split → check → encode → find champion → format → upload → fit → monitor → download →
evaluate → record → register → report*.

- Steps whose inputs have not changed are **reused**, including the training job: nothing is paid for twice.
- The verdict is the run's state: **Completed**, or **Rejected** when the model is no better than the best constant
  prediction or than the champion. The artifact `model-report` gives the reasons.
- Cancelling a run stops its training job.
"""


@flow(
    name="train-linear-learner",
    description=DESCRIPTION,
    flow_run_name=training_run_name,
    on_failure=[stop_or_leave_jobs],
    on_crashed=[stop_or_leave_jobs],
    on_cancellation=[stop_or_leave_jobs],
    persist_result=True,
    result_serializer="json",
)
def train_linear_learner(
    dataset: DatasetForm = Dataset(),
    workspace: WorkspaceName = "sandbox",
    split: SplitForm = Split(),
    hyperparameters: HyperparametersForm = RequestedHyperparameters(),
    compute: ComputeForm = Compute(),
    gate: GateForm = Gate(),
    registry: RegistryForm = Registry(),
    reuse: ReuseForm = Reuse(),
    if_exists: JobIfExists = "adopt",
    model_dir: ModelFolder = "models",
) -> TrainingRun:
    """Train Amazon SageMaker's Linear Learner on a table in S3, download the model, evaluate and register it.

    Args:
        dataset: The table to train on and the column to predict.
        workspace: Name of the saved Training Workspace block, which defines where training runs.
        split: How the rows are divided into training, validation and test set.
        hyperparameters: The algorithm's settings; the defaults suit most tables.
        compute: Instances, time limit and maximum cost of the training job.
        gate: Conditions on the test set that the model must meet before it may be used.
        registry: Whether and where the model is registered in SageMaker's Model Registry.
        reuse: Which results of earlier runs are reused; by default all that are not missing or changed.
        if_exists: What to do if a job with the same input runs or is complete: adopt it, pay for a new one, or fail.
        model_dir: Folder, on the machine that runs the flow, for the downloaded model.
    """
    ignore_closed_pipe()
    parameters = RunParameters(
        dataset=dataset, split=split, hyperparameters=hyperparameters, compute=compute, gate=gate, registry=registry
    )
    try:
        with failure_artifact():
            block = load_running_workspace(workspace)
            with bucket_results(block, dataset, reuse) as results:
                check_workspace(block, model_dir, compute)
                table = load(block, find(block, dataset), dataset)
                rows = split_rows(block, table, split, drop_unlabelled=dataset.drop_unlabelled)
                checked = check(table, rows, parameters)
                encoding = encode(block, table, rows, checked, dataset)
                champion = find_champion(block, parameters)
                formatted = format_channels(block, table, rows, encoding, dataset.format, compute.instance_count)
                uploaded = upload(block, formatted)
                submission, job = fit_and_monitor(block, uploaded, checked.hyperparameters, compute, if_exists)
                model = download(block, job, model_dir)
                trained = TrainedModel(
                    table=table,
                    rows=rows,
                    checked=checked,
                    encoding=encoding,
                    uploaded=uploaded,
                    submission=submission,
                    job=job,
                    model=model,
                )
                # A reused model may be the champion itself, which is not compared with itself.
                compared = champion if champion and champion.training_job != job.name else None
                evaluated = evaluate(block, trained, parameters, compared)
                evaluation = evaluated.evaluation
                verdict = decide_verdict(evaluation, parameters, champion, job)
                recorded = record(block, trained, parameters, evaluation)
                registered = None
                if registry.register_model:
                    registered = register(block, trained, parameters, recorded, evaluation, verdict, champion)
                run = TrainingRun(
                    **dict(trained),
                    evaluation=evaluation,
                    verdict=verdict,
                    recorded=recorded,
                    registered=registered,
                    reused=results.reused(),
                )
                show_report(report(block, run, compared, workspace, evaluated.figures), run)
                add_verdict(verdict.headline)
    except CancelledRun as cancelled:
        return Cancelled(message=str(cancelled))  # type: ignore[return-value] # Prefect uses it as the state of the run
    if not verdict.passed:
        # Users and automations can distinguish this state from that of a run whose model may be used.
        return Completed(name="Rejected", message=verdict.headline, data=run)  # type: ignore[return-value] # the same
    return Completed(message=verdict.headline, data=run)  # type: ignore[return-value] # the same


def fit_and_monitor(
    workspace: Workspace, uploaded: Uploaded, hyperparameters: Hyperparameters, compute: Compute, if_exists: IfExists
) -> tuple[Submission, FinishedJob]:
    """Start and follow a training job; after an internal error or a lack of capacity of AWS, try again.

    The cost of an attempt is subtracted from the budget of the next. All other failures are raised.
    """
    first_option, internal_errors = 0, 0
    while True:
        fit_result = fit(workspace, uploaded, hyperparameters, compute, if_exists, first_option)
        submission = fit_result.submission
        try:
            return submission, monitor(workspace, submission, stop_when_diverging=compute.stop_when_diverging)
        except TrainingFailed as error:
            if error.outcome is None or error.outcome.retry != "now":
                raise
            internal_errors += error.outcome.kind == "internal"
            budget = None if compute.max_cost_usd is None else compute.max_cost_usd - error.usd
            if internal_errors == MAX_INTERNAL_ERRORS or (budget is not None and budget <= 0):
                raise
            get_run_logger().warning("%s Trying again.", error)
            # After an internal error, the same instances are requested again.
            first_option = fit_result.option.step + (error.outcome.kind != "internal")
            compute = compute.model_copy(update={"max_cost_usd": budget})
