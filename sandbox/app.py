"""The one WSGI application of the sandbox: SageMaker and policies are its own, the rest is moto."""

import json
import socket
import sys
import threading
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode
from xml.sax.saxutils import escape

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.wrappers import Response

from sandbox.account import ADMINISTRATOR, BUCKET, KEY_ID, ROLE_ARN, decide
from sandbox.api_call import ApiCall, take_body
from sandbox.emulator import Emulator
from sandbox.faults import PATH, Faults, LostAnswer, SlowAnswer
from sandbox.sagemaker import training_log
from sandbox.sagemaker.api_model import ServiceError, preload
from sandbox.sagemaker.model_registry import ARN as REGISTRY_ARN
from sandbox.sagemaker.model_registry import ModelRegistry
from sandbox.sagemaker.trainer import Trainer
from sandbox.sagemaker.training_jobs import ARN as JOB_ARN
from sandbox.sagemaker.training_jobs import TrainingJobs
from sandbox.storage import ObjectStore

TAGGING = ("AddTags", "ListTags", "DeleteTags")
MAX_CALL_KINDS = 10_000
"""Kinds of calls, by action and resource, that are told apart; of further ones the resource is not kept."""


class Application:
    """Routes each request; `seeds` are run once each, before the first request to their service."""

    def __init__(  # noqa: PLR0913 - the parts of a sandbox
        self,
        emulator: Emulator,
        store: ObjectStore,
        jobs: TrainingJobs,
        registry: ModelRegistry,
        state_dir: Path,
        *,
        initialisers: Mapping[str, Callable[[], None]],
        faults: Faults,
    ) -> None:
        self._emulator = emulator
        self._store = store
        self._jobs = jobs
        self._own = ((jobs, JOB_ARN), (registry, REGISTRY_ARN))
        self._state_dir = state_dir
        self._initialisers = dict(initialisers)
        # One seed at a time: seeds import parts of moto, and modules must not be imported by two threads at once.
        self._initialising = threading.RLock()
        self._faults = faults
        self._calls: Counter[tuple[bool, str, str]] = Counter()
        self._counting = threading.Lock()
        self._closing = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            response = self._respond(environ)
        except Exception:  # noqa: BLE001 - one bad request must not end the server
            traceback.print_exc(file=sys.stderr)
            response = Response("the sandbox failed on this request; its own log has the details", 500)
        return response(environ, start_response)

    def initialise(self, service: str) -> None:
        """Give a service back what the last server of this folder knew."""
        with self._initialising:
            if service in self._initialisers:
                self._initialisers[service]()
                del self._initialisers[service]

    def close(self) -> None:
        """Send the answers that a fault holds back."""
        self._closing.set()

    def _respond(self, environ: dict[str, Any]) -> Response:
        path = environ["PATH_INFO"]
        if path == "/_sandbox":
            return _json(200, self._status())
        if path == "/_sandbox/calls":
            return _json(200, self._every_call())
        if path == PATH:
            return _json(*self._faults.control(environ["REQUEST_METHOD"], take_body(environ)))
        if path.startswith(("/moto-api", "/_sandbox/")):
            return Response("no such control; moto's own are not part of the sandbox", 404)
        call = ApiCall(environ)
        self.initialise(call.service)
        self._count(call)
        return self._perform(call, environ) if call.own else self._apply_fault(call, environ)

    def _count(self, call: ApiCall) -> None:
        kind = (call.own, f"{call.service}:{call.action}", call.resource)
        with self._counting:
            self._calls[kind if kind in self._calls or len(self._calls) < MAX_CALL_KINDS else (*kind[:2], "?")] += 1

    def _apply_fault(self, call: ApiCall, environ: dict[str, Any]) -> Response:
        fault = self._faults.met_by_call(call.action)
        if fault and (refusal := call.refusal(fault)):
            return refusal
        response = self._perform(call, environ)
        if isinstance(fault, SlowAnswer):
            self._closing.wait(fault.seconds)
        elif isinstance(fault, LostAnswer):
            with suppress(OSError):  # the client may be gone already, which is what the server takes it for
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return response

    def _perform(self, call: ApiCall, environ: dict[str, Any]) -> Response:
        if call.service == "sagemaker":
            return self._sagemaker(call, environ)
        if call.service == "s3":
            return self._s3(environ)
        if call.action == "SimulatePrincipalPolicy":
            return self._simulate(call, environ)
        return self._emulator.respond(environ)

    def _status(self) -> dict[str, Any]:
        calls: Counter[str] = Counter()
        for call in self._every_call():
            if not call["own"]:
                calls[call["action"]] += call["count"]
        return {
            "sandbox": "linear-learner",
            "state_dir": str(self._state_dir),
            "jobs": self._jobs.counts(),
            "calls": calls,
        }

    def _every_call(self) -> list[dict[str, Any]]:
        """What was asked of which resource, how often, by clients or by the sandbox's own training jobs."""
        with self._counting:
            calls = sorted(self._calls.items())
        return [{"own": own, "action": action, "resource": arn, "count": n} for (own, action, arn), n in calls]

    def _sagemaker(self, call: ApiCall, environ: dict[str, Any]) -> Response:
        action = call.action
        if not any(action in part.actions for part, _ in self._own):
            return self._emulator.respond(environ)
        body = take_body(environ)
        try:
            request = json.loads(body or b"{}")
            part = self._part(action, request)
            if part is None:
                return self._emulator.respond(environ)
            headers = {"x-amzn-RequestId": str(uuid.uuid4())}
            document = json.dumps(part.answer(action, request))
            return Response(document, 200, headers, content_type="application/x-amz-json-1.1")
        except ServiceError as error:
            return call.refused(400, error.code, str(error))
        except ValueError:
            return call.refused(400, "SerializationException", "the body is not JSON")

    def _part(self, action: str, request: Any) -> TrainingJobs | ModelRegistry | None:
        """Who answers; tags are kept by whoever keeps what they are on."""
        arn = str(request.get("ResourceArn")) if action in TAGGING and isinstance(request, dict) else ""
        answering = ((part, arns) for part, arns in self._own if action in part.actions)
        return next((part for part, arns in answering if action not in TAGGING or arns.fullmatch(arn)), None)

    def _simulate(self, call: ApiCall, environ: dict[str, Any]) -> Response:
        form = dict(parse_qsl(take_body(environ).decode()))
        principal = form.get("PolicySourceArn", "")
        policies = self._emulator.policies(principal)
        if policies is None:
            return call.refused(404, "NoSuchEntity", f"The policy source {principal} cannot be found.")
        resources = _members(form, "ResourceArns") or ["*"]
        asked = [(action, resource) for action in _members(form, "ActionNames") for resource in resources]
        try:
            results = "".join(_simulated(*pair, *decide(policies, *pair, _context(form))) for pair in asked)
        except ValueError as error:
            return call.refused(400, "InvalidInput", str(error))
        text = f"<IsTruncated>false</IsTruncated><EvaluationResults>{results}</EvaluationResults>"
        for element in ("SimulatePrincipalPolicyResult", "SimulatePrincipalPolicyResponse"):
            text = f"<{element}>{text}</{element}>"
        return Response(text, mimetype="text/xml")

    def _s3(self, environ: dict[str, Any]) -> Response:
        method, query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
        if method not in {"PUT", "POST", "DELETE"}:
            return self._emulator.respond(environ)
        path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
        on_bucket = "/" not in path.strip("/")
        if on_bucket and method == "POST" and "delete" not in query:
            return Response("the sandbox takes no uploads by HTML form", 501)
        body = take_body(environ) if on_bucket else b""
        response = self._emulator.respond(environ)
        if response.status_code < 300:
            self._store.follow(method, path, query, body)
        return response


