"""The WSGI application of the sandbox: it answers SageMaker's calls and policy simulations; moto answers the others."""

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

from sandbox.account import ADMINISTRATOR_POLICY, BUCKET, KEY_ID, ROLE_ARN, evaluate_policies
from sandbox.api_call import ApiCall, read_body
from sandbox.faults import FAULTS_PATH, Faults, LostAnswer, SlowAnswer
from sandbox.sagemaker import training_log
from sandbox.sagemaker.api_model import ServiceError, preload
from sandbox.sagemaker.model_registry import ARN_PATTERN as REGISTRY_ARN
from sandbox.sagemaker.model_registry import ModelRegistry
from sandbox.sagemaker.trainer import Trainer
from sandbox.sagemaker.training_jobs import ARN_PATTERN as JOB_ARN
from sandbox.sagemaker.training_jobs import TrainingJobs
from sandbox.storage import Emulator, ObjectStore

TAGGING_ACTIONS = ("AddTags", "ListTags", "DeleteTags")
MAX_CALL_KINDS = 10_000
"""How many pairs of action and resource are counted separately; further ones are counted by action alone."""


class Application:
    """Routes each request; each of `initialisers` is called once, before the first request to its service."""

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
        self._handlers = ((jobs, JOB_ARN), (registry, REGISTRY_ARN))
        self._state_dir = state_dir
        self._initialisers = dict(initialisers)
        # One at a time: initialisers import parts of moto, and modules must not be imported by two threads at once.
        self._initialiser_lock = threading.RLock()
        self._faults = faults
        self._calls: Counter[tuple[bool, str, str]] = Counter()
        self._calls_lock = threading.Lock()
        self._closed = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            response = self._respond(environ)
        except Exception:  # noqa: BLE001 - one bad request must not end the server
            traceback.print_exc(file=sys.stderr)
            response = Response("the sandbox failed on this request; its own log has the details", 500)
        return response(environ, start_response)

    def initialise(self, service: str) -> None:
        """Restore the state that a service had when the last server of this folder ended."""
        with self._initialiser_lock:
            if service in self._initialisers:
                self._initialisers[service]()
                del self._initialisers[service]

    def close(self) -> None:
        """Send the responses that a fault delays."""
        self._closed.set()

    def _respond(self, environ: dict[str, Any]) -> Response:
        path = environ["PATH_INFO"]
        if path == "/_sandbox":
            return _json_response(200, self._status())
        if path == "/_sandbox/calls":
            return _json_response(200, self._call_counts())
        if path == FAULTS_PATH:
            return _json_response(*self._faults.handle_request(environ["REQUEST_METHOD"], read_body(environ)))
        if path.startswith(("/moto-api", "/_sandbox/")):
            return Response("no such control; moto's own are not part of the sandbox", 404)
        call = ApiCall(environ)
        self.initialise(call.service)
        self._count(call)
        return self._perform(call, environ) if call.is_internal else self._apply_fault(call, environ)

    def _count(self, call: ApiCall) -> None:
        kind = (call.is_internal, f"{call.service}:{call.action}", call.resource)
        with self._calls_lock:
            self._calls[kind if kind in self._calls or len(self._calls) < MAX_CALL_KINDS else (*kind[:2], "?")] += 1

    def _apply_fault(self, call: ApiCall, environ: dict[str, Any]) -> Response:
        fault = self._faults.take_for_call(call.action)
        if fault and (error := call.fault_response(fault)):
            return error
        response = self._perform(call, environ)
        if isinstance(fault, SlowAnswer):
            self._closed.wait(fault.seconds)
        elif isinstance(fault, LostAnswer):
            with suppress(OSError):  # the client may have closed the connection already
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return response

    def _perform(self, call: ApiCall, environ: dict[str, Any]) -> Response:
        if call.service == "sagemaker":
            return self._respond_sagemaker(call, environ)
        if call.service == "s3":
            return self._respond_s3(environ)
        if call.action == "SimulatePrincipalPolicy":
            return self._simulate_policy(call, environ)
        return self._emulator.respond(environ)

    def _status(self) -> dict[str, Any]:
        calls: Counter[str] = Counter()
        for call in self._call_counts():
            if not call["own"]:
                calls[call["action"]] += call["count"]
        return {
            "sandbox": "linear-learner",
            "state_dir": str(self._state_dir),
            "jobs": self._jobs.counts(),
            "calls": calls,
        }

    def _call_counts(self) -> list[dict[str, Any]]:
        """How often each action was called on each resource, by clients or by the sandbox's own training jobs."""
        with self._calls_lock:
            calls = sorted(self._calls.items())
        return [{"own": own, "action": action, "resource": arn, "count": n} for (own, action, arn), n in calls]

    def _respond_sagemaker(self, call: ApiCall, environ: dict[str, Any]) -> Response:
        action = call.action
        if not any(action in part.actions for part, _ in self._handlers):
            return self._emulator.respond(environ)
        body = read_body(environ)
        try:
            request = json.loads(body or b"{}")
            handler = self._handler(action, request)
            if handler is None:
                return self._emulator.respond(environ)
            headers = {"x-amzn-RequestId": str(uuid.uuid4())}
            document = json.dumps(handler.handle(action, request))
            return Response(document, 200, headers, content_type="application/x-amz-json-1.1")
        except ServiceError as error:
            return call.error_response(400, error.code, str(error))
        except ValueError:
            return call.error_response(400, "SerializationException", "the body is not JSON")

    def _handler(self, action: str, request: Any) -> TrainingJobs | ModelRegistry | None:
        """The part that answers a call; a call on tags is answered by the part that has the tagged resource."""
        arn = str(request.get("ResourceArn")) if action in TAGGING_ACTIONS and isinstance(request, dict) else ""
        candidates = ((part, arns) for part, arns in self._handlers if action in part.actions)
        return next((part for part, arns in candidates if action not in TAGGING_ACTIONS or arns.fullmatch(arn)), None)

    def _simulate_policy(self, call: ApiCall, environ: dict[str, Any]) -> Response:
        form = dict(parse_qsl(read_body(environ).decode()))
        principal = form.get("PolicySourceArn", "")
        policies = self._emulator.policies_of(principal)
        if policies is None:
            return call.error_response(404, "NoSuchEntity", f"The policy source {principal} cannot be found.")
        resources = _form_list(form, "ResourceArns") or ["*"]
        pairs = [(action, resource) for action in _form_list(form, "ActionNames") for resource in resources]
        try:
            results = "".join(
                _evaluation_result(*pair, *evaluate_policies(policies, *pair, _context_entries(form))) for pair in pairs
            )
        except ValueError as error:
            return call.error_response(400, "InvalidInput", str(error))
        text = f"<IsTruncated>false</IsTruncated><EvaluationResults>{results}</EvaluationResults>"
        for element in ("SimulatePrincipalPolicyResult", "SimulatePrincipalPolicyResponse"):
            text = f"<{element}>{text}</{element}>"
        return Response(text, mimetype="text/xml")

    def _respond_s3(self, environ: dict[str, Any]) -> Response:
        method, query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
        if method not in {"PUT", "POST", "DELETE"}:
            return self._emulator.respond(environ)
        path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
        on_bucket = "/" not in path.strip("/")
        if on_bucket and method == "POST" and "delete" not in query:
            return Response("the sandbox takes no uploads by HTML form", 501)
        body = read_body(environ) if on_bucket else b""
        response = self._emulator.respond(environ)
        if response.status_code < 300:
            self._store.persist_request(method, path, query, body)
        return response


