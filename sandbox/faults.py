"""Faults on demand: make the sandbox fail as AWS does, to test or to rehearse what happens then.

  python -m sandbox.faults throttling --action CreateTrainingJob --times 3
  python -m sandbox.faults spot-interruption
  python -m sandbox.faults list
  python -m sandbox.faults clear

Over HTTP: POST a fault as JSON to /_sandbox/faults, as in {"kind": "quota", "limit": 0}; GET lists those still to
happen, DELETE clears them. Faults are lost with the server. `--times` says how many calls or jobs meet one (1);
boto3 itself tries throttled, failed and unanswered calls again, by default until the fifth attempt.

Faults of calls are met by the next calls of an --action, such as CreateTrainingJob, GetLogEvents or HeadObject;
without it, of any. Faults of jobs are met by the next training jobs that are created, of an --instance-type and with
--spot true or false where given. What the sandbox itself calls in order to run a job meets no faults. A job meets each
kind once.
"""

import argparse
import json
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from sandbox.client import default_state_dir, find_endpoint, send_request

FAULTS_PATH = "/_sandbox/faults"


@dataclass(frozen=True)
class FaultKind:
    """What one kind of fault does: its fields besides `kind` and `times`, with their defaults, and its error responses.

    A default that is a text or a flag is the only value. Error responses are HTTP status, code and message by the
    protocol of the service.
    """

    description: str
    defaults: Mapping[str, Any]
    errors: Mapping[str, tuple[int, str, str]] = field(default_factory=dict)


CALL: Mapping[str, Any] = {"action": None}
JOB: Mapping[str, Any] = {"instance_type": None, "spot": None}
SERVICE_ERROR = (
    500,
    "InternalFailure",
    "The request processing has failed because of an unknown error, exception or failure.",
)
ACCESS_DENIED = (
    "User: {user} is not authorized to perform: {action} on resource: {resource} because no identity-based policy "
    "allows the {action} action"
)
QUOTA = (
    "The account-level service limit '{instance_type} for {spot}training job usage' is {limit} Instances, with current "
    "utilization of {limit} Instances and a request delta of {count} Instances. Please use AWS Service Quotas to "
    "request an increase for this quota. If AWS Service Quotas is not available, contact AWS support to request an "
    "increase for this quota."
)
FAULT_KINDS: Mapping[str, FaultKind] = {
    "throttling": FaultKind(
        "the call is refused: too many requests",
        CALL,
        {
            "json": (400, "ThrottlingException", "Rate exceeded"),
            "query": (400, "Throttling", "Rate exceeded"),
            "s3": (503, "SlowDown", "Please reduce your request rate."),
        },
    ),
    "service-error": FaultKind(
        "the call is refused: HTTP 500",
        CALL,
        {
            "json": SERVICE_ERROR,
            "query": SERVICE_ERROR,
            "s3": (500, "InternalError", "We encountered an internal error. Please try again."),
        },
    ),
    "access-denied": FaultKind(
        "the call is refused: no policy allows it",
        CALL,
        {
            "json": (400, "AccessDeniedException", ACCESS_DENIED),
            "query": (403, "AccessDenied", ACCESS_DENIED),
            "s3": (403, "AccessDenied", "Access Denied"),
        },
    ),
    "quota": FaultKind(
        "CreateTrainingJob is refused: the account may not run more than --limit (2) of these instances",
        {"action": "CreateTrainingJob", "limit": 2},
        {"json": (400, "ResourceLimitExceeded", QUOTA)},
    ),
    "lost-answer": FaultKind("the call is performed, but the connection is closed without an answer", CALL),
    "slow-answer": FaultKind("the call is performed at once, answered --seconds (5) later", {**CALL, "seconds": 5}),
    "no-capacity": FaultKind(
        "after --seconds (0) in Starting the job is Failed, a spot job Stopped with MaxWaitTimeExceeded",
        {**JOB, "seconds": 0},
    ),
    "internal-error": FaultKind("the job is Failed while Training", JOB),
    "spot-interruption": FaultKind(
        "a spot job's container is killed in Training, then all begins again: the engine keeps no checkpoints",
        {**JOB, "spot": True},
    ),
    "max-runtime": FaultKind(
        "as if MaxRuntimeInSeconds were --seconds (1), and training took longer", {**JOB, "seconds": 1}
    ),
    "late-log": FaultKind("the log stream appears --seconds (5) after the job is over", {**JOB, "seconds": 5}),
    "missing-log": FaultKind("the log stream never appears", JOB),
    "slow-job": FaultKind("--seconds (30) in Training before the algorithm begins", {**JOB, "seconds": 30}),
}


