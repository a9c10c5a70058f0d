"""The automations as people register them, on a real server: they fire for this project's runs and for no others."""

import os
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
FAILED, REJECTED, LATE, MISSED, LIFELESS = NAMES
TAG, TRAINING = AUTOMATIONS[NAMES.index(LATE)]["trigger"]["match_related"]
_, NIGHTLY = AUTOMATIONS[NAMES.index(MISSED)]["trigger"]["match_related"]
PATIENCE = 60.0
VERDICT = "no better than the baseline: RMSE 4.1 instead of 4."
Notification = list[str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`prefect server start`, as it comes but for a quicker look at what did not happen."""
    home = tmp_path_factory.mktemp("prefect")
    with create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    retained = {name: value for name, value in os.environ.items() if "_SERVER_SERVICES_" not in name}
    quick = {"PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1S"}
    url = f"http://127.0.0.1:{port}/api"
    with (
        (home / "log").open("wb") as log,
        subprocess.Popen(
            command,
            env={**retained, **quick, "PREFECT_HOME": str(home), "PREFECT_API_URL": url},
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            until(lambda: process.poll() is not None or healthy(url), (home / "log").read_text)
            with temporary_settings({PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
                yield url
        finally:
            process.terminate()
            process.wait(PATIENCE)


@pytest.fixture(scope="module")
def client(server: str) -> Iterator[SyncPrefectClient]:
    del server
    with get_client(sync_client=True) as one:
        yield one


@pytest.fixture(scope="module")
def messages(server: str) -> Iterator[Notification]:
    """What the notification block custom-webhook/team told people, subject and body."""
    del server
    heard: Notification = []

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Ear) as ear:
        Thread(target=ear.serve_forever, daemon=True).start()
        CustomWebhookNotificationBlock(
            name="team", url=f"http://127.0.0.1:{ear.server_port}", form_data="{{subject}}\n{{body}}"
        ).save("team")
        yield heard
        ear.shutdown()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Runs the command, and tells what it did with each automation."""

    def with_arguments(*arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["automations", *arguments])
        automations.main()
        return [line.split()[0] for line in capsys.readouterr().out.splitlines()]

    return with_arguments


def healthy(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/health", trust_env=False).is_success
    return False


def until(condition: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, otherwise()
        time.sleep(0.1)


def registered(client: SyncPrefectClient, name: str) -> Automation:
    (only,) = client.read_automations_by_name(name)
    return only


def test_registering_twice_leaves_one_of_each_and_what_people_added(
    client: SyncPrefectClient, messages: Notification, run: Callable[..., list[str]]
) -> None:
    del messages
    assert run() == ["created"] * len(AUTOMATIONS)
    assert registered(client, MISSED).actions == [DoNothing()]
    assert run() == ["unchanged"] * len(AUTOMATIONS)
    missed = registered(client, MISSED)
    own = missed.model_copy(update={"actions": [CancelFlowRun()], "enabled": False, "description": "?"})
    client.update_automation(missed.id, AutomationCore(**own.model_dump(exclude={"id", "owner_resource"})))
    assert run("--notify", "custom-webhook/team") == ["updated"] * 4 + ["unchanged"]
    assert run("--notify", "custom-webhook/team") == run() == ["unchanged"] * len(AUTOMATIONS)
    missed = registered(client, MISSED)
    assert [type(action) for action in missed.actions] == [CancelFlowRun, SendNotification]
    assert not missed.enabled
    assert missed.description == next(one["description"] for one in AUTOMATIONS if one["name"] == MISSED)
    assert sorted(one.name for one in client.read_automations()) == sorted(NAMES)


def test_a_rejected_model_of_this_project_is_reported_with_a_link_to_the_run(
    client: SyncPrefectClient, messages: Notification, run: Callable[..., list[str]]
) -> None:
    @flow(name="train-linear-learner")
    def rejecting() -> State[None]:
        return Completed(name="Rejected", message=VERDICT)

    run("--notify", "custom-webhook/team")
    rejecting(return_state=True)  # somebody else's, without the tag
    with tags("linear-learner"):
        state = rejecting(return_state=True)
    mine = client.read_flow_run(UUID(str(state.state_details.flow_run_id)))
    until(lambda: bool(messages), lambda: f"{client.read_automations()}")
    subject, body = messages[0].split("\n", 1)
    assert subject == f"{mine.name}: model rejected"
    assert VERDICT in body
    assert f"[{mine.name}](http://127.0.0.1:" in body
    assert f"/runs/flow-run/{mine.id})" in body


def test_a_run_without_a_sign_of_life_is_marked_crashed_and_reported_as_is_one_that_does_not_begin(
    client: SyncPrefectClient, server: str, messages: Notification, run: Callable[..., list[str]]
) -> None:
    run("--notify", "custom-webhook/team")
    lifeless, late = started(client), started(client)
    ago(server, "heartbeat", lifeless, timedelta(hours=1))
    ago(server, "Late", late, timedelta(minutes=10))

    def all_notified() -> bool:
        for name in (LIFELESS, LATE):  # one that is switched on looks at once what is missing
            client.pause_automation(registered(client, name).id)
            client.resume_automation(registered(client, name).id)
        time.sleep(1)
        return len(messages) == 2

    messages.clear()
    until(all_notified, lambda: str(messages))
    assert any(one.endswith(f"/runs/flow-run/{lifeless})") and ": Crashed\nNo heartbeat" in one for one in messages)
    assert any(one.endswith(f"/runs/flow-run/{late})") and " has not begun\nDue at" in one for one in messages)
    state = client.read_flow_run(lifeless).state
    assert state is not None
    assert state.is_crashed()


def started(client: SyncPrefectClient) -> Any:
    @flow(name="train-linear-learner")
    def unfinished() -> None: ...

    return client.create_flow_run(unfinished, tags=["linear-learner"], state=Running()).id


def ago(server: str, event: str, run: Any, age: timedelta) -> None:
    """An event of the run, as old as that and some seconds."""
    sent = {
        "id": str(uuid4()),
        "occurred": (datetime.now(UTC) - age - timedelta(seconds=5)).isoformat(),
        "event": f"prefect.flow-run.{event}",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
        "related": [{"prefect.resource.role": "tag", **TAG}, {"prefect.resource.id": "prefect.flow.1", **TRAINING}],
    }
    assert httpx.post(f"{server}/events", json=[sent], trust_env=False).is_success


@pytest.mark.parametrize(
    ("url", "block", "said"),
    [
        (None, "custom-webhook/nobody", "There is no block custom-webhook/nobody."),
        (None, "team", "There is no block team."),
        (None, "secret/quiet", "Block secret/quiet notifies nobody."),
        ("http://127.0.0.1:9/api", "custom-webhook/team", "Prefect's API at http://127.0.0.1:9/api does not answer"),
        ("", "custom-webhook/team", "Set PREFECT_API_URL"),
    ],
)
def test_a_mistake_ends_in_one_sentence_and_registers_nothing(
    server: str,
    run: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
    url: str | None,
    block: str,
    said: str,
) -> None:
    Secret(value="hush").save("quiet", overwrite=True)
    there = server if url is None else url or None
    with temporary_settings({PREFECT_API_URL: there}), pytest.raises(SystemExit) as ended:
        run("--notify", block)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(said)
    assert err.count("\n") == 1


def test_they_look_for_what_is_deployed() -> None:
    from flows.train import train_linear_learner

    deployments = {one["name"]: one for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    assert all(f"prefect.tag.{one['tags'][0]}" == TAG["prefect.resource.id"] for one in deployments.values())
    assert NIGHTLY["prefect.resource.name"] in deployments
    assert TRAINING["prefect.resource.name"] == train_linear_learner.name
