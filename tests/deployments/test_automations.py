"""The registered automations on a real server: they fire for the runs of this project only."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import yaml
from prefect import flow, get_client, tags
from prefect.automations import AutomationCore, DoNothing, SendNotification
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State
from prefect.events.actions import CancelFlowRun
from prefect.events.schemas.automations import Automation
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Completed, Running

from deployments import automations
from deployments.automations import AUTOMATIONS

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
NAMES = [str(one["name"]) for one in AUTOMATIONS]
FAILED, REJECTED, LATE, MISSED, UNRESPONSIVE = NAMES
TAG, TRAINING = AUTOMATIONS[NAMES.index(LATE)]["trigger"]["match_related"]
_, NIGHTLY = AUTOMATIONS[NAMES.index(MISSED)]["trigger"]["match_related"]
TIMEOUT_SECONDS = 120.0
VERDICT = "no better than the baseline: RMSE 4.1 instead of 4."
Notifications = list[str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[str]:
    """`prefect server start` with defaults, except that proactive triggers are evaluated every second."""
    home = tmp_path_factory.mktemp("prefect")
    shutil.copy(empty_database, home / "prefect.db")
    with create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    inherited = {name: value for name, value in os.environ.items() if "_SERVER_SERVICES_" not in name}
    settings = {"PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1S"}
    url = f"http://127.0.0.1:{port}/api"
    with (
        (home / "log").open("wb") as log,
        subprocess.Popen(
            command,
            env={**inherited, **settings, "PREFECT_HOME": str(home), "PREFECT_API_URL": url},
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or is_healthy(url), (home / "log").read_text)
            with temporary_settings({PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
                yield url
        finally:
            process.terminate()
            process.wait(TIMEOUT_SECONDS)


@pytest.fixture(scope="module")
def client(server: str) -> Iterator[SyncPrefectClient]:
    del server
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture(scope="module")
def messages(server: str) -> Iterator[Notifications]:
    """Notifications sent through the block custom-webhook/team, subject and body."""
    del server
    received: Notifications = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        Thread(target=receiver.serve_forever, daemon=True).start()
        CustomWebhookNotificationBlock(
            name="team", url=f"http://127.0.0.1:{receiver.server_port}", form_data="{{subject}}\n{{body}}"
        ).save("team")
        yield received
        receiver.shutdown()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Run the command and return the result for each automation."""

    def with_arguments(*arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["automations", *arguments])
        automations.main()
        return [line.split()[0] for line in capsys.readouterr().out.splitlines()]

    return with_arguments


