"""`python -m deployments.automations`: have Prefect say, on its own, when this project's deployments need somebody.

Registers five automations with the Prefect server or Cloud that PREFECT_API_URL names. Run it again after an update:
automations are known by their names, and whatever people added to them, or switched off, stays so.
"""

import argparse
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

import httpx
from prefect import get_client
from prefect.automations import AutomationCore, DoNothing, EventTrigger, Posture, SendNotification
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ActionTypes, ChangeFlowRunState
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

TAG: Final = {"prefect.resource.id": "prefect.tag.linear-learner"}
"""Of every deployment in prefect.yaml, and so of its runs."""
TRAINING: Final = {"prefect.resource.role": "flow", "prefect.resource.name": "train-linear-learner"}
NIGHTLY: Final = {"prefect.resource.role": "deployment", "prefect.resource.name": "nightly"}
DONE, BROKEN = ("Completed", "Rejected"), ("Failed", "TimedOut", "Crashed")
RUN: Final = "\n\n{{ flow.name }} {{ deployment.name }}: [{{ flow_run.name }}]({{ flow_run | ui_url }})"


def _when(
    *names: str, after: tuple[str, ...] = (), minutes: int = 0, of: dict[str, str] = TAG, each: bool = True
) -> EventTrigger:
    """A run of this project has one of these events; with `after`, none for so many minutes after one of those."""
    return EventTrigger(
        posture=Posture.Proactive if after else Posture.Reactive,
        expect={f"prefect.flow-run.{event}" for event in names},
        after={f"prefect.flow-run.{event}" for event in after},
        within=timedelta(minutes=minutes),
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related=[TAG, of],
        for_each={"prefect.resource.id"} if each else set(),
    )


class AutomationSpec(NamedTuple):
    """When Prefect acts, what it does, and what it says (Jinja and markdown) where people want to be told."""

    name: str
    description: str
    trigger: EventTrigger
    subject: str = ""
    body: str = ""
    does: tuple[ActionTypes, ...] = ()


AUTOMATIONS: Final = (
    AutomationSpec(
        "linear-learner: run failed or crashed",
        "A run ended without a model, or the reaper without having looked.",
        _when(*BROKEN),
        "{{ flow_run.name }}: {{ flow_run.state.name }}",
        "{{ flow_run.state.message }}" + RUN,
    ),
    AutomationSpec(
        "linear-learner: model rejected",
        "A run is done, but the gate says that its model may not be used.",
        # The state, not linear-learner.model.rejected: the server itself tells it, whatever becomes of the process.
        _when("Rejected"),
        "{{ flow_run.name }}: model rejected",
        "{{ flow_run.state.message }}" + RUN,
    ),
    AutomationSpec(
        "linear-learner: training late",
        "A training has not begun ten minutes after Prefect called it late.",
        _when("*", after=("Late",), minutes=10, of=TRAINING),
        "{{ flow_run.name }} has not begun",
        "Due at {{ flow_run.expected_start_time }}. Does a worker of {{ flow_run.work_pool_name }} run?" + RUN,
    ),
    AutomationSpec(
        "linear-learner: no nightly training",
        "No run of the deployment nightly came to its end for 26 hours.",
        # Each end starts the 26 hours anew, as it is on both sides.
        _when(*DONE, after=DONE, minutes=26 * 60, of=NIGHTLY, each=False),
        "No nightly training for 26 hours",
        "{% if flow_run %}The last that came to its end:" + RUN + "{% else %}None ever came to its end.{% endif %}",
    ),
    AutomationSpec(
        "linear-learner: run without a sign of life",
        "A run sends no heartbeat any more: it is marked Crashed, which frees its place under the concurrency limit.",
        # Prefect sends one every three minutes; a server that was away for as long as this takes living runs for dead.
        _when("heartbeat", *DONE, *BROKEN, "Cancelled", after=("heartbeat",), minutes=60),
        does=(ChangeFlowRunState(state=StateType.CRASHED, message="No heartbeat for an hour."),),
    ),
)


def register(client: SyncPrefectClient, spec: AutomationSpec, block: UUID | None) -> str:
    """Create the sign's automation, or update the one of that name; returns in a word what was done.

    Actions that are there stay as people left them; added are those that do something else, or tell somebody else.
    """
    wanted = list(spec.does)
    if block and spec.subject:
        wanted.append(SendNotification(block_document_id=block, subject=spec.subject, body=spec.body))
    there = next(iter(client.read_automations_by_name(spec.name)), None)
    saved = [action for action in there.actions if not isinstance(action, DoNothing)] if there else []
    known = {(action.type, getattr(action, "block_document_id", None)) for action in saved}
    new = [action for action in wanted if (action.type, getattr(action, "block_document_id", None)) not in known]
    ours = {"description": spec.description, "trigger": spec.trigger, "actions": saved + new or [DoNothing()]}
    if there is None:
        client.create_automation(AutomationCore(name=spec.name, **ours))
        return "created"
    updated = there.model_copy(update=ours)
    if updated == there:  # an update would have the triggers forget what they have seen
        return "unchanged"
    client.update_automation(there.id, AutomationCore(**updated.model_dump(exclude={"id", "owner_resource"})))
    return "updated"


def notification_block(client: SyncPrefectClient, name: str) -> UUID:
    """Id of the saved block of that type and name; raises ValueError when there is none that notifies anybody."""
    kind, _, block = name.partition("/")
    try:
        found = client.read_block_document_by_name(block, kind, include_secrets=False)
    except ObjectNotFound:
        raise ValueError(f"There is no block {name}. Create it in the UI under Blocks, or name another.") from None
    if found.block_schema is None or "notify" not in found.block_schema.capabilities:
        raise ValueError(f"Block {name} notifies nobody. Name one that does, such as slack-webhook/team.")
    return found.id


def main() -> None:
    """Register all of them, a line each; a mistake ends in a sentence and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m deployments.automations", description=__doc__)
    parser.add_argument("--notify", metavar="TYPE/NAME", help="tell people through this block: slack-webhook/team")
    notify, api = parser.parse_args().notify, PREFECT_API_URL.value()
    if api is None:
        parser.exit(2, "Set PREFECT_API_URL: automations need a Prefect server that is always there, or Cloud.\n")
    try:
        with get_client(sync_client=True) as client:
            block = notification_block(client, notify) if notify else None
            for spec in AUTOMATIONS:
                print(f"{register(client, spec, block):<10}{spec.name}")  # noqa: T201 - what the command line is for
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    except httpx.HTTPError as error:
        parser.exit(2, f"Prefect's API at {api} does not answer as it should: {error}\n")


if __name__ == "__main__":
    main()