def _members(form: Mapping[str, str], name: str) -> list[str]:
    """A list as IAM's protocol writes it."""
    return [value for key, value in form.items() if key.startswith(f"{name}.member.")]


def _context(form: Mapping[str, str]) -> dict[str, list[str]]:
    named = {key.rpartition(".")[0]: value for key, value in form.items() if key.endswith(".ContextKeyName")}
    return {name: _members(form, f"{entry}.ContextKeyValues") for entry, name in named.items()}


def _simulated(action: str, resource: str, decision: str, missing: Iterable[str]) -> str:
    result = f"<EvalActionName>{escape(action)}</EvalActionName><EvalResourceName>{escape(resource)}</EvalResourceName>"
    result += f"<EvalDecision>{decision}</EvalDecision><MissingContextValues>"
    result += "".join(f"<member>{escape(key)}</member>" for key in sorted(missing))
    return f"<member>{result}</MissingContextValues></member>"


def _json(status: int, document: Any) -> Response:
    return Response(json.dumps(document), status, mimetype="application/json")


TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def assemble(state_dir: Path, client: Callable[[str], Any]) -> tuple[Application, TrainingJobs, Trainer]:
    """The application over a folder, with its jobs and what runs them; `client` makes AWS clients of it."""
    emulator = Emulator()
    store = ObjectStore(state_dir / "s3", emulator)
    trainer = Trainer(client)
    faults = Faults()
    jobs = TrainingJobs(state_dir / "jobs", trainer.start, trainer.stop, faults)
    registry = ModelRegistry(state_dir / "registry")
    # Of IAM and STS whoever is asked first needs them.
    create_identities = cache(partial(_create_identities, emulator))
    initialisers: dict[str, Callable[[], None]] = {
        "s3": partial(_seed_objects, emulator, store),
        "logs": partial(training_log.restore, emulator, state_dir / "jobs"),
        "iam": create_identities,
        "sts": create_identities,
        "sagemaker": preload,
    }
    return (
        Application(emulator, store, jobs, registry, state_dir, initialisers=initialisers, faults=faults),
        jobs,
        trainer,
    )


