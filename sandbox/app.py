"""The WSGI application of the sandbox: it handles SageMaker's and pricing's calls; moto handles all others."""

import errno
import json
import shutil
import socket
import sys
import threading
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.wrappers import Response

from sandbox import pricing
from sandbox.account import ACCOUNT, BUCKET, KEY_ID, REGION, ROLE_ARN, USER_ARN
from sandbox.api_call import JSON_CONTENT_TYPE, ApiCall, json_response
from sandbox.cloudwatch.service import CloudWatch
from sandbox.faults import FAULTS_PATH, Fault, Faults
from sandbox.sagemaker.api_model import ServiceError, service_model
from sandbox.sagemaker.hosting import Hosting
from sandbox.sagemaker.model_registry import ModelRegistry
from sandbox.sagemaker.service import SageMaker
from sandbox.sagemaker.trainer import Trainer
from sandbox.sagemaker.training_jobs import TrainingJobs
from sandbox.sagemaker.training_log import restore_logs
from sandbox.storage import Emulator, ObjectStore, read_body
from sandbox.temporary_keys import TemporaryKeys


class Application:
    """Dispatches requests to the parts of a sandbox, counts the calls and applies faults."""

    def __init__(self, state_dir: Path, client: Callable[[str], Any], hosting_speed: float) -> None:
        """`client` returns the boto3 client of a service with which jobs and endpoints call this sandbox."""
        self._state_dir = state_dir
        self._emulator = Emulator()
        self._store = ObjectStore(state_dir / "s3", self._emulator)
        self._faults = Faults()
        self._temporary_keys = TemporaryKeys()
        self._trainer = Trainer(client)
        self._jobs = TrainingJobs(state_dir / "jobs", self._trainer.start, self._trainer.stop, self._faults)
        self._cloudwatch = CloudWatch(state_dir / "alarms.json", self._emulator, hosting_speed)
        self._hosting = Hosting(state_dir / "hosting", client, self._faults, self._cloudwatch, hosting_speed)
        sagemaker = SageMaker(self._jobs, ModelRegistry(state_dir / "registry"), *self._hosting.parts)
        self._own_services = {"sagemaker": sagemaker.handle, "pricing": pricing.handle}
        # Each is called once, before the first request to its service. IAM and STS share their users.
        self._initialisers: dict[str, Callable[[], object]] = {
            "s3": partial(_initialise_s3, self._emulator, self._store),
            "sagemaker": self._initialise_sagemaker,
            "logs": partial(restore_logs, state_dir / "jobs"),
            "iam": _create_identities,
        }
        # Initialisers import parts of moto; two threads must not import a module at the same time.
        self._initialiser_lock = threading.RLock()
        self._counts: Counter[str] = Counter()
        self._calls: Counter[tuple[bool, str, str]] = Counter()
        self._calls_lock = threading.Lock()
        self._closed = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            response = self._respond(environ)
        except Exception:  # noqa: BLE001 - an error in one request must not stop the server
            traceback.print_exc(file=sys.stderr)
            response = Response("The sandbox failed to handle this request; its stderr has the traceback.", 500)
        return response(environ, start_response)

    def _initialise(self, service: str) -> None:
        with self._initialiser_lock:
            if service in self._initialisers:
                self._initialisers[service]()
                del self._initialisers[service]

    def _initialise_sagemaker(self) -> None:
        service_model()
        self._hosting.start()

    def initialise_all(self) -> None:
        """Restore the stored state of all services; ends early when the application is closed."""
        for service in list(self._initialisers):
            if not self._closed.is_set():
                self._initialise(service)

    def close(self) -> None:
        """Send the responses that a fault delays, and kill the processes of jobs."""
        self._closed.set()
        self._trainer.close()
        self._hosting.close()

    def _respond(self, environ: dict[str, Any]) -> Response:
        path = environ["PATH_INFO"]
        if path == "/_sandbox":
            return json_response(200, self._status())
        if path == "/_sandbox/calls":
            return json_response(200, self._call_counts())
        if path == FAULTS_PATH:
            return json_response(*self._faults.handle_request(environ["REQUEST_METHOD"], read_body(environ)))
        if path.startswith(("/moto-api", "/_sandbox/")):
            return Response("The sandbox has no such path, and moto's own API is disabled.", 404)
        call = ApiCall(environ)
        self._initialise({"sts": "iam", "cloudwatch": "sagemaker"}.get(call.service, call.service))
        with self._calls_lock:
            if not call.is_internal:
                self._counts[f"{call.service}:{call.action}"] += 1
            for resource in call.resources:
                self._calls[call.is_internal, f"{call.service}:{call.action}", resource] += 1
        return self._perform(call, environ) if call.is_internal else self._apply_fault(call, environ)

    def _apply_fault(self, call: ApiCall, environ: dict[str, Any]) -> Response:
        if self._temporary_keys.have_expired(call.access_key_id):
            fault: Fault | None = Fault(kind="expired-credentials")
        else:
            fault = self._faults.take_for_call(call.action)
        if fault and (error := call.fault_response(fault)):
            return error
        if call.service == "logs" and (changed := self._apply_log_fault(call)):
            return changed
        response = self._perform(call, environ)
        if call.service == "sts" and call.action.startswith("AssumeRole"):
            self._temporary_keys.record(response, fault.seconds if fault and fault.kind == "short-session" else None)
        if fault and fault.kind == "slow-answer":
            self._closed.wait(fault.seconds)
        elif fault and fault.kind == "lost-answer":
            with suppress(OSError):  # the client may have closed the connection already
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return response

    def _apply_log_fault(self, call: ApiCall) -> Response | None:
        """The response to a call that reads the log of a job with a fault of its log; None for any other call."""
        stream = str(call.parameters.get("logStreamName") or call.parameters.get("logStreamNamePrefix"))
        faults = self._jobs.faults_of(stream.partition("/")[0])
        if "log-denied" in faults:
            return call.fault_response(faults["log-denied"])
        if "empty-log-pages" in faults and call.action == "GetLogEvents":
            tokens = {name: f"f/{uuid.uuid4().hex}" for name in ("nextForwardToken", "nextBackwardToken")}
            return json_response(200, {"events": [], **tokens}, JSON_CONTENT_TYPE)
        return None

    def _perform(self, call: ApiCall, environ: dict[str, Any]) -> Response:
        if call.invoked_endpoint:
            return self._hosting.invocations.respond(call.invoked_endpoint, environ)
        if handle := self._own_services.get(call.service):
            try:
                document = handle(call.action, call.parameters)
            except ServiceError as error:
                return call.error_response(400, error.code, str(error))
            if document is not None:
                return json_response(200, document, JSON_CONTENT_TYPE)
        changes = environ["REQUEST_METHOD"] in {"PUT", "POST", "DELETE"}
        if call.service == "s3" and (changes or call.action == "GetBucketPolicy"):
            return self._perform_s3(call, environ)
        return self._emulate(call, environ)

    def _emulate(self, call: ApiCall, environ: dict[str, Any]) -> Response:
        try:
            if call.service == "cloudwatch":
                return self._cloudwatch.perform(call.action, call.parameters, environ)
            return self._emulator.respond(environ)
        except NotImplementedError as error:  # moto implements the service, but not the action
            return call.error_response(501, "NotImplemented", str(error))

    def _perform_s3(self, call: ApiCall, environ: dict[str, Any]) -> Response:
        if self._store.denies(environ):
            read_body(environ)  # clients send the whole request before they read the response
            denied = f's3:PutObject on resource: "{call.resource}" with an explicit deny in a resource-based policy'
            return call.error_response(403, "AccessDenied", f"User: {USER_ARN} is not authorized to perform: {denied}")
        try:
            return self._store.perform(environ)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            # Not as an error of the server, which clients would retry.
            free = shutil.disk_usage(self._state_dir).free
            message = f"cannot store it in {self._state_dir}: {error.strerror}; {free} bytes are free"
            return call.error_response(400, "SandboxStorageError", f"The sandbox {message}.")

    def _status(self) -> dict[str, Any]:
        with self._calls_lock:
            calls = dict(self._counts)
        return {
            "sandbox": "linear-learner",
            "state_dir": str(self._state_dir),
            "jobs": self._jobs.counts(),
            "endpoints": self._hosting.endpoints.statuses(),
            "calls": calls,
        }

    def _call_counts(self) -> list[dict[str, Any]]:
        """How often each action was called on each resource; `own` marks calls of the sandbox's jobs and endpoints."""
        with self._calls_lock:
            calls = sorted(self._calls.items())
        return [{"own": own, "action": action, "resource": arn, "count": n} for (own, action, arn), n in calls]


class QuietRequestHandler(MotoRequestHandler):
    """Handles requests as moto's own server does."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing: a single training job makes hundreds of requests."""


def _initialise_s3(emulator: Emulator, store: ObjectStore) -> None:
    store.restore()
    if emulator.request("s3", "HEAD", f"/{BUCKET}").status_code == 404:
        store.put(BUCKET)
    from sandbox.samples import EMPLOYEES_KEY, SAMPLES  # imported late: the table is generated only if it is missing

    if emulator.request("s3", "HEAD", f"/{BUCKET}/{EMPLOYEES_KEY}").status_code == 404:
        store.put(BUCKET, EMPLOYEES_KEY, headers={"Content-Type": "text/csv"}, body=SAMPLES["employees"].csv())


def _create_identities() -> None:
    from moto.iam.models import iam_backends  # slow: it loads all of AWS's managed policies

    iam = iam_backends[ACCOUNT]["aws"]
    statement = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust_policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.create_role(ROLE_ARN.rpartition("/")[2], trust_policy, "/", None, "", [], None)
    iam.create_user(REGION, KEY_ID)
    # moto uses this key id for every key that does not consist of 20 capital letters and digits.
    iam.create_access_key(KEY_ID).access_key_id = "AKIAEXAMPLE"
