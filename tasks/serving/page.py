"""The page of an endpoint: what serves since when, what it costs, the last checks, and the last comparison."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from aws.console import endpoint_page
from aws.workspace import Workspace
from tasks.caching.policy import Result
from tasks.data.numbers import format_number, format_share
from tasks.data.profile_report import escape_markdown, markdown_table
from tasks.serving.checks import describe_checks
from tasks.serving.comparison import Comparison
from tasks.serving.plan import Plan, describe_model

STATES = {
    "created": "was created and serves",
    "updated": "was updated and serves",
    "unchanged": "serves, unchanged,",
    "rolled back": "was rolled back; it did not accept",
}


class Deployed(Result):
    """What became of an update."""

    endpoint: str
    config: str
    how: Literal["created", "updated", "unchanged", "rolled back"]
    cause: str = ""
    """Why it was rolled back."""
    remedy: str = ""
    checks: dict[str, int] = Field(default_factory=dict)
    """Number of checks by their result; see `Checker.counts`."""
    removed: tuple[str, ...] = ()
    """Configurations and models older than the previous ones, which were deleted."""


class EndpointRun(Result):
    """The result of a deployment: the plan, the comparison, and what became of it; None before it, or in a dry run."""

    plan: Plan
    comparison: Comparison
    deployed: Deployed | None = None

    @property
    def rolled_back(self) -> bool:
        return self.deployed is not None and self.deployed.how == "rolled back"

    @property
    def headline(self) -> str:
        """What became of the endpoint, in one line."""
        model, endpoint = describe_model(self.plan.spec.model), self.plan.spec.endpoint
        if self.deployed is None:
            return f"planned: {self.plan}"
        text = f"{endpoint} {STATES[self.deployed.how]} {model}"
        return f"{text}. {self.deployed.cause} {self.deployed.remedy}".strip() if self.rolled_back else text

    def __str__(self) -> str:
        return self.headline


def render_page(workspace: Workspace, run: EndpointRun) -> str:
    """Render the page of the endpoint as markdown."""
    sections = {
        "Changes": markdown_table(
            ("", "before", "after"), [[escape_markdown(text) for text in change] for change in run.plan.changes]
        )
        if run.plan.changes
        else "",
        "Compared offline": _comparison(run.comparison),
        "Invoke": f"```sh\n{invoke_command(workspace, run.plan.spec.endpoint)}\n```"
        if run.deployed and not run.rolled_back
        else "",
    }
    head = f"**{escape_markdown(run.headline)}**\n\n" + "\n".join(f"- {line}" for line in _facts(workspace, run))
    return "\n\n".join([head, *(f"## {title}\n\n{text}" for title, text in sections.items() if text)])


def _facts(workspace: Workspace, run: EndpointRun) -> Iterator[str]:
    plan, now = run.plan, datetime.now(UTC)
    is_new = run.deployed is not None and run.deployed.how in {"created", "updated"}
    if is_new or plan.since:
        model = plan.spec.model if is_new or plan.served is None else plan.served.model
        since = now if is_new or plan.since is None else plan.since
        yield f"serves {escape_markdown(describe_model(model))} since {since:%Y-%m-%d %H:%M} UTC"
    yield f"checked at {now:%Y-%m-%d %H:%M} UTC"
    yield f"cost: {escape_markdown(run.plan.cost)}"
    if run.deployed:
        yield f"checks: {describe_checks(run.deployed.checks)}"
        yield f"configuration {run.deployed.config}"
        if run.deployed.removed:
            yield f"deleted, as older than the previous model: {', '.join(run.deployed.removed)}"
    if page := endpoint_page(workspace, run.plan.spec.endpoint):
        yield f"[endpoint in the console]({page})"


def _comparison(comparison: Comparison) -> str:
    if comparison.objection or not comparison.rows:
        return escape_markdown(str(comparison))
    changed = f"{comparison.changed:,} decisions change ({format_share(comparison.share)})"
    shift = f"mean shift of the scores {format_number(comparison.mean_shift)}"
    lines = [f"{escape_markdown(comparison.source)}: {changed}, {shift}."]
    if comparison.unanswered:
        lines.append(f"{comparison.unanswered:,} rows are answered by the present model only.")
    rows = [(f"{one.row:,}", one.before, one.after) for one in comparison.largest]
    if rows:
        lines.append(markdown_table(("row", "present model", "new model"), rows))
    return "\n\n".join(lines)


def invoke_command(workspace: Workspace, endpoint: str) -> str:
    """Return the command of AWS's command line that asks the endpoint for the predictions of the rows in a file."""
    url = workspace.client("sagemaker-runtime").meta.endpoint_url
    option = "" if endpoint_page(workspace, endpoint) else f" --endpoint-url {url}"
    return (
        f"aws{option} sagemaker-runtime invoke-endpoint --endpoint-name {endpoint} --content-type text/csv "
        "--body fileb://rows.csv answer.json"
    )
