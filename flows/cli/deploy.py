"""The command lines of `python -m flows.deploy` and `python -m flows.undeploy`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic_settings import CliPositionalArg, SettingsConfigDict

from aws.endpoints.settings import EndpointName, Guard, Hosting, Traffic
from flows.cli.arguments import CommandLine, is_uri
from flows.cli.command import FAILED
from flows.cli.flow_command import run_flow, run_with_arguments
from flows.cli.option_parser import Sections
from tasks.serving.parameters import Deployment

if TYPE_CHECKING:
    from prefect.flows import Flow

    from aws.workspace import Workspace
    from tasks.serving.page import EndpointRun

INTERRUPTED = (
    "Interrupted. An update that has begun is rolled back by SageMaker within a few minutes, unless the command is run "
    "again, which goes on with it; a new endpoint stays until `python -m flows.undeploy` removes it."
)
UNDEPLOY_INTERRUPTED = "Interrupted. Run the command again to delete what is left."


class Arguments(CommandLine, Deployment):
    """Serve a model at a SageMaker endpoint, in the sandbox or on AWS; an update is watched and rolled back if needed.

    An endpoint costs money as long as it exists: `python -m flows.undeploy ENDPOINT` removes it.
    """

    model_config = SettingsConfigDict(
        cli_prog_name="python -m flows.deploy",
        cli_shortcuts={"guard.allow-unapproved": "allow-unapproved"},
        cli_implicit_flags="toggle",
        cli_kebab_case=True,
    )
    common: ClassVar[Sections] = {
        "model and endpoint": (
            "model",
            "guard.allow_unapproved",
            "endpoint",
            "dry_run",
            "retry_rolled_back",
            "workspace",
        ),
        "instances and cost": (
            *("hosting.kind", "hosting.instance_type", "hosting.min_instances", "hosting.max_instances"),
            *("hosting.capture_percent", "hosting.expires_after", "hosting.max_usd_per_month"),
        ),
        "update": ("traffic.shift", "traffic.percent", "traffic.minutes", "guard.max_changed"),
    }
    examples: ClassVar[str] = """\
examples:
  python -m flows.deploy --model linear-learner-bonus-july --dry-run
  python -m flows.deploy --model linear-learner-bonus-july/3 --hosting.max-usd-per-month 100 --hosting.expires-after 8h
  python -m flows.deploy --model linear-learner-bonus-july --hosting.min-instances 2 --traffic.shift canary
"""

    hosting: Hosting = Hosting()
    traffic: Traffic = Traffic()
    guard: Guard = Guard()
    workspace: str = "sandbox"
    """Name of the saved Training Workspace block of the bucket and the models; "sandbox" needs no AWS account."""
    verbose: bool = False
    """Log every step and its state."""


def main(load_flow: Callable[[], "Flow[..., Any]"], arguments: Sequence[str] | None = None) -> int:
    """Run the flow that `load_flow` returns; exit codes as of `python -m flows.train`, and 1 after a rollback."""
    return run_with_arguments(Arguments, arguments, lambda chosen: _run(load_flow, chosen), INTERRUPTED)


def _run(load_flow: Callable[[], "Flow[..., Any]"], chosen: Arguments) -> int:
    def call(flow: "Flow[..., Any]", block: "Workspace") -> tuple[str, int]:
        state: Any = flow(
            deployment=_resolve_path(chosen),
            workspace=chosen.workspace,
            hosting=chosen.hosting,
            traffic=chosen.traffic,
            guard=chosen.guard,
            return_state=True,
        )
        run: Any = state.result(raise_on_failure=state.name != "RolledBack")
        if state.name == "RolledBack":
            return f"{state.message}\n", FAILED
        return _summary(run, block, "" if chosen.workspace == "sandbox" else f" --workspace {chosen.workspace}"), 0

    return run_flow(chosen.workspace, load_flow, call, ("markdown_it",), verbose=chosen.verbose)


def _resolve_path(chosen: Arguments) -> Deployment:
    """The parameters of the flow; a model that exists on this machine is an absolute path."""
    given: dict[str, Any] = {name: getattr(chosen, name) for name in Deployment.model_fields}
    path = Path(chosen.model).expanduser()
    if not is_uri(chosen.model) and path.exists():
        given["model"] = str(path.absolute())
    return Deployment(**given)


def _summary(run: "EndpointRun", workspace: "Workspace", where: str) -> str:
    from tasks.serving.checks import describe_checks
    from tasks.serving.page import invoke_command

    name = run.plan.spec.endpoint
    lines = {
        "endpoint": str(run.plan) if run.deployed is None else run.headline,
        "cost": run.plan.cost,
        "compared": str(run.comparison),
        "checks": describe_checks(run.deployed.checks) if run.deployed else "",
    }
    lines |= {change.name: f"{change.before} -> {change.after}".removeprefix(" -> ") for change in run.plan.changes}
    shown = ["", "Linear Learner endpoint", "", *(f"  {key:<18}{value}" for key, value in lines.items() if value), ""]
    if run.deployed:
        shown += ["What next", f"  ask it            {invoke_command(workspace, name)}"]
        shown += [f"  remove it         python -m flows.undeploy {name}{where}", ""]
    return "\n".join(shown)


class UndeployArguments(CommandLine):
    """Delete an endpoint with its scaling targets, alarms, configurations and models."""

    model_config = SettingsConfigDict(cli_prog_name="python -m flows.undeploy", cli_implicit_flags="toggle")

    endpoint: CliPositionalArg[EndpointName]
    """Name of the endpoint."""
    workspace: str = "sandbox"
    """Name of the saved Training Workspace block with the account and region of the endpoint."""
    verbose: bool = False
    """Log every step and its state."""


def undeploy_main(load_flow: Callable[[], "Flow[..., Any]"], arguments: Sequence[str] | None = None) -> int:
    """Delete the endpoint that the arguments name; exit codes as of `python -m flows.train`."""

    def run(chosen: UndeployArguments) -> int:
        def call(flow: "Flow[..., Any]", block: "Workspace") -> tuple[str, int]:
            del block
            deleted: Any = flow(chosen.endpoint, workspace=chosen.workspace)
            listed = "".join(f"\n  {name}" for name in deleted)
            return (f"Deleted:{listed}" if deleted else f"Nothing of endpoint {chosen.endpoint} was left."), 0

        return run_flow(chosen.workspace, load_flow, call, (), verbose=chosen.verbose)

    return run_with_arguments(UndeployArguments, arguments, run, UNDEPLOY_INTERRUPTED)