def serve(front: Application, listening: socket.socket) -> BaseWSGIServer:
    """A threaded server on a socket that listens already."""
    return make_server("127.0.0.1", 0, front, threaded=True, request_handler=_QuietHandler, fd=listening.fileno())


class _QuietHandler(MotoRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: a training job alone makes hundreds of requests."""


def _seed_objects(emulator: Emulator, store: ObjectStore) -> None:
    store.restore()
    if emulator.request("s3", "HEAD", f"/{BUCKET}").status_code == 404:
        emulator.request("s3", "PUT", f"/{BUCKET}")
        store.follow("PUT", f"/{BUCKET}", "", b"")
    from sandbox.samples import EMPLOYEES_KEY, employees_csv  # the table is made only when missing

    if emulator.request("s3", "HEAD", f"/{BUCKET}/{EMPLOYEES_KEY}").status_code == 404:
        headers = {"Content-Type": "text/csv"}
        emulator.request("s3", "PUT", f"/{BUCKET}/{EMPLOYEES_KEY}", headers=headers, body=employees_csv())
        store.keep(BUCKET, EMPLOYEES_KEY)


def _create_identities(emulator: Emulator) -> None:
    name, trust, everything = ROLE_ARN.rpartition("/")[2], json.dumps(TRUST), json.dumps(ADMINISTRATOR)
    _ask_iam(emulator, "CreateRole", RoleName=name, AssumeRolePolicyDocument=trust)
    _ask_iam(emulator, "CreateUser", UserName=KEY_ID)
    _ask_iam(emulator, "PutUserPolicy", UserName=KEY_ID, PolicyName="administrator", PolicyDocument=everything)
    emulator.give_keys(KEY_ID)


def _ask_iam(emulator: Emulator, action: str, **parameters: str) -> None:
    form = urlencode({"Action": action, "Version": "2010-05-08"} | parameters)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    emulator.request("iam", "POST", "/", headers=headers, body=form.encode())
