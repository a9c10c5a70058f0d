"""Compare the server of `python -m linear_learner serve` with FastAPI and scikit-learn, and with MLServer.

    python -m benchmarks.serving [SECONDS]

Each serves the same linear regression of 16 features with one worker, and answers 16 connections that are kept alive.
Requests per second of processor time of the server and its child processes, HTTP included, the highest of three rounds
in which the servers alternate: other processes on the machine slow all of them down. Another process sends requests.
All answers must be equal to 1e-6. MLServer is installed with pip into a folder of the user's cache, not into the
environment, on the first run; FastAPI comes with Prefect. The extra `serve` has to be installed.
"""

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT, CalledProcessError, Popen, run
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.prepare import meets
from linear_learner.formats.artifact import write_model
from linear_learner.model import LinearModel

FEATURES, CONNECTIONS, ROUNDS, SECONDS = 16, 16, 3, 4.0
START_SECONDS = 60
MLSERVER = ("mlserver>=1.7,<2", "mlserver-sklearn>=1.7,<2")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "train-linear-learner", "benchmarks", "mlserver")
HOST = "127.0.0.1"
FIT = """
import json, sys, joblib, numpy as np
from sklearn.linear_model import LinearRegression
weights = json.load(open(sys.argv[1]))
model = LinearRegression()
model.coef_, model.intercept_ = np.array(weights), 1.0
joblib.dump(model, sys.argv[2])
"""


@dataclass(frozen=True)
class Server:
    """A running server: its process, port, and the path of predictions."""

    name: str
    pid: int
    port: int
    path: str


def cpu_seconds(pid: int) -> float:
    """The processor time of a process and its child processes."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # in user mode and in the kernel
    children = (thread.read_text().split() for thread in Path(f"/proc/{pid}/task").glob("*/children"))
    return own + sum(cpu_seconds(int(child)) for found in children for child in found)


@dataclass(frozen=True)
class Case:
    """A request, as the bytes of its body."""

    content_type: str
    body: bytes

    def to_http(self, path: str) -> bytes:
        head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {self.content_type}\r\n"
        return f"{head}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body


def make_case(server: str, kind: str, rows: NDArray[np.float64]) -> Case:
    if kind == "CSV":
        return Case("text/csv", "\n".join(",".join(map(str, row)) for row in rows.tolist()).encode())
    document: dict[str, Any] = {"instances": [{"features": row} for row in rows.tolist()]}
    if server == "MLServer":  # the protocol "v2"
        tensor = {"name": "x", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
        document = {"inputs": [tensor]}
    return Case("application/json", json.dumps(document).encode())


def read_scores(server: str, body: bytes) -> list[float]:
    document = json.loads(body)
    if server == "MLServer":
        return list(document["outputs"][0]["data"])
    return [row["score"] for row in document["predictions"]]


def serve_fastapi(model: str, port: str) -> None:
    """Serve as FastAPI's documentation would have it, with the same requests, answers and HTTP server as ours."""
    import joblib  # type: ignore[import-untyped]
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Instance(BaseModel):
        features: list[float]

    class Instances(BaseModel):
        instances: list[Instance]

    app, estimator = FastAPI(), joblib.load(model)

    @app.post("/invocations")  # type: ignore[untyped-decorator]
    async def predict(request: Instances) -> dict[str, list[dict[str, float]]]:
        scores = estimator.predict(np.array([one.features for one in request.instances]))
        return {"predictions": [{"score": score} for score in scores.tolist()]}

    uvicorn.run(app, host=HOST, port=int(port), log_level="warning", access_log=False)


def install_mlserver() -> str | None:
    """Install MLServer into the cache, unless it is there; the reason if that is not possible."""
    if (CACHE / "mlserver").is_dir():
        return None
    print(f"installing {' and '.join(MLSERVER)} into {CACHE} ...", flush=True)
    try:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(CACHE), *MLSERVER]
        run(command, check=True, stdout=PIPE, stderr=STDOUT, text=True)
    except CalledProcessError as error:
        return str(error.stdout).strip().splitlines()[-1]
    return None


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def start(name: str, command: list[str], port: int, path: str, folder: Path) -> Iterator[Server]:
    environment = {**os.environ, "PYTHONPATH": str(CACHE)} if name == "MLServer" else None
    log = folder / f"{name}.log"
    with log.open("wb") as output, Popen(command, stdout=output, stderr=STDOUT, env=environment) as process:
        try:
            wait_for(name, process, port, log)
            yield Server(name, process.pid, port, path)
        finally:
            process.terminate()


def wait_for(name: str, process: Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((HOST, port)).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.1)
        else:
            return


def start_ours(stack: ExitStack, folder: Path, weights: NDArray[np.float32]) -> Server:
    write_model(LinearModel("regressor", "squared_loss", weights[:, None], np.ones(1, np.float32)), folder)
    port = free_port()
    command = [sys.executable, "-m", "linear_learner", "serve", str(folder), "--port", str(port), "--workers", "1"]
    return stack.enter_context(start("ours", command, port, "/invocations", folder))


def start_fastapi(stack: ExitStack, folder: Path, weights: Path) -> Server:
    model, port = folder / "fastapi.joblib", free_port()
    run([sys.executable, "-c", FIT, str(weights), str(model)], check=True)
    command = [sys.executable, "-m", "benchmarks.serving", "fastapi", str(model), str(port)]
    return stack.enter_context(start("FastAPI", command, port, "/invocations", folder))


