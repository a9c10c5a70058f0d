"""The one WSGI application of the sandbox: training-job calls are answered here, everything else by moto."""

import io
import json
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Response
from werkzeug.wsgi import get_input_stream

from sandbox.emulator import SIGNED_FOR, Emulator
from sandbox.object_store import ObjectStore
from sandbox.service_model import ServiceError
from sandbox.training_jobs import ARN, TrainingJobs

TAGGING = ("AddTags", "ListTags", "DeleteTags")


class Front:
    """Routes each request; `seeds` are run once each, before the first request to their service."""

    def __init__(
        self,
        emulator: Emulator,
        store: ObjectStore,
        jobs: TrainingJobs,
        state_dir: Path,
        seeds: Mapping[str, Callable[[], None]],
    ) -> None:
        self._emulator = emulator
        self._store = store
        self._jobs = jobs
        self._state_dir = state_dir
        self._seeds = dict(seeds)
        # One seed at a time: seeds import parts of moto, and modules must not be imported by two threads at once.
        self._seeding = threading.RLock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            response = self._respond(environ)
        except Exception:  # noqa: BLE001 - one bad request must not end the server
            traceback.print_exc(file=sys.stderr)
            response = Response("the sandbox failed on this request; its own log has the details", 500)
        return response(environ, start_response)

    def seed(self, service: str) -> None:
        """Give a service back what the last server of this folder knew."""
        with self._seeding:
            if service in self._seeds:
                self._seeds[service]()
                del self._seeds[service]

    def _respond(self, environ: dict[str, Any]) -> Response:
        path = environ["PATH_INFO"]
        if path == "/_sandbox":
            return self._status()
        if path.startswith("/moto-api"):
            return Response("moto's own controls are not part of the sandbox", 404)
        service = _service(environ)
        self.seed(service)
        if service == "sagemaker":
            return self._sagemaker(environ)
        if service == "s3":
            return self._s3(environ)
        return self._emulator.respond(environ)

    def _status(self) -> Response:
        status = {"sandbox": "linear-learner", "state_dir": str(self._state_dir), "jobs": self._jobs.counts()}
        return Response(json.dumps(status), mimetype="application/json")

    def _sagemaker(self, environ: dict[str, Any]) -> Response:
        action = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        if action not in self._jobs.actions:
            return self._emulator.respond(environ)
        body = _take_body(environ)
        try:
            request = json.loads(body or b"{}")
            if action in TAGGING and not ARN.fullmatch(str(request.get("ResourceArn"))):
                return self._emulator.respond(environ)
            return _answer(200, self._jobs.answer(action, request))
        except ServiceError as error:
            return _answer(400, {"__type": error.code, "message": str(error)})
        except ValueError:
            return _answer(400, {"__type": "SerializationException", "message": "the body is not JSON"})

    def _s3(self, environ: dict[str, Any]) -> Response:
        method, query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
        if method not in {"PUT", "POST", "DELETE"}:
            return self._emulator.respond(environ)
        path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
        on_bucket = "/" not in path.strip("/")
        if on_bucket and method == "POST" and "delete" not in query:
            return Response("the sandbox takes no uploads by HTML form", 501)
        body = _take_body(environ) if on_bucket else b""
        response = self._emulator.respond(environ)
        if response.status_code < 300:
            self._store.follow(method, path, query, body)
        return response


def _service(environ: Mapping[str, Any]) -> str:
    match = SIGNED_FOR.search(environ.get("HTTP_AUTHORIZATION", "") or environ["QUERY_STRING"])
    return match["service"].lower() if match else "s3"


def _take_body(environ: dict[str, Any]) -> bytes:
    body = get_input_stream(environ).read()
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    return body


def _answer(status: int, document: Mapping[str, Any]) -> Response:
    headers = {"x-amzn-RequestId": str(uuid.uuid4())}
    return Response(json.dumps(document), status, headers, content_type="application/x-amz-json-1.1")
