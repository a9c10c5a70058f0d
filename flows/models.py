"""`python -m flows.models`: list, compare, approve, reject and download registered models.

No Prefect server is started for the sandbox; another workspace is read from the Prefect server that has its block.
"""

if __name__ == "__main__":
    # Before the other imports: the command can be interrupted while they take place.
    from flows.cli.command import run_main

    raise SystemExit(run_main("flows.models"))

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from flows.cli.command import USER_ERROR, print_result, report_error
from flows.cli.flow_command import load_saved_workspace

if TYPE_CHECKING:
    from aws.registry import ApprovalStatus, Package
    from aws.workspace import Workspace
    from tasks.record import RunRecord

HELP = """\
commands:
  list [GROUP]               the newest 20 versions of a model package group; without GROUP, the groups
  compare [GROUP] A B        the metrics of two versions, and what was changed from A to B
  approve [GROUP] VERSION    make a version usable: the newest approved one is the champion
  reject [GROUP] VERSION     make a version unusable
  download [GROUP] VERSION   fetch model.tar.gz, schema.json and run.json

GROUP can be left out if the workspace has only one group of this project.
"""
EXAMPLES = """\
examples:
  python -m flows.models list linear-learner-bonus-transformed-data
  python -m flows.models approve linear-learner-bonus-transformed-data 2 --reason "checked with the team"
  python -m flows.models download linear-learner-bonus-transformed-data 2 --out model
"""


class Command(NamedTuple):
    """What a command needs, and the options that it has besides --workspace."""

    run: Callable[["Workspace", argparse.Namespace, str, list[int]], str]
    versions: int
    options: tuple[str, ...] = ()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"{message}; see python -m flows.models --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; 2, with one sentence, for a mistake."""
    parser = _parser()
    chosen = parser.parse_intermixed_args(arguments)
    command = COMMANDS[chosen.command]
    words = [part for word in chosen.words for part in word.split("/")]
    if not command.versions <= len(words) <= command.versions + 1 and chosen.command != "list":
        needed = "a VERSION" if command.versions == 1 else "two versions"
        parser.error(f"{chosen.command} needs {needed}, after the GROUP if there are several; found {chosen.words}")
    if chosen.command == "list" and len(words) > 1:
        parser.error(f"list needs one GROUP or none; found {chosen.words}")
    for option in ("reason", "although_rejected", "out"):
        if getattr(chosen, option) and option not in command.options:
            parser.error(f"--{option.replace('_', '-')} is not an option of {chosen.command}")
    names, numbers = words[: len(words) - command.versions], words[len(words) - command.versions :]
    for number in numbers:
        if not (number.isascii() and number.isdigit() and 0 < len(number) < 10):
            parser.error(f"{number!r} is not a version: give its number, such as 3")
    return _run(command, chosen, names, [int(number) for number in numbers])


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m flows.models",
        usage="python -m flows.models COMMAND [GROUP] [VERSION …] [options]",
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", choices=COMMANDS, help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--workspace", default="sandbox", help="name of the saved Training Workspace block (sandbox)")
    parser.add_argument("--reason", help="approve, reject: why; the registry shows it")
    parser.add_argument(
        "--although-rejected", action="store_true", help="approve: a version that is Rejected; the registry shows it"
    )
    parser.add_argument("--out", type=Path, help="download: the folder (models/GROUP-VERSION)")
    return parser


def _run(command: Command, chosen: argparse.Namespace, names: list[str], numbers: list[int]) -> int:
    from flows.cli import local_services

    is_sandbox = chosen.workspace == "sandbox"
    # A configured Prefect server may have the block of another sandbox; otherwise the sandbox needs no server.
    needs_server = not is_sandbox or "PREFECT_API_URL" in os.environ
    ready = local_services.start(sandboxed=is_sandbox) if needs_server else None
    from aws.errors import AwsError  # after `start`, as it imports Prefect
    from linear_learner.errors import LinearLearnerError

    try:
        if ready:
            ready()
        workspace = load_saved_workspace(chosen.workspace) if ready else local_services.open_sandbox()
        group = names[0] if names else "" if command.versions == 0 else _only_group(workspace)
        text = command.run(workspace, chosen, group, numbers)
    except (AwsError, LinearLearnerError, local_services.ServerStartError) as error:
        return report_error(error, USER_ERROR)
    print_result(text)
    return 0


def _only_group(workspace: "Workspace") -> str:
    from aws.errors import NotFound
    from aws.registry import list_groups

    groups = list_groups(workspace, only_own=True)
    if len(groups) == 1:
        return groups[0]
    if not groups:
        raise NotFound("No model is registered in this workspace. Train one with `python -m flows.train`.")
    raise NotFound(f"This workspace has several model package groups; give one of them: {', '.join(sorted(groups))}.")


def list_models(workspace: "Workspace", chosen: argparse.Namespace, group: str, versions: list[int]) -> str:
    """Return the versions of a group with their verdicts and changes; without a group, the groups."""
    del chosen, versions
    from aws.registry import list_groups
    from tasks.model_report.history import describe_changes, read_history, read_records

    if not group:
        groups = sorted(list_groups(workspace, only_own=True))
        return "\n".join(groups) or "No model is registered in this workspace."
    history = read_history(workspace, group)
    records = read_records(workspace, [one.package for one in history])
    rows = [{name: str(value) for name, value in one.to_row().items()} for one in history]
    for row, now, before in zip(rows, records, records[1:], strict=False):
        row["changed since the version before"] = "; ".join(describe_changes(before, now)) or "nothing"
    return _format_table(rows)


