"""Train Linear Learner on a CSV file, judge the model and register it; one task per step."""

if __name__ == "__main__":
    # Before everything else: the command line answers, and starts its servers, while Prefect is still being imported.
    from flows.command_line.main import main

    raise SystemExit(main())

from prefect import flow
from prefect.exceptions import CancelledRun
from prefect.states import Cancelled, Completed

from aws.compute import Compute
from aws.submission import IfExists
from aws.workspace import load_workspace
from flows.abandonment import abandon_jobs
from flows.attempts import fit_and_monitor
from flows.training_run import TrainingRun
from linear_learner.hyperparameters import Hyperparameters
from tasks.check import check
from tasks.download import download
from tasks.evaluate import evaluate, judgeable
from tasks.evaluation.gate import decide
from tasks.failure import explained
from tasks.fit import suited
from tasks.format import format_channels
from tasks.load import load
from tasks.parameters import Dataset, Gate, Registry, Reuse, Split
from tasks.reasons import remembered
from tasks.record import record
from tasks.recount import recount
from tasks.register import champion_of, register, reigning
from tasks.report import plot, report
from tasks.reuse import KEPT, results_in
from tasks.split import split_rows
from tasks.trained import Trained
from tasks.upload import upload


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
    gate: Gate = Gate(),
    registry: Registry = Registry(),
    workspace: str = "sandbox",
    model_dir: str = "models",
    if_exists: IfExists = "adopt",
    reuse: Reuse = Reuse(),
) -> TrainingRun:
    """Train Amazon SageMaker's Linear Learner on a CSV file in S3, download the model, judge and register it.

    Steps whose input has not changed are reused, and so is a training job: the same data and hyperparameters are
    never paid for twice. A run whose model the gate turns down is done, as any other; its state is called Rejected.

    Args:
        dataset: The table to train on and the column to predict.
        split: How many rows train, validate and test.
        hyperparameters: What the algorithm is told; the defaults suit most tables.
        compute: Instances, disk and time limit of the training job.
        gate: What the model must show on the test set before it may be used.
        registry: What becomes of it in SageMaker's Model Registry.
        workspace: Name of the saved Training Workspace block that says where training runs.
        model_dir: Folder, on the machine that runs the flow, for the downloaded model.
        if_exists: When a training job of this very input runs or is done: adopt it, pay for a new one, or fail.
        reuse: What may be reused of earlier runs; by default everything that is still there.
    """
    try:
        with explained():
            where = load_workspace(workspace)
            chosen = {"split": split, "hyperparameters": hyperparameters, "compute": compute, "gate": gate}
            with results_in(where, reuse), remembered(where, dataset, **chosen):
                table = load(where, dataset)
                rows = split_rows(where, table, split)
                warnings = check(table.profile, rows.by_channel, hyperparameters, table.source.uri, split.left_out)
                # The next three would else be refused when everything is uploaded, or paid for.
                suited(hyperparameters, rows.train)
                judgeable(gate, hyperparameters, table, dataset)
                champion = champion_of(where, registry, dataset)
                formatted = format_channels(where, table, rows, dataset.format, compute.instance_count)
                uploaded = upload(where, formatted)
                submission, job = fit_and_monitor(where, uploaded, hyperparameters, compute, if_exists)
                model = download(where, job, model_dir)
                made = Trained(table=table, rows=rows, uploaded=uploaded, submission=submission, job=job, model=model)
                recounted = recount(where, job)
                reigns = reigning(champion, job)
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
                about = run.about(recounted, rival, warnings, gate.slice_by, workspace)
                report(about, plot(about), model.path.parent)
    except CancelledRun as cancelled:
        return Cancelled(message=str(cancelled))  # type: ignore[return-value] # Prefect takes it for the run's state
    if not verdict.passed:
        # Done, but automations and people can tell it from a run whose model may be used.
        return Completed(name="Rejected", message=str(verdict), data=run)  # type: ignore[return-value] # the same
    return run