def _form_list(form: Mapping[str, str], name: str) -> list[str]:
    """The items of a list in the query protocol."""
    return [value for key, value in form.items() if key.startswith(f"{name}.member.")]


def _context_entries(form: Mapping[str, str]) -> dict[str, list[str]]:
    named = {key.rpartition(".")[0]: value for key, value in form.items() if key.endswith(".ContextKeyName")}
    return {name: _form_list(form, f"{entry}.ContextKeyValues") for entry, name in named.items()}


def _evaluation_result(action: str, resource: str, decision: str, missing: Iterable[str]) -> str:
    result = f"<EvalActionName>{escape(action)}</EvalActionName><EvalResourceName>{escape(resource)}</EvalResourceName>"
    result += f"<EvalDecision>{decision}</EvalDecision><MissingContextValues>"
    result += "".join(f"<member>{escape(key)}</member>" for key in sorted(missing))
    return f"<member>{result}</MissingContextValues></member>"


def _json_response(status: int, document: Any) -> Response:
    return Response(json.dumps(document), status, mimetype="application/json")


TRUST_POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def build_application(state_dir: Path, client: Callable[[str], Any]) -> tuple[Application, TrainingJobs, Trainer]:
    """The application of a state folder, with its jobs and their trainer; `client` makes AWS clients of the sandbox."""
    emulator = Emulator()
    store = ObjectStore(state_dir / "s3", emulator)
    trainer = Trainer(client)
    faults = Faults()
    jobs = TrainingJobs(state_dir / "jobs", trainer.start, trainer.stop, faults)
    registry = ModelRegistry(state_dir / "registry")
    # IAM and STS need them, whichever of the two is called first.
    create_identities = cache(partial(_create_identities, emulator))
    initialisers: dict[str, Callable[[], None]] = {
        "s3": partial(_initialise_s3, emulator, store),
        "logs": partial(training_log.restore_logs, emulator, state_dir / "jobs"),
        "iam": create_identities,
        "sts": create_identities,
        "sagemaker": preload,
    }
    return (
        Application(emulator, store, jobs, registry, state_dir, initialisers=initialisers, faults=faults),
        jobs,
        trainer,
    )


