"""`python -m deployments.automations`: register Prefect automations for the runs of this project's deployments.

Creates or updates, by name, the automations of automations.yaml in the Prefect server or Cloud at PREFECT_API_URL. Run
it again after an update of the project: actions that were added in Prefect, and disabled automations, are not changed.
"""

if __name__ == "__main__":
    # Before the other imports: the command can be interrupted while they take place.
    from flows.cli.command import run_main

    raise SystemExit(run_main("deployments.automations"))

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import yaml
from prefect import get_client
from prefect.automations import AutomationCore, DoNothing
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from flows.cli.local_services import bypass_proxies_on_loopback
from tasks.environment.errors import describe_error

NEEDS_ACTION = ": add an action"
"""End of the name of an automation that does nothing until a user adds an action to it."""
AUTOMATIONS: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())["automations"]


def register(client: SyncPrefectClient, definition: Mapping[str, Any], block: UUID | None) -> str:
    """Create the automation or update the one of the same name; returns "created", "updated" or "unchanged".

    `block` is the id of a notification block; without it no notifications are sent. Existing actions are not changed;
    actions of another type, or with another notification block, are added.
    """
    actions = [
        {**action, "block_document_id": block} if action["type"] == "send-notification" else action
        for action in definition["actions"]
        if block or action["type"] != "send-notification"
    ]
    requested = AutomationCore.model_validate({**definition, "actions": actions})
    names = requested.name, requested.name + NEEDS_ACTION
    existing = next((one for name in names for one in client.read_automations_by_name(name)), None)
    saved: list[Any] = [one for one in existing.actions if not isinstance(one, DoNothing)] if existing else []
    known = {_identity(action) for action in saved}
    new = [action for action in requested.actions if _identity(action) not in known]
    requested.actions = saved + new or [DoNothing()]
    requested.name = names[0] if saved + new else names[1]
    if existing is None:
        client.create_automation(requested)
        return "created"
    changes = {name: getattr(requested, name) for name in ("name", "description", "trigger", "actions")}
    updated = existing.model_copy(update=changes)
    if updated == existing:  # an update would reset the state of the trigger
        return "unchanged"
    client.update_automation(existing.id, AutomationCore(**updated.model_dump(exclude={"id", "owner_resource"})))
    return "updated"


def _identity(action: Any) -> tuple[str, UUID | None]:
    return action.type, getattr(action, "block_document_id", None)


def notification_block(client: SyncPrefectClient, name: str) -> UUID:
    """Id of the notification block `type/name`; raises ValueError if there is none."""
    kind, _, block = name.partition("/")
    try:
        found = client.read_block_document_by_name(block, kind, include_secrets=False)
    except ObjectNotFound:
        raise ValueError(f"There is no block {name}. Create it in the UI under Blocks, or name another.") from None
    if found.block_schema is None or "notify" not in found.block_schema.capabilities:
        raise ValueError(f"Block {name} is not a notification block. Name one that is, such as slack-webhook/team.")
    return found.id


def main() -> int:
    bypass_proxies_on_loopback()
    parser = argparse.ArgumentParser(prog="python -m deployments.automations", description=__doc__)
    parser.add_argument("--notify", metavar="TYPE/NAME", help="notification block, such as slack-webhook/team")
    notify, api = parser.parse_args().notify, PREFECT_API_URL.value()
    if api is None:
        parser.exit(2, "Set PREFECT_API_URL: automations need a permanent Prefect server or Cloud.\n")
    try:
        with get_client(sync_client=True) as client:
            block = notification_block(client, notify) if notify else None
            for definition in AUTOMATIONS:
                print(f"{register(client, definition, block):<10}{definition['name']}")  # noqa: T201 - a command line prints
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    except httpx.HTTPError as error:
        parser.exit(2, f"A request to Prefect's API at {api} failed: {describe_error(error) or error}\n")
    return 0
