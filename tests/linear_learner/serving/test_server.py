"""The server keeps SageMaker's container contract over real sockets, and ends without losing a request."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from linear_learner.__main__ import main
from linear_learner.formats.artifact import write_model
from linear_learner.serving.inference_container import InferenceContainer
from linear_learner.serving.server import MAX_BYTES
from tests.linear_learner.formats.files import write_archive
from tests.linear_learner.tables import ROWS, model, schema

pytestmark = pytest.mark.sandbox

MODEL = model("binary_classifier", "logistic")
BODY = json.dumps({"instances": ROWS}).encode()
HEADERS = {"Content-Type": "application/json"}
EXPECTED = InferenceContainer(MODEL, schema("no", "yes")).invoke(BODY, "application/json").body
SECONDS = 60


class Running(NamedTuple):
    process: subprocess.Popen[str]
    port: int


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_model(MODEL, folder)
    (folder / "schema.json").write_text(schema("no", "yes").to_json())
    return folder


@contextmanager
def serving(folder: Path, workers: int, end: signal.Signals) -> Iterator[Running]:
    """A server; it has to end with exit code 0, and without a word, after the signal `end`."""
    command = [sys.executable, "-m", "linear_learner", "serve", str(folder), "--port", "0", "--workers", str(workers)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            yield Running(process, int(line.partition("http://127.0.0.1:")[2].partition("/")[0]))
            process.send_signal(end)
            output, errors = process.communicate(timeout=SECONDS)
            assert output + errors.replace("WARNING:  Invalid HTTP request received.\n", "") == ""
            assert process.returncode == 0
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Running]:
    with serving(folder, 1, signal.SIGINT) as running:
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    yield connection
    connection.close()


def ask(
    client: http.client.HTTPConnection, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, bytes]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    client.request(method, path, body, names)  # type: ignore[arg-type]
    response = client.getresponse()
    return response.status, response.read()


def test_requests_on_one_connection_are_answered(client: http.client.HTTPConnection) -> None:
    assert ask(client, "GET", "/ping") == (200, b"")
    opened = client.sock
    for _ in range(3):
        assert ask(client, "POST", "/invocations", BODY, Content_Type="application/json") == (200, EXPECTED)
    assert client.sock is opened, "the connection was not kept alive"


def test_the_inference_id_and_the_media_type_are_in_the_headers(client: http.client.HTTPConnection) -> None:
    headers = {**HEADERS, "Accept": "application/jsonlines", "X-Amzn-SageMaker-Inference-Id": "a-7"}
    client.request("POST", "/invocations", BODY, headers)
    response = client.getresponse()
    assert response.headers["X-Amzn-SageMaker-Inference-Id"] == "a-7"
    assert response.headers["Content-Type"] == "application/jsonlines"
    assert [json.loads(line) for line in response.read().splitlines()] == json.loads(EXPECTED)["predictions"]


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "status", "problem"),
    [
        ("POST", "/invocations", "31,Bonn,many,2024-01-02", "text/csv", 400, "row 1, column 'rooms': 'many' is not"),
        ("POST", "/invocations", "1", "image/png", 415, "content type 'image/png' is unknown"),
        ("POST", "/invocations", "1", "", 415, "content type '' is unknown"),
        ("GET", "/invocations", None, "", 405, "use GET /ping or POST /invocations"),
        ("POST", "/ping", "", "", 405, "use GET /ping or POST /invocations"),
        ("GET", "/", None, "", 404, "there is no /"),
    ],
)
def test_errors_have_a_status_and_a_message(
    client: http.client.HTTPConnection, method: str, path: str, body: str | None, kind: str, status: int, problem: str
) -> None:
    found, answer = ask(client, method, path, body, Content_Type=kind)
    assert found == status
    assert problem in json.loads(answer)["error"]


def test_a_chunked_body_is_read_to_its_end(client: http.client.HTTPConnection) -> None:
    chunks = iter([BODY[:10], BODY[10:11], BODY[11:]])
    assert ask(client, "POST", "/invocations", chunks, **{"Content-Type": "application/json"}) == (200, EXPECTED)


def test_a_large_body_is_answered_and_one_above_the_limit_refused(client: http.client.HTTPConnection) -> None:
    rows = b"31,Bonn,2,2024-01-02\n" * 15_000
    status, answer = ask(client, "POST", "/invocations", rows, Content_Type="text/csv")
    assert (status, len(json.loads(answer)["predictions"])) == (200, 15_000)
    status, answer = ask(client, "POST", "/invocations", bytes(MAX_BYTES + 1), Content_Type="text/csv")
    assert (status, json.loads(answer)["error"]) == (
        413,
        "the request has more than 26214400 bytes; send fewer rows at a time",
    )
    assert ask(client, "GET", "/ping") == (200, b"")


def test_broken_and_incomplete_requests_do_not_disturb_others(
    server: Running, client: http.client.HTTPConnection
) -> None:
    for text in (b"\0\xff\r\n\r\n", b"POST /invocations HTTP/1.1\r\nContent-Length: 99\r\n\r\n1,2"):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(text)
            assert not text.startswith(b"\0") or connection.recv(99).startswith(b"HTTP/1.1 400")
    assert ask(client, "POST", "/invocations", BODY, Content_Type="application/json") == (200, EXPECTED)


def wait_until_refused(port: int) -> None:
    with suppress(ConnectionRefusedError, ConnectionResetError):
        while True:
            socket.create_connection(("127.0.0.1", port), SECONDS).close()
            time.sleep(0.02)


def test_a_request_in_progress_is_answered_after_sigterm_by_each_of_two_workers(folder: Path) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with serving(folder, 2, signal.SIGTERM) as running:
        connections = [socket.create_connection(("127.0.0.1", running.port), SECONDS) for _ in range(6)]
        for connection in connections:
            connection.sendall(b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(999).startswith(b"HTTP/1.1 200")  # a worker has accepted the connection
            connection.sendall(head % len(BODY) + BODY[:20])
        running.process.terminate()
        wait_until_refused(running.port)
        for connection in connections:
            connection.sendall(BODY[20:])
            with connection, connection.makefile("rb") as answer:
                assert answer.read().endswith(EXPECTED)


@pytest.fixture
def _same_signal_handlers() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_same_signal_handlers")
def test_what_prevents_the_start_is_one_sentence(
    server: Running, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: str) -> str:
        assert main(["serve", *arguments]) == 2
        return capsys.readouterr().err

    used = f"127.0.0.1, port {server.port}, cannot be used: Address already in use; give others with --host and --port"
    assert refuse(str(folder), "--port", str(server.port)).strip() == used
    assert "port 99999 does not exist" in refuse(str(folder), "--port", "99999")
    assert refuse(str(tmp_path / "none")).endswith("none does not exist: give the folder that contains the model\n")
    assert "contains no model.tar.gz" in refuse(str(tmp_path))
    write_archive(model(), tmp_path / "model.tar.gz")
    (tmp_path / "schema.json").write_text("{}")
    assert "schema.json is not a valid schema.json" in refuse(str(tmp_path))
    monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", str(server.port))
    assert refuse(str(folder)).strip() == used
    monkeypatch.setenv("LINEAR_LEARNER_HOST", "192.0.2.1")  # reserved for documentation: no machine has it
    assert refuse(str(folder)).startswith(f"192.0.2.1, port {server.port}, cannot be used: Cannot assign")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "linear_learner.serving.server")
    expected = "uvicorn is not installed: run `pip install 'train-linear-learner[serve]'`"
    assert refuse(str(folder)).strip() == expected
