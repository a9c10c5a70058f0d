"""One run from the command line: arguments, servers, the flow, the summary, the exit code."""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from flows.cli import local_services
from flows.cli.arguments import Arguments, is_uri, parse_arguments, report_error
from flows.cli.local_services import ServerStartError
from linear_learner.errors import DataError, LinearLearnerError

if TYPE_CHECKING:
    from prefect.flows import Flow

USER_ERROR, FAILED = 2, 1
HOW_TO_SAVE_A_WORKSPACE = (
    "From the command line, `python -m deployments.blocks` saves one for an AWS account, and `python -m sandbox` saves "
    "the one named sandbox."
)


def main(load_flow: Callable[[], "Flow[..., Any]"], arguments: Sequence[str] | None = None) -> int:
    """Run the flow that `load_flow` returns; exit codes: 0 done, 1 failed, 2 invalid input, 130 or 143 interrupted."""
    try:
        given = parse_arguments(arguments)
        chosen = _validate(given)
    except (ValidationError, SettingsError, LinearLearnerError) as error:
        return report_error(error, USER_ERROR)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # the convention of shells
    try:
        return _run(load_flow, given, chosen)
    except SystemExit as interruption:
        message = "Interrupted. Nothing is left running; the next run reuses the completed steps."
        return report_error(message, int(interruption.code or 0))


def _validate(given: Mapping[str, Any]) -> Arguments | None:
    """The validated arguments, or None with --from-run: the recorded ones are read later from the workspace."""
    recorded = given.get("from_run")
    if recorded is not None:
        if not is_uri(recorded) and not Path(recorded).is_file():
            raise DataError(f"There is no file {recorded}. Check the path given with --from-run.")
        return None
    chosen = Arguments(**given)
    if chosen.csv:
        if not chosen.csv.is_file():
            raise DataError(f"There is no file {chosen.csv}. Check the path given with --csv.")
        from tasks.data.reader import select_columns  # imports polars, which is slow

        select_columns(chosen.csv, chosen.csv.name, chosen.dataset.target, chosen.dataset.ignore)
    return chosen


def _run(load_flow: Callable[[], "Flow[..., Any]"], given: Mapping[str, Any], chosen: Arguments | None) -> int:
    workspace = given.get("workspace", "sandbox")
    sandboxed = workspace == "sandbox"
    wait_until_ready = local_services.start(sandboxed=sandboxed)
    from prefect.exceptions import CancelledRun  # slow: imported while the servers start

    from aws.errors import AwsError, NoCapacity, NotFound, QuotaExceeded, TrainingFailed, Unavailable
    from aws.workspace import load_workspace
    from flows.cli.input_table import flow_parameters
    from flows.cli.replay import Replay
    from flows.cli.terminal import summary, terminal_output

    flow, replay = load_flow(), None
    try:
        wait_until_ready()
        try:
            block = load_workspace(workspace)
        except NotFound as error:
            return report_error(f"{error} {HOW_TO_SAVE_A_WORKSPACE}", USER_ERROR)
        with terminal_output() as reused:
            if chosen is None:
                replay = Replay.of(block, given)
                chosen = replay.arguments
            run = flow(**flow_parameters(block, chosen))
    except (TrainingFailed, Unavailable, NoCapacity, QuotaExceeded, ServerStartError, CancelledRun) as error:
        return report_error(error, FAILED)
    except (LinearLearnerError, AwsError) as error:
        return report_error(error, USER_ERROR)
    print(summary(run, reused, replay))  # noqa: T201 - a command line prints
    return 0
