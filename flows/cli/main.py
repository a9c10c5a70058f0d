"""One run from the command line: arguments, servers, the flow, the summary, the exit code."""

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import ValidationError
from pydantic_settings import SettingsError

from flows.cli import local_services
from flows.cli.arguments import Arguments, complaints, said_on
from flows.cli.local_services import ServerDied
from linear_learner.errors import DataError, LinearLearnerError

if TYPE_CHECKING:
    from flows.cli.replay import Replay
    from tasks.report import TrainingRun

USER_ERROR, FAILED = 2, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow once; returns the exit code: 0 done, 1 failed, 2 the user's mistake, 130 or 143 interrupted."""
    try:
        said = said_on(sys.argv[1:] if arguments is None else arguments)
        chosen = _checked(said)
    except (ValidationError, SettingsError, LinearLearnerError) as error:
        return _say(error, USER_ERROR)
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, _interrupt)
    try:
        return _run(said, chosen)
    except _Interrupted as interruption:
        return _say("Interrupted. Nothing is left running; the next run goes on from here.", interruption.exit_code)


def _checked(said: Mapping[str, Any]) -> Arguments | None:
    """The arguments; None where a recorded run is yet to add its own, for which the workspace must be up."""
    recorded = said.get("from_run")
    if recorded is not None:
        if not recorded.startswith("s3://") and not Path(recorded).is_file():
            raise DataError(f"There is no file {recorded}. Check the path given with --from-run.")
        return None
    chosen = Arguments(**said)
    if chosen.csv:
        _check(chosen, chosen.csv)
    return chosen


def _check(chosen: Arguments, csv: Path) -> None:
    """See that the file can be trained on, before anything is started for it."""
    if not csv.is_file():
        raise DataError(f"There is no file {csv}. Check the path given with --csv.")
    from tasks.data.measurement import measured  # polars, for a user's file only
    from tasks.data.reader import chosen_columns, pieces
    from tasks.data.rules.table import judge, refusal

    columns = chosen_columns(csv, csv.name, chosen.dataset.target, chosen.dataset.ignore)
    profile = measured(pieces(csv, csv.name, columns), columns, chosen.dataset.target).profile()
    rows = {"train": profile.rows}
    errors = [
        one for one in judge(profile, rows, chosen.hyperparameters, chosen.split.left_out) if one.level == "error"
    ]
    if errors:
        raise DataError(refusal(csv.name, errors))


def _run(said: Mapping[str, Any], chosen: Arguments | None) -> int:
    ready = local_services.start(sandboxed=said.get("workspace", "sandbox") == "sandbox")
    from prefect.exceptions import CancelledRun  # from here on while the servers boot

    from aws.errors import AwsError, NoCapacity, QuotaExceeded, TrainingFailed, Unavailable
    from flows.cli.arguments import flow_parameters
    from flows.cli.replay import Replay
    from flows.cli.terminal import console
    from flows.train import train_linear_learner

    try:
        ready()
        replay = None
        with console() as reused:
            if chosen is None:
                replay = Replay.of(said)
                chosen = replay.arguments
            run = train_linear_learner(**flow_parameters(chosen))
    except (TrainingFailed, Unavailable, NoCapacity, QuotaExceeded, ServerDied, CancelledRun) as error:
        return _say(error, FAILED)
    except (LinearLearnerError, AwsError) as error:
        return _say(error, USER_ERROR)
    print(summary(run, reused, replay))  # noqa: T201 - what the command line is for
    return 0


def summary(run: "TrainingRun", reused: Sequence[str], replay: "Replay | None" = None) -> str:
    """What the run came to, for a reader in a hurry."""
    from tasks.report import PAGE  # Prefect, which by now is loaded

    rows, job, model = run.rows, run.job, run.model
    tested = [(one.name, one.value) for one in run.evaluation.metrics if one.value is not None]
    # Not the objective_loss of each epoch: SageMaker's is that of the first model, not of the one that was kept.
    judged = sorted(name for name in job.metrics if name.startswith("validation:") and "objective_loss" not in name)
    lines = {
        "verdict": str(run.verdict),
        "data": f"{run.table.source.uri}, {run.table.rows:,} rows x {len(run.table.columns)} columns",
        "split": f"{rows.train:,} rows to train, {rows.validation:,} to validate, {rows.test:,} to test",
        "training job": f"{job.name}, {run.submission.how}, {job.bill.training_seconds} s of training",
        "cost": run.cost,
        "validation": ", ".join(f"{name.removeprefix('validation:')} {job.metrics[name]:.6g}" for name in judged),
        "test": ", ".join(f"{name} {value:.6g}" for name, value in tested),
        "registered": str(run.registered or "no"),
        "model": f"{model.path} ({model.size:,} bytes, {model.features} features)",
        "report": str(model.path.with_name(PAGE)),
        "record": run.recorded.uri,
        "reused": ", ".join(reused) or "nothing",
    }
    if replay:
        lines["reproduction"] = replay.outcome(run)
    title = f"Linear Learner predicts {run.table.target}"
    return "\n".join(["", title, "", *(f"  {name:<14}{value}" for name, value in lines.items()), ""])


class _Interrupted(SystemExit):
    """A signal said to stop; the code is the shells' convention."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(128 + signal_number)
        self.exit_code = 128 + signal_number


def _interrupt(signal_number: int, _: object) -> NoReturn:
    raise _Interrupted(signal_number)


def _say(what: object, code: int) -> int:
    print(complaints(what) if isinstance(what, ValidationError) else what, file=sys.stderr)  # noqa: T201
    return code
