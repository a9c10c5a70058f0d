"""The HTTP server of SageMaker's container contract: GET /ping and POST /invocations, on uvicorn.

The application is bare ASGI: a framework would take longer than the model. With several workers, uvicorn's own
supervisor starts them, restarts those that end, and passes signals on.
"""

import asyncio
import functools
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import uvicorn
from uvicorn.supervisors import Multiprocess

from linear_learner.errors import LinearLearnerError
from linear_learner.serving.inference_container import Answer, InferenceContainer

MAX_BYTES = 25 << 20
"""The largest body of a request, as the service documents for real-time endpoints."""

_MAX_BYTES_IN_LOOP = 256 << 10  # larger bodies are answered in a thread, so that /ping is answered meanwhile
_START_SECONDS = 60  # a worker imports numpy and loads up to 512 MiB; a long request may also delay its health check
_SHUTDOWN_SECONDS = 25  # SageMaker and ECS kill the container 30 seconds after SIGTERM
_KEEP_ALIVE_SECONDS = 75  # longer than the 60 seconds of AWS's load balancers, which reuse idle connections
_BACKLOG = 2048
_INFERENCE_ID = b"x-amzn-sagemaker-inference-id"

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Application:
    """The ASGI application that answers with a container."""

    def __init__(self, container: InferenceContainer) -> None:
        self._container = container

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request; nothing is sent if the client has disconnected before its end."""
        path, method = scope["path"], scope["method"]
        headers = dict(scope["headers"])
        if path == "/invocations" and method == "POST":
            answer = await self._invoke(headers, receive)
        else:
            answer = _answer_other(path, method)
        if answer is not None:
            await _send(answer, headers.get(_INFERENCE_ID), send)

    async def _invoke(self, headers: Mapping[bytes, bytes], receive: Receive) -> Answer | None:
        body = await _read_body(receive)
        if body is None or isinstance(body, Answer):
            return body
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        accept = headers.get(b"accept", b"").decode("latin-1")
        if len(body) > _MAX_BYTES_IN_LOOP:
            return await asyncio.to_thread(self._container.invoke, body, content_type, accept)
        return self._container.invoke(body, content_type, accept)


def create_application(model: Path) -> Application:
    """The application with the model in this folder; each worker calls it."""
    return Application(InferenceContainer.load(model))


def serve(model: Path, host: str, port: int, workers: int) -> int:
    """Answer requests until SIGTERM or Ctrl-C, and return the exit code 0; requests in progress are answered first.

    Raises ArtifactError for a missing or damaged model, and LinearLearnerError if the port cannot be used.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit)  # uvicorn restores it at its end and sends itself the signal again
    application = create_application(model)
    listener = _listen(host, port)
    config = uvicorn.Config(
        functools.partial(create_application, model) if workers > 1 else application,
        factory=workers > 1,
        workers=workers,
        lifespan="off",
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        timeout_worker_healthcheck=_START_SECONDS,
    )
    if workers > 1:
        _Supervisor(config, [listener]).run()
    else:
        _Server(config).run([listener])
    return 0


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _announce(sockets or [], "1 worker")


class _Supervisor(Multiprocess):
    def init_processes(self) -> None:
        super().init_processes()
        if all(process.wait_until_ready(_START_SECONDS, self.should_exit) for process in self.processes):
            _announce(self.sockets, f"{len(self.processes)} workers")

    def terminate_all(self) -> None:
        for listener in self.sockets:
            listener.close()  # otherwise clients could connect to this process, which answers none
        super().terminate_all()


def _announce(sockets: list[socket.socket], workers: str) -> None:
    host, port, *_ = sockets[0].getsockname()
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    print(f"The model is served at {url}/invocations with {workers}; Ctrl-C stops.", flush=True)  # noqa: T201


def _exit(_signal: int, _frame: object) -> NoReturn:
    sys.exit(0)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 1 << 16:
        raise LinearLearnerError(f"port {port} does not exist; give one from 0 to 65535 with --port")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]  # create_server adds the address
        raise LinearLearnerError(
            f"{host}, port {port}, cannot be used: {reason}; give others with --host and --port"
        ) from error


async def _read_body(receive: Receive) -> bytes | Answer | None:
    """The body of a request; the answer 413 if it is too large, and None if the client has disconnected."""
    event = await receive()
    if not event.get("more_body", False):
        body = event.get("body", b"") if event["type"] == "http.request" else None
        return body if body is None or len(body) <= MAX_BYTES else _TOO_LARGE
    parts, size = [], 0
    while event["type"] == "http.request":
        size += len(event["body"])
        if size <= MAX_BYTES:  # the rest is read, but not stored: a client reads the answer after it has sent its body
            parts.append(event["body"])
        if not event.get("more_body", False):
            return b"".join(parts) if size <= MAX_BYTES else _TOO_LARGE
        event = await receive()
    return None


def _answer_other(path: str, method: str) -> Answer:
    if path == "/ping" and method in {"GET", "HEAD"}:
        return Answer(200, "application/json", b"")
    if path in {"/ping", "/invocations"}:
        return Answer.error(405, f"{method} {path} is not possible; use GET /ping or POST /invocations")
    return Answer.error(404, f"there is no {path:.100}; use GET /ping or POST /invocations")


async def _send(answer: Answer, inference_id: bytes | None, send: Send) -> None:
    headers = [(b"content-type", answer.content_type.encode()), (b"content-length", b"%d" % len(answer.body))]
    if inference_id is not None:
        headers.append((_INFERENCE_ID, inference_id))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


_TOO_LARGE = Answer.error(413, f"the request has more than {MAX_BYTES} bytes; send fewer rows at a time")
