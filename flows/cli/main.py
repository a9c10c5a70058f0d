"""One run from the command line: arguments, servers, the flow, the summary, the exit code."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from flows.cli.arguments import Arguments, error_message, is_uri, parse_arguments
from flows.cli.command import REJECTED, USER_ERROR, report_error, report_errors
from flows.cli.flow_command import run_flow
from flows.cli.output_streams import continue_without_output
from linear_learner.errors import DataError, LinearLearnerError
from tasks.environment.errors import ExternalError
from tasks.environment.folders import check_folders

if TYPE_CHECKING:
    from prefect.flows import Flow

    from aws.workspace import Workspace

INTERRUPTED = (
    "Interrupted. No training job is left running, unless a warning says so; the next run reuses the completed steps."
)
PRELOADED = (
    "fastapi.encoders",
    "markdown_it",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "prefect.utilities.visualization",
    "sklearn.model_selection",
    "tasks.data.measurement",
    "tasks.data.writer",
    "tasks.evaluation.assessment",
    "tasks.model_report.plots",
)
"""Modules that Prefect and the steps for a new table import only when they need them."""


def main(load_flow: Callable[[], "Flow[..., Any]"], arguments: Sequence[str] | None = None) -> int:
    """Run the flow that `load_flow` returns; exit codes: 0 done, 1 failed, 130 or 143 interrupted.

    Exit code 3: with --fail-if-rejected, the model is rejected.
    Exit code 2: an argument is invalid, or this machine, the network or Prefect's server prevents the run.
    """
    continue_without_output()
    return report_errors(lambda: _main(load_flow, arguments), INTERRUPTED)


def _main(load_flow: Callable[[], "Flow[..., Any]"], arguments: Sequence[str] | None) -> int:
    try:
        given = parse_arguments(arguments)
        chosen = _validate(given)
    except (ValidationError, SettingsError, LinearLearnerError) as error:
        return report_error(error_message(error), USER_ERROR)
    return _run(load_flow, given, chosen)


def _validate(given: Mapping[str, Any]) -> Arguments | None:
    """The validated arguments, or None with --from-run: the recorded ones are read later from the workspace.

    Raises ExternalError for a folder that cannot be written to: before servers are started or a table is uploaded.
    """
    if problems := check_folders(str(given.get("model_dir", Arguments.model_fields["model_dir"].default))):
        raise ExternalError("\n".join(map(str, problems)))
    recorded = given.get("from_run")
    if recorded is not None:
        if not is_uri(recorded) and not Path(recorded).is_file():
            raise DataError(f"There is no file {recorded}. Check the path given with --from-run.")
        return None
    chosen = Arguments(**given)
    if chosen.csv:
        if not chosen.csv.is_file():
            raise DataError(f"There is no file {chosen.csv}. Check the path given with --csv.")
        from tasks.data.reader import TableFile, select_columns  # imports polars, which is slow

        file = TableFile(chosen.csv, chosen.csv.name, chosen.dataset.reading)
        select_columns(file, chosen.dataset)
    return chosen


def _run(load_flow: Callable[[], "Flow[..., Any]"], given: Mapping[str, Any], chosen: Arguments | None) -> int:
    def call(flow: "Flow[..., Any]", block: "Workspace") -> tuple[str, int]:
        from flows.cli.input_table import flow_parameters
        from flows.cli.next_steps import list_next_steps
        from flows.cli.replay import Replay
        from flows.cli.terminal import summary

        arguments, replay = chosen, None
        if arguments is None:
            replay = Replay.of(block, given)
            arguments = replay.arguments
        run: Any = flow(**flow_parameters(block, arguments))
        rows = str(arguments.csv) if arguments.csv else run.table.source.uri
        shown = summary(run, replay, list_next_steps(run, arguments.workspace, rows))
        return shown, REJECTED if arguments.fail_if_rejected and not run.verdict.passed else 0

    return run_flow(given.get("workspace", "sandbox"), load_flow, call, PRELOADED, verbose="verbose" in given)
