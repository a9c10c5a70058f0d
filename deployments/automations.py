"""`python -m deployments.automations`: have Prefect say, on its own, when this project's deployments need somebody.

Registers the automations of automations.yaml with the Prefect server or Cloud that PREFECT_API_URL names. Run it again
after an update: automations are known by their names, and whatever people added to them, or switched off, stays so.
"""

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

AUTOMATIONS: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())["automations"]


def register(client: SyncPrefectClient, definition: Mapping[str, Any], block: UUID | None) -> str:
    """Create the automation, or update the one of that name; returns in a word what was done.

    `block` is the id of a notification block; without it nobody is notified. Actions that are there stay as people left
    them; added are those of another type, or that notify through another block.
    """
    actions = [
        {**action, "block_document_id": block} if action["type"] == "send-notification" else action
        for action in definition["actions"]
        if block or action["type"] != "send-notification"
    ]
    wanted = AutomationCore.model_validate({**definition, "actions": actions})
    there = next(iter(client.read_automations_by_name(wanted.name)), None)
    saved: list[Any] = [action for action in there.actions if not isinstance(action, DoNothing)] if there else []
    known = {_identity(action) for action in saved}
    new = [action for action in wanted.actions if _identity(action) not in known]
    wanted.actions = saved + new or [DoNothing()]
    if there is None:
        client.create_automation(wanted)
        return "created"
    updated = there.model_copy(update={name: getattr(wanted, name) for name in ("description", "trigger", "actions")})
    if updated == there:  # an update would have the triggers forget what they have seen
        return "unchanged"
    client.update_automation(there.id, AutomationCore(**updated.model_dump(exclude={"id", "owner_resource"})))
    return "updated"


def _identity(action: Any) -> tuple[str, UUID | None]:
    return action.type, getattr(action, "block_document_id", None)


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
            for definition in AUTOMATIONS:
                print(f"{register(client, definition, block):<10}{definition['name']}")  # noqa: T201 - what the command line is for
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    except httpx.HTTPError as error:
        parser.exit(2, f"Prefect's API at {api} does not answer as it should: {error}\n")


if __name__ == "__main__":
    main()