def is_healthy(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/health", trust_env=False).is_success
    return False


def wait_until(condition: Callable[[], bool], message: Callable[[], str]) -> None:
    end = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < end, message()
        time.sleep(0.5)


def registered(client: SyncPrefectClient, name: str) -> Automation:
    (automation,) = client.read_automations_by_name(name)
    return automation


def test_registering_again_keeps_changes_of_users(
    client: SyncPrefectClient, messages: Notifications, run: Callable[..., list[str]]
) -> None:
    del messages
    assert run() == ["created"] * len(AUTOMATIONS)
    assert registered(client, f"{MISSED}: add an action").actions == [DoNothing()]
    assert run() == ["unchanged"] * len(AUTOMATIONS)
    missed = registered(client, f"{MISSED}: add an action")
    edited = missed.model_copy(update={"actions": [CancelFlowRun()], "enabled": False, "description": "edited"})
    client.update_automation(missed.id, AutomationCore(**edited.model_dump(exclude={"id", "owner_resource"})))
    assert run("--notify", "custom-webhook/team") == ["updated"] * 4 + ["unchanged"]
    assert run("--notify", "custom-webhook/team") == run() == ["unchanged"] * len(AUTOMATIONS)
    missed = registered(client, MISSED)
    assert [type(action) for action in missed.actions] == [CancelFlowRun, SendNotification]
    assert not missed.enabled
    assert missed.description == next(one["description"] for one in AUTOMATIONS if one["name"] == MISSED)
    assert sorted(one.name for one in client.read_automations()) == sorted(NAMES)


def test_a_rejected_model_is_notified_with_a_link_to_the_run(
    client: SyncPrefectClient, messages: Notifications, run: Callable[..., list[str]]
) -> None:
    @flow(name="train-linear-learner")
    def rejected_run() -> State[None]:
        return Completed(name="Rejected", message=VERDICT)

    run("--notify", "custom-webhook/team")
    rejected_run(return_state=True)  # not of this project: without the tag
    with tags("linear-learner"):
        state = rejected_run(return_state=True)
    flow_run = client.read_flow_run(UUID(str(state.state_details.flow_run_id)))
    wait_until(lambda: bool(messages), lambda: f"{client.read_automations()}")
    subject, body = messages[0].split("\n", 1)
    assert subject == f"{flow_run.name}: model rejected"
    assert VERDICT in body
    assert f"[{flow_run.name}](http://127.0.0.1:" in body
    assert f"/runs/flow-run/{flow_run.id})" in body


def test_a_run_without_heartbeat_is_marked_crashed_and_a_late_run_is_notified(
    client: SyncPrefectClient, server: str, messages: Notifications, run: Callable[..., list[str]]
) -> None:
    run("--notify", "custom-webhook/team")
    unresponsive, late = create_running_run(client), create_running_run(client)
    send_old_event(server, "heartbeat", unresponsive, timedelta(hours=1))
    send_old_event(server, "Late", late, timedelta(minutes=10))

    def all_notified() -> bool:
        for name in (UNRESPONSIVE, LATE):  # enabling an automation evaluates its trigger at once
            client.pause_automation(registered(client, name).id)
            client.resume_automation(registered(client, name).id)
        time.sleep(1)
        return len(messages) == 2

    messages.clear()
    wait_until(all_notified, lambda: str(messages))
    assert any(one.endswith(f"/runs/flow-run/{unresponsive})") and ": Crashed\nNo heartbeat" in one for one in messages)
    assert any(one.endswith(f"/runs/flow-run/{late})") and " has not started\nScheduled for" in one for one in messages)
    state = client.read_flow_run(unresponsive).state
    assert state is not None
    assert state.is_crashed()


def create_running_run(client: SyncPrefectClient) -> Any:
    @flow(name="train-linear-learner")
    def unfinished() -> None: ...

    return client.create_flow_run(unfinished, tags=["linear-learner"], state=Running()).id


def send_old_event(server: str, event: str, run: Any, age: timedelta) -> None:
    """Send an event of the run that is some seconds older than `age`."""
    content = {
        "id": str(uuid4()),
        "occurred": (datetime.now(UTC) - age - timedelta(seconds=5)).isoformat(),
        "event": f"prefect.flow-run.{event}",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
        "related": [{"prefect.resource.role": "tag", **TAG}, {"prefect.resource.id": "prefect.flow.1", **TRAINING}],
    }
    assert httpx.post(f"{server}/events", json=[content], trust_env=False).is_success


@pytest.mark.parametrize(
    ("url", "block", "message"),
    [
        (None, "custom-webhook/missing", "There is no block custom-webhook/missing."),
        (None, "team", "There is no block team."),
        (None, "secret/quiet", "Block secret/quiet is not a notification block."),
        (
            "http://127.0.0.1:9/api",
            "custom-webhook/team",
            "A request to Prefect's API at http://127.0.0.1:9/api failed: ",
        ),
        ("", "custom-webhook/team", "Set PREFECT_API_URL"),
    ],
)
def test_an_error_of_the_user_is_reported_in_one_line(
    server: str,
    run: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
    url: str | None,
    block: str,
    message: str,
) -> None:
    Secret(value="secret").save("quiet", overwrite=True)
    api_url = server if url is None else url or None
    with temporary_settings({PREFECT_API_URL: api_url}), pytest.raises(SystemExit) as caught:
        run("--notify", block)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_the_triggers_match_the_deployments() -> None:
    from flows.train import train_linear_learner

    deployments = {one["name"]: one for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    assert all(f"prefect.tag.{one['tags'][0]}" == TAG["prefect.resource.id"] for one in deployments.values())
    assert NIGHTLY["prefect.resource.name"] in deployments
    assert TRAINING["prefect.resource.name"] == train_linear_learner.name
