"""Train Linear Learner on a CSV file: load, split, format, upload, fit, monitor, download."""

if __name__ == "__main__":
    # Before everything else: the command line answers, and starts its servers, while Prefect is still being imported.
    from flows.command_line.main import main

    raise SystemExit(main())

from prefect import flow
from prefect.exceptions import CancelledRun
from prefect.states import Cancelled

from aws.compute import Compute
from aws.submission import IfExists, Submission
from aws.workspace import load_workspace
from flows.abandonment import abandon_jobs
from flows.attempts import fit_and_monitor
from linear_learner.hyperparameters import Hyperparameters
from tasks.check import check
from tasks.download import ModelFile, download
from tasks.failure import explained
from tasks.fit import suited
from tasks.format import format_channels
from tasks.load import Table, load
from tasks.monitor import FinishedJob
from tasks.parameters import Dataset, Reuse, Split
from tasks.reasons import remembered
from tasks.reuse import KEPT, Result, results_in
from tasks.split import Rows, split_rows
from tasks.upload import Uploaded, upload


class TrainingRun(Result):
    """What each step of one run came to."""

    table: Table
    rows: Rows
    uploaded: Uploaded
    submission: Submission
    job: FinishedJob
    model: ModelFile


@flow(
    name="train-linear-learner",
    flow_run_name="{dataset.target} from {dataset.source}",
    on_failure=[abandon_jobs],
    on_crashed=[abandon_jobs],
    on_cancellation=[abandon_jobs],
    **KEPT,
)
def train_linear_learner(
    dataset: Dataset = Dataset(),
    split: Split = Split(),
    hyperparameters: Hyperparameters = Hyperparameters(),
    compute: Compute = Compute(),
    workspace: str = "sandbox",
    model_dir: str = "models",
    if_exists: IfExists = "adopt",
    reuse: Reuse = Reuse(),
) -> TrainingRun:
    """Train Amazon SageMaker's Linear Learner on a CSV file in S3 and download the model.

    Steps whose input has not changed are reused, and so is a training job: the same data and hyperparameters are
    never paid for twice.

    Args:
        dataset: The table to train on and the column to predict.
        split: How many rows train, validate and test.
        hyperparameters: What the algorithm is told; the defaults suit most tables.
        compute: Instances, disk and time limit of the training job.
        workspace: Name of the saved Training Workspace block that says where training runs.
        model_dir: Folder, on the machine that runs the flow, for the downloaded model.
        if_exists: When a training job of this very input runs or is done: adopt it, pay for a new one, or fail.
        reuse: What may be reused of earlier runs; by default everything that is still there.
    """
    try:
        with explained():
            where = load_workspace(workspace)
            chosen = {"split": split, "hyperparameters": hyperparameters, "compute": compute}
            with results_in(where, reuse), remembered(where, dataset, **chosen):
                table = load(where, dataset)
                rows = split_rows(where, table, split)
                check(table.profile, rows.by_channel, hyperparameters, table.source.uri, split.left_out)
                suited(hyperparameters, rows.train)  # else refused when everything is uploaded
                formatted = format_channels(where, table, rows, dataset.format, compute.instance_count)
                uploaded = upload(where, formatted)
                submission, job = fit_and_monitor(where, uploaded, hyperparameters, compute, if_exists)
                model = download(where, job, model_dir)
    except CancelledRun as cancelled:
        return Cancelled(message=str(cancelled))  # type: ignore[return-value] # Prefect takes it for the run's state
    return TrainingRun(table=table, rows=rows, uploaded=uploaded, submission=submission, job=job, model=model)