class Fault(BaseModel):
    """A fault that is still to happen, and how many more times."""

    kind: str
    times: int = Field(default=1, ge=1)
    action: str | None = None
    instance_type: str | None = None
    spot: bool | None = None
    seconds: Annotated[float, Field(ge=0, le=86_400)] = 0
    limit: Annotated[int, Field(ge=0)] = 0

    @classmethod
    def parse(cls, document: Any, *, strict: bool = True) -> "Fault":
        """The fault that a document describes, with the defaults of its kind; ValueError says why it describes none."""
        name = document.get("kind") if isinstance(document, dict) else None
        kind = FAULT_KINDS.get(str(name))
        if kind is None:
            raise ValueError(f"kind must be one of {', '.join(FAULT_KINDS)}")
        if unknown := document.keys() - {"kind", "times"} - kind.defaults.keys():
            raise ValueError(f"{name}.{unknown.pop()}: this kind has no such field")
        try:
            fault = cls.model_validate({**kind.defaults, **document}, strict=strict)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{name}.{first['loc'][0]}: {first['msg']}") from None
        for field_name, only in kind.defaults.items():
            if isinstance(only, str | bool) and getattr(fault, field_name) != only:
                raise ValueError(f"{name}.{field_name}: it must be {only}")
        return fault

    def document(self) -> dict[str, Any]:
        return self.model_dump(include={"kind", "times", *FAULT_KINDS[self.kind].defaults})

    def matches(self, **target: Any) -> bool:
        """Whether it applies to a call with this `action`, or to a job with this `instance_type` and `spot`."""
        fields = self.document()
        return all(name in fields and fields[name] in (None, value) for name, value in target.items())


class Faults:
    """The faults that are still to happen, in the order they were injected."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []
        self._lock = threading.Lock()

    def handle_request(self, method: str, body: bytes) -> tuple[int, Any]:
        """Status and document of the response to an HTTP request to `FAULTS_PATH`."""
        with self._lock:
            if method == "POST":
                try:
                    fault = Fault.parse(json.loads(body))
                except ValueError as error:
                    return 400, {"message": f"Not a fault: {error}."}
                self._pending.append(fault)
                return 201, fault.document()
            if method == "DELETE":
                self._pending.clear()
            return 200, [fault.document() for fault in self._pending]

    def take_for_call(self, action: str) -> Fault | None:
        """Take the fault to apply to a call of this action: the first one that matches."""
        with self._lock:
            fault = next((fault for fault in self._pending if fault.matches(action=action)), None)
            self._take([fault] if fault else [])
        return fault

    def take_for_job(self, instance_type: str | None, spot: bool) -> Mapping[str, Fault]:
        """Take the faults to apply to a new job, by kind: the first one of each kind that matches."""
        with self._lock:
            matching = [fault for fault in self._pending if fault.matches(instance_type=instance_type, spot=spot)]
            first = {fault.kind: fault for fault in reversed(matching)}
            self._take(first.values())
        return first

    def _take(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            fault.times -= 1
        self._pending = [fault for fault in self._pending if fault.times]


def inject(endpoint_url: str, **fault: Any) -> None:
    """Inject a fault into the sandbox at this endpoint, as in `inject(url, kind="throttling", times=3)`.

    Raises ValueError for a fault that does not exist, OSError when no sandbox answers.
    """
    status, document = send_request(endpoint_url, "POST", FAULTS_PATH, fault)
    if status >= 400:
        raise ValueError(document["message"])


def clear(endpoint_url: str) -> None:
    send_request(endpoint_url, "DELETE", FAULTS_PATH)


def main() -> int:
    """Inject a fault into the running sandbox, list those still to happen, or remove them."""
    kinds = "\n".join(f"  {name:<19}{kind.description}" for name, kind in FAULT_KINDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.faults",
        description=f"{__doc__}\nKinds:\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar="KIND|list|clear", choices=[*FAULT_KINDS, "list", "clear"], help="as above")
    for name in list(Fault.model_fields)[1:]:
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE")
    parser.add_argument("--state-dir", type=Path, default=default_state_dir(), help="the sandbox's (%(default)s)")
    arguments = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    state_dir, command = arguments.pop("state_dir"), arguments.pop("command")
    url = find_endpoint(state_dir)
    if url is None:
        print(f"sandbox: none serves {state_dir}; start `python -m sandbox` or give --state-dir", file=sys.stderr)  # noqa: T201
        return 1
    if command == "clear":
        clear(url)
    elif command != "list":
        try:
            inject(url, **Fault.parse({"kind": command} | arguments, strict=False).document())
        except ValueError as error:
            parser.error(f"Not a fault: {error}.")
    for fault in send_request(url, "GET", FAULTS_PATH)[1]:
        print(" ".join(f"{name}={value}" for name, value in fault.items() if value is not None))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