def start_mlserver(stack: ExitStack, folder: Path, weights: Path) -> Server:
    home = folder / "mlserver"
    home.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(CACHE)}
    command = [sys.executable, "-c", FIT, str(weights), str(home / "model.joblib")]
    run(command, check=True, env=environment)
    ports = {f"{kind}_port": free_port() for kind in ("http", "grpc", "metrics")}
    settings = {"debug": False, "host": HOST, "parallel_workers": 0, **ports}  # 0: in the server's process, the fastest
    model = {"name": "m", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "./model.joblib"}}
    (home / "settings.json").write_text(json.dumps(settings))
    (home / "model-settings.json").write_text(json.dumps(model))
    command = [sys.executable, "-c", "from mlserver.cli import main; main()", "start", str(home)]
    return stack.enter_context(start("MLServer", command, ports["http_port"], "/v2/models/m/infer", folder))


class Connection(asyncio.Protocol):
    """A client that sends the same request again as soon as it has the answer."""

    def __init__(self, request: bytes) -> None:
        self.request, self.answers = request, 0
        self.buffer, self.missing = b"", 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        assert head.startswith(b"HTTP/1.1 200"), self.buffer[:500]
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
        if len(body) == length:
            self.buffer, self.answers = b"", self.answers + 1
            self.transport.write(self.request)


async def load(port: int, request: bytes, seconds: float) -> int:
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: Connection(request), HOST, port) for _ in range(CONNECTIONS)]
    await asyncio.sleep(seconds)
    for transport, _ in made:
        transport.abort()
    return sum(connection.answers for _, connection in made)


def measure(server: Server, case: Case, folder: Path, seconds: float) -> float:
    """Requests per CPU second of the server, after a short warm-up."""
    request = folder / "request"
    request.write_bytes(case.to_http(server.path))
    command = [sys.executable, "-m", "benchmarks.serving", "load", str(server.port), str(request)]
    run([*command, "0.5"], check=True, stdout=PIPE)
    before = cpu_seconds(server.pid)
    answers = int(run([*command, str(seconds)], check=True, stdout=PIPE).stdout)
    return answers / (cpu_seconds(server.pid) - before)


def ask(server: Server, case: Case) -> list[float]:
    url = f"http://{HOST}:{server.port}{server.path}"
    response = httpx.post(url, content=case.body, headers={"Content-Type": case.content_type}, timeout=START_SECONDS)
    return read_scores(server.name, response.raise_for_status().content)


def compare(servers: list[Server], folder: Path, seconds: float) -> dict[tuple[str, str, int], float]:
    """The highest speed of each server, content type and number of rows."""
    best: dict[tuple[str, str, int], float] = {}
    for count in (1, 100):
        rows = np.random.default_rng(2).uniform(0.1, 10, (count, FEATURES)).round(4)  # positive: no digits cancel out
        cases = [
            (server, kind, make_case(server.name, kind, rows))
            for server in servers
            for kind in (("CSV", "JSON") if server.name == "ours" else ("JSON",))
        ]
        answers = [ask(server, case) for server, _, case in cases]
        for found in answers:
            np.testing.assert_allclose(found, answers[0], rtol=1e-6)
        for _ in range(ROUNDS):
            for server, kind, case in cases:
                key = (server.name, kind, count)
                best[key] = max(best.get(key, 0), measure(server, case, folder, seconds))
    return best


def main(seconds: float = SECONDS) -> int:
    problem = install_mlserver()
    weights = np.random.default_rng(1).uniform(0.1, 1, FEATURES).astype(np.float32)
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        file = folder / "weights.json"
        file.write_text(json.dumps(weights.tolist()))
        servers = [start_ours(stack, folder, weights), start_fastapi(stack, folder, file)]
        if problem:
            print(f"without MLServer: {problem}")
        else:
            servers.append(start_mlserver(stack, folder, file))
        best = compare(servers, folder, seconds)
    print(f"requests per CPU second, {CONNECTIONS} connections, {FEATURES} features\n")
    print(f"{'':<16}{'1 row':>8}{'100 rows':>10}")
    for server, kind in dict.fromkeys((server, kind) for server, kind, _ in best):
        print(f"{server + ', ' + kind:<16}{best[server, kind, 1]:>8,.0f}{best[server, kind, 100]:>10,.0f}")
    print()
    results = [
        meets(f"requests per CPU second, {rows} rows, {kind}", best["ours", kind, rows], least, least=True)
        for rows, least in ((1, 4000), (100, 2000))
        for kind in ("CSV", "JSON")
    ]
    for other, least in (("FastAPI", 2), ("MLServer", 5)):
        if (other, "JSON", 1) in best:
            ratio = best["ours", "JSON", 1] / best[other, "JSON", 1]
            results.append(meets(f"speed relative to {other}, 1 row", ratio, least, least=True))
    return 0 if all(results) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["fastapi"]:
        serve_fastapi(*sys.argv[2:])
    elif sys.argv[1:2] == ["load"]:
        print(asyncio.run(load(int(sys.argv[2]), Path(sys.argv[3]).read_bytes(), float(sys.argv[4]))))
    else:
        raise SystemExit(main(*map(float, sys.argv[1:])))