def compare_models(workspace: "Workspace", chosen: argparse.Namespace, group: str, versions: list[int]) -> str:
    """Return the metrics of two versions side by side, and what differs between their runs."""
    del chosen
    from tasks.model_report.history import describe_changes, read_records
    from tasks.model_source import find_version

    packages = [find_version(workspace, group, version) for version in versions]
    records = read_records(workspace, packages)
    titles = [f"version {one.version} ({one.status})" for one in packages]
    rows = [
        {"metric": title, titles[0]: first, titles[1]: second} for title, first, second in _figures(packages, records)
    ]
    changes = describe_changes(*records)
    lines = [_format_table(rows), "", f"From version {versions[0]} to version {versions[1]}:"]
    lines += [f"  {one}" for one in changes or ["nothing was changed in the parameters and the data"]]
    if any(one.startswith(("the table", "split.", "dataset.", "not known")) for one in changes):
        lines += ["", "The test rows may differ, so that the metrics are not those of the same rows."]
    return "\n".join(lines)


def _figures(packages: "list[Package]", records: "list[RunRecord | None]") -> list[tuple[str, str, str]]:
    """The registered metrics of two packages by title, with the intervals of their records."""
    from tasks.data.numbers import NO_VALUE, format_number
    from tasks.evaluation.results import METRICS
    from tasks.register import FIGURE_PREFIX

    def show(package: "Package", record: "RunRecord | None", name: str) -> str:
        recorded = (record.metrics.get("test") or {}).get(name, {}) if record else {}
        if recorded.get("value") is None:
            return package.metadata.get(f"{FIGURE_PREFIX}{name}", NO_VALUE)
        interval = [format_number(recorded[end]) for end in ("low", "high") if recorded.get(end) is not None]
        return format_number(recorded["value"]) + (f" ({' to '.join(interval)})" if interval else "")

    (one, other), (record, other_record) = packages, records
    shown = [(info.title, show(one, record, name), show(other, other_record, name)) for name, info in METRICS.items()]
    return [row for row in shown if row[1:] != (NO_VALUE, NO_VALUE)]


def approve_model(workspace: "Workspace", chosen: argparse.Namespace, group: str, versions: list[int]) -> str:
    """Approve a version; one that is Rejected only with --although-rejected, which the registry then shows."""
    from linear_learner.errors import ArtifactError
    from tasks.model_source import find_version
    from tasks.register import VERDICT_KEY

    package, reason = find_version(workspace, group, versions[0]), chosen.reason or "approved with flows.models"
    if package.status == "Rejected":
        verdict = package.metadata.get(VERDICT_KEY, "no verdict")
        if not chosen.although_rejected:
            raise ArtifactError(
                f"Version {package.version} of {group!r} is Rejected ({verdict}). To approve it all the same, for "
                "example because the champion is out of date, give --although-rejected."
            )
        reason = f"{reason}; a person approved it although it was Rejected ({verdict})"
    return _decide(workspace, package, "Approved", reason)


def reject_model(workspace: "Workspace", chosen: argparse.Namespace, group: str, versions: list[int]) -> str:
    """Reject a version, whatever its status."""
    from tasks.model_source import find_version

    package = find_version(workspace, group, versions[0])
    return _decide(workspace, package, "Rejected", chosen.reason or "rejected with flows.models")


def _decide(workspace: "Workspace", package: "Package", status: "ApprovalStatus", reason: str) -> str:
    from aws.registry import change_approval, newest_approved

    title = f"Version {package.version} of {package.group}"
    if package.status == status:
        return f"{title} is {status} already; nothing was changed."
    before = newest_approved(workspace, package.group)
    decided = change_approval(workspace, package, status, reason)
    _announce(decided, reason)
    champion = newest_approved(workspace, package.group)
    if champion is None:
        return f"{title} is {status}. The group has no champion now: the next model is compared with no other model."
    when = "still" if before and before.arn == champion.arn else "now"
    return f"{title} is {status}. The champion is {when} version {champion.version}: new models are compared with it."


def _announce(package: "Package", reason: str) -> None:
    """Emit the event of the decision if a Prefect server is configured; none is started for it."""
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        return
    from tasks.prefect_ui.events import emit_decision

    try:
        emit_decision(package, reason)
    except Exception as error:  # noqa: BLE001 - the decision has been made, and Prefect may fail in any way
        report_error(f"The event of this decision was not sent to Prefect: {error}", 0)


def download_model(workspace: "Workspace", chosen: argparse.Namespace, group: str, versions: list[int]) -> str:
    """Download the files of a version, with verified checksums, into a folder; existing files of them are replaced."""
    from tasks.environment.folders import temporary_folder
    from tasks.model_source import fetch_model, find_package_model, find_version, read_record

    package = find_version(workspace, group, versions[0])
    source = find_package_model(workspace, package)
    folder = (chosen.out or Path("models", f"{group}-{package.version}")).expanduser()
    with temporary_folder(folder / f".download-{package.version}") as temporary:
        fetch_model(workspace, source, temporary)
        if source.table_schema:
            (temporary / source.table_schema.FILE_NAME).write_text(source.table_schema.to_json(), encoding="utf-8")
        if content := read_record(workspace, source):
            (temporary / "run.json").write_bytes(content)
        files = sorted(temporary.iterdir())
        for file in files:
            file.replace(folder / file.name)
    return f"Version {package.version} of {group} is in {folder}: {', '.join(file.name for file in files)}."


def _format_table(rows: Sequence[dict[str, str]]) -> str:
    """Return rows as columns of equal width, with a heading; the last column is as wide as its text."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([row.get(name, "") for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


COMMANDS = {
    "list": Command(list_models, 0),
    "compare": Command(compare_models, 2),
    "approve": Command(approve_model, 1, ("reason", "although_rejected")),
    "reject": Command(reject_model, 1, ("reason",)),
    "download": Command(download_model, 1, ("out",)),
}
