"""Run a flow from the command line: servers, the workspace, the flow, its summary, the exit code."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from flows.cli import local_services
from flows.cli.command import FAILED, USER_ERROR, print_result, report_error, report_errors
from flows.cli.local_services import ServerStartError
from flows.cli.output_streams import continue_without_output
from linear_learner.errors import LinearLearnerError

if TYPE_CHECKING:
    from prefect.flows import Flow

    from aws.workspace import Workspace
    from flows.cli.arguments import CommandLine

HOW_TO_SAVE_A_WORKSPACE = (
    "From the command line, `python -m deployments.blocks` saves one for an AWS account, and `python -m sandbox` saves "
    "the one named sandbox."
)


Arguments = TypeVar("Arguments", bound="CommandLine")


def run_with_arguments(
    kind: type[Arguments], line: Sequence[str] | None, run: Callable[[Arguments], int], interrupted: str
) -> int:
    """Call `run` with the arguments of `line` or this process, and return its exit code; errors are reported.

    `interrupted` is the message after Ctrl-C or SIGTERM.
    """
    from pydantic import ValidationError  # slow: for a command that is imported already
    from pydantic_settings import SettingsError

    from flows.cli.arguments import error_message

    continue_without_output()

    def parse_and_run() -> int:
        try:
            chosen = kind(**kind.given(line))
        except (ValidationError, SettingsError, LinearLearnerError) as error:
            return report_error(error_message(error), USER_ERROR)
        return run(chosen)

    return report_errors(parse_and_run, interrupted)


def load_saved_workspace(name: str) -> "Workspace":
    """Return the saved block of this name; raises NotFound, with the commands that save one, if there is none."""
    from aws.errors import NotFound
    from aws.workspace import load_workspace

    try:
        return load_workspace(name)
    except NotFound as error:
        raise NotFound(f"{error} {HOW_TO_SAVE_A_WORKSPACE}") from error


def run_flow(
    workspace: str,
    load_flow: Callable[[], "Flow[..., Any]"],
    call: Callable[["Flow[..., Any]", "Workspace"], tuple[str, int]],
    preloaded: Sequence[str],
    *,
    verbose: bool,
) -> int:
    """Start the servers, call the flow with `call`, print the text that it returns, and return its exit code.

    The modules `preloaded` are imported while a server starts. With `verbose`, the log has every state of every step.
    """
    wait_until_ready = local_services.start(sandboxed=workspace == "sandbox", preloaded=preloaded)
    from prefect.exceptions import CancelledRun  # slow: imported while the servers start

    from aws.errors import AwsError, NoCapacity, QuotaExceeded, TrainingFailed, Unavailable
    from flows.cli.terminal import terminal_output

    flow = load_flow()
    try:
        wait_until_ready()
        block = load_saved_workspace(workspace)
        with terminal_output(verbose=verbose):
            text, code = call(flow, block)
    except ServerStartError as error:
        return report_error(error, USER_ERROR)
    except (TrainingFailed, Unavailable, NoCapacity, QuotaExceeded, CancelledRun) as error:
        return report_error(error, FAILED)
    except (LinearLearnerError, AwsError) as error:
        return report_error(error, USER_ERROR)
    print_result(text)
    return code
