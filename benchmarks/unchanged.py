"""Compare a run of `flows.train` on unchanged inputs with a Prefect flow of the same number of empty tasks.

`python -m benchmarks.unchanged [ROUNDS=3]`; the exit code is 1 when a limit is exceeded. The two commands alternate in
a home directory in which the flow ran before, and use one Prefect server, which keeps running. A proxy in front of the
sandbox counts the bytes that are read of every object.
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from flows.cli.local_services import LocalPrefectServer
from sandbox import client

MAX_SECONDS = 4.0
"""Maximum difference between an unchanged run and the empty flow."""
CACHE_FOLDERS = ("/results/", "/ledger/")
"""Folders of cached results and of their history; every other object is data."""
PATIENCE = 60.0
ROOT = Path(__file__).resolve().parents[1]


class CountingProxy(BaseHTTPRequestHandler):
    """Forwards each request to the sandbox, and counts the bytes of every object that is read."""

    protocol_version = "HTTP/1.1"
    sandbox: ClassVar[str] = ""
    read: ClassVar[Counter[str]] = Counter()

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection(self.sandbox, timeout=PATIENCE)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders(body or None)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        path, _, query = self.path.partition("?")
        if self.command == "GET" and path.count("/") > 1 and "list-type" not in query and path != "/_sandbox":
            self.read[unquote(path)] += len(content)
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", response.headers["Content-Length"] or str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward  # noqa: N815 - the names that http.server requires

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def own_sandbox() -> Iterator[str]:
    """Start a sandbox for this home directory; the value is its URL."""
    state_dir = client.default_state_dir()
    with client.mark_in_use(state_dir):
        client.start_server(state_dir)
        yield client.wait_for_endpoint(state_dir, PATIENCE)


@contextmanager
def sandbox_proxy() -> Iterator[str]:
    """Start a sandbox for this home directory behind a proxy; the value is the URL of the proxy."""
    with own_sandbox() as url, ThreadingHTTPServer(("127.0.0.1", 0), CountingProxy) as server:
        CountingProxy.sandbox = urlsplit(url).netloc
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def move_to(home: str) -> None:
    """Isolate this process and its children from the user's settings, in the home directory `home`."""
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "AWS_", "XDG_"))]:
        del os.environ[name]
    os.environ |= {"HOME": home, "PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "1"}
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    os.chdir(home)


def command(*arguments: str) -> tuple[float, str]:
    """Run `python -m` with these arguments; return the seconds and the output."""
    begin = time.perf_counter()
    run = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)
    took = time.perf_counter() - begin
    assert run.returncode == 0, run.stderr
    return took, run.stdout + run.stderr


def task_runs(api_url: str) -> int:
    """Return the number of task runs on the Prefect server."""
    url = urlsplit(api_url)
    connection = http.client.HTTPConnection(url.netloc, timeout=PATIENCE)
    connection.request("POST", f"{url.path}/task_runs/count", "{}", {"Content-Type": "application/json"})
    count = int(connection.getresponse().read())
    connection.close()
    return count


def empty_flow(tasks: int) -> None:
    """Run a flow of this number of empty tasks, started like the training flow."""
    from prefect import flow, task

    @task
    def nothing() -> None:
        pass

    @flow
    def empty() -> None:
        for _ in range(tasks):
            nothing()

    empty()


def measure(rounds: int, api_url: str, sandbox_url: str) -> tuple[dict[str, list[float]], Counter[str], Counter[str]]:
    """Return the seconds of each command, and the calls to AWS and bytes of data read in all unchanged runs."""
    command("sandbox.client", sandbox_url)
    first, _ = command("flows.train")
    tasks = task_runs(api_url)
    print(f"first run {first:.1f} s, {tasks} tasks")
    took: dict[str, list[float]] = {"unchanged run": [], "empty flow": []}
    calls: Counter[str] = Counter()
    CountingProxy.read.clear()
    for _ in range(rounds):
        before = Counter(client.call_counts(sandbox_url))
        seconds, output = command("flows.train")
        assert "again, because" not in output, output
        assert "for the first time" not in output, output
        took["unchanged run"].append(seconds)
        calls += Counter(client.call_counts(sandbox_url)) - before
        took["empty flow"].append(command("benchmarks.unchanged", "--empty", str(tasks))[0])
    read = CountingProxy.read.items()
    return took, calls, Counter({key: n for key, n in read if not any(folder in key for folder in CACHE_FOLDERS)})


def report(rounds: int, took: dict[str, list[float]], calls: Counter[str], data: Counter[str]) -> bool:
    """Print the measurements; return whether no limit is exceeded."""
    for name, seconds in took.items():
        print(
            f"{name:<16}{'  '.join(f'{value:.1f}' for value in seconds)} s, median {statistics.median(seconds):.1f} s"
        )
    run, empty = (statistics.median(seconds) for seconds in took.values())
    print(f"difference      {run - empty:+.1f} s (at most {MAX_SECONDS:.0f})")
    print(f"data read       {data.total()} bytes (at most 0) {json.dumps(data) if data else ''}")
    print(f"AWS calls of one unchanged run: {sum(calls.values()) / rounds:g}")
    for action, count in sorted(calls.items()):
        print(f"  {action:<36}{count / rounds:g}")
    return run - empty <= MAX_SECONDS and not data.total()


def main() -> int:
    if sys.argv[1:2] == ["--empty"]:
        empty_flow(int(sys.argv[2]))
        return 0
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with TemporaryDirectory() as home, ExitStack() as running:
        move_to(home)
        server = LocalPrefectServer()
        running.callback(server.close)
        sandbox_url = running.enter_context(sandbox_proxy())
        server.wait()
        os.environ["PREFECT_API_URL"] = server.api_url
        return 0 if report(rounds, *measure(rounds, server.api_url, sandbox_url)) else 1


if __name__ == "__main__":
    sys.exit(main())