def make_http_server(application: Application, listening: socket.socket) -> BaseWSGIServer:
    """A threaded server on a socket that listens already."""
    return make_server("127.0.0.1", 0, application, threaded=True, request_handler=_QuietHandler, fd=listening.fileno())


class _QuietHandler(MotoRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing: a single training job makes hundreds of requests."""


def _initialise_s3(emulator: Emulator, store: ObjectStore) -> None:
    store.restore()
    if emulator.request("s3", "HEAD", f"/{BUCKET}").status_code == 404:
        emulator.request("s3", "PUT", f"/{BUCKET}")
        store.persist_request("PUT", f"/{BUCKET}", "", b"")
    from sandbox.samples import EMPLOYEES_KEY, employees_csv  # imported late: it is generated only when missing

    if emulator.request("s3", "HEAD", f"/{BUCKET}/{EMPLOYEES_KEY}").status_code == 404:
        headers = {"Content-Type": "text/csv"}
        emulator.request("s3", "PUT", f"/{BUCKET}/{EMPLOYEES_KEY}", headers=headers, body=employees_csv())
        store.persist_object(BUCKET, EMPLOYEES_KEY)


def _create_identities(emulator: Emulator) -> None:
    name, trust, policy = ROLE_ARN.rpartition("/")[2], json.dumps(TRUST_POLICY), json.dumps(ADMINISTRATOR_POLICY)
    _request_iam(emulator, "CreateRole", RoleName=name, AssumeRolePolicyDocument=trust)
    _request_iam(emulator, "CreateUser", UserName=KEY_ID)
    _request_iam(emulator, "PutUserPolicy", UserName=KEY_ID, PolicyName="administrator", PolicyDocument=policy)
    emulator.create_access_key(KEY_ID)


def _request_iam(emulator: Emulator, action: str, **parameters: str) -> None:
    form = urlencode({"Action": action, "Version": "2010-05-08"} | parameters)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    emulator.request("iam", "POST", "/", headers=headers, body=form.encode())
