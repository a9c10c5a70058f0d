"""Faults on demand: make the sandbox fail as AWS does, to test or to rehearse what happens then.

  python -m sandbox.faults throttling --action CreateTrainingJob --times 3
  python -m sandbox.faults spot-interruption
  python -m sandbox.faults list
  python -m sandbox.faults clear

Over HTTP: POST a fault as JSON to /_sandbox/faults, as in {"kind": "quota", "limit": 0}; GET lists those still to
happen, DELETE clears them. Faults are lost with the server. `--times` says how many calls or jobs meet one (1);
boto3 itself tries throttled, failed and unanswered calls again, by default until the fifth attempt.

Met by the next calls of an --action, such as CreateTrainingJob, GetLogEvents or HeadObject; without it, of any:
  throttling         refused: too many requests
  service-error      refused: HTTP 500
  access-denied      refused: no policy allows it
  quota              refused: the account may not run more than --limit (2) of these instances; CreateTrainingJob only
  lost-answer        performed, but the connection is closed without an answer
  slow-answer        performed at once, answered --seconds (5) later

Met by the next training jobs that are created, of an --instance-type and with --spot true or false where given:
  no-capacity        after --seconds (0) in Starting: Failed, a spot job Stopped with MaxWaitTimeExceeded
  internal-error     Failed while Training
  spot-interruption  the container is killed in Training, then all begins again: the engine keeps no checkpoints
  max-runtime        as if MaxRuntimeInSeconds were --seconds (1), and training took longer
  late-log           the log stream appears --seconds (5) after the job is over
  missing-log        the log stream never appears
  slow-job           --seconds (30) in Training before the algorithm begins

What the sandbox itself calls in order to run a job meets no faults. A job meets each kind once.
"""

import argparse
import http.client
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sandbox.client import default_state_dir, find_endpoint

FAULTS_PATH = "/_sandbox/faults"
Seconds = Annotated[float, Field(ge=0, le=86_400)]


class Fault(BaseModel):
    """A kind of fault, and how many more times it happens."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    times: int = Field(default=1, ge=1)


class CallFault(Fault):
    action: str | None = None


class RefusedCall(CallFault):
    kind: Literal["throttling", "service-error", "access-denied"]


class Quota(CallFault):
    kind: Literal["quota"]
    action: Literal["CreateTrainingJob"] = "CreateTrainingJob"
    limit: int = Field(default=2, ge=0)


class LostAnswer(CallFault):
    kind: Literal["lost-answer"]


class SlowAnswer(CallFault):
    kind: Literal["slow-answer"]
    seconds: Seconds = 5


class JobFault(Fault):
    instance_type: str | None = None
    spot: bool | None = None


class NoCapacity(JobFault):
    kind: Literal["no-capacity"]
    seconds: Seconds = 0


class InternalError(JobFault):
    kind: Literal["internal-error"]


class SpotInterruption(JobFault):
    kind: Literal["spot-interruption"]
    spot: Literal[True] = True


class MaxRuntime(JobFault):
    kind: Literal["max-runtime"]
    seconds: Seconds = 1


class LateLog(JobFault):
    kind: Literal["late-log"]
    seconds: Seconds = 5


class MissingLog(JobFault):
    kind: Literal["missing-log"]


class SlowJob(JobFault):
    kind: Literal["slow-job"]
    seconds: Seconds = 30


CALL_FAULTS = RefusedCall | Quota | LostAnswer | SlowAnswer
JOB_FAULTS = NoCapacity | InternalError | SpotInterruption | MaxRuntime | LateLog | MissingLog | SlowJob
FAULT: TypeAdapter[Fault] = TypeAdapter(Annotated[CALL_FAULTS | JOB_FAULTS, Field(discriminator="kind")])
FAULT_MODELS = get_args(CALL_FAULTS) + get_args(JOB_FAULTS)
KINDS = [kind for model in FAULT_MODELS for kind in get_args(model.model_fields["kind"].annotation)]
OPTIONS = sorted({name for model in FAULT_MODELS for name in model.model_fields} - {"kind"})
ERROR_MESSAGES = {
    "extra_forbidden": "this kind has no such field",
    "union_tag_invalid": f"kind must be one of {', '.join(KINDS)}",
    "union_tag_not_found": f"kind is missing: one of {', '.join(KINDS)}",
}


FaultT = TypeVar("FaultT", bound=Fault)


class Faults:
    """The faults that are still to happen, in the order they were injected."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []
        self._lock = threading.Lock()

    def handle_request(self, method: str, body: bytes) -> tuple[int, Any]:
        """Status and document of the response to an HTTP request to `FAULTS_PATH`."""
        if method == "POST":
            try:
                fault = FAULT.validate_json(body, strict=True)
            except ValidationError as error:
                return 400, {"message": _error_message(error)}
            with self._lock:
                self._pending.append(fault)
            return 201, fault.model_dump()
        if method not in {"GET", "DELETE"}:
            return 405, {"message": "GET, POST or DELETE."}
        with self._lock:
            if method == "DELETE":
                self._pending.clear()
            return 200, [fault.model_dump() for fault in self._pending]

    def take_for_call(self, action: str) -> CallFault | None:
        """Take the fault to apply to a call of this action: the first one that matches."""
        return next(iter(self._take(CallFault, lambda fault: fault.action in (None, action), limit=1)), None)

    def take_for_job(self, instance_type: str | None, spot: bool) -> tuple[JobFault, ...]:
        """Take the faults to apply to a new job: the first one of each kind that matches."""

        def matches(fault: JobFault) -> bool:
            return fault.instance_type in (None, instance_type) and fault.spot in (None, spot)

        return tuple(self._take(JobFault, matches, limit=len(KINDS)))

    def _take(self, fault_type: type[FaultT], matches: Callable[[FaultT], bool], limit: int) -> list[FaultT]:
        first: dict[str, FaultT] = {}
        with self._lock:
            for fault in self._pending:
                if isinstance(fault, fault_type) and matches(fault):
                    first.setdefault(fault.kind, fault)
            taken = list(first.values())[:limit]
            for fault in taken:
                fault.times -= 1
            self._pending = [fault for fault in self._pending if fault.times]
        return taken


def inject(endpoint_url: str, **fault: Any) -> None:
    """Inject a fault into the sandbox at this endpoint, as in `inject(url, kind="throttling", times=3)`.

    Raises ValueError for a fault that does not exist, OSError when no sandbox answers.
    """
    _request(endpoint_url, "POST", fault)


def clear(endpoint_url: str) -> None:
    """Remove the faults that are still to happen."""
    _request(endpoint_url, "DELETE")


def _request(endpoint_url: str, method: str, fault: Any = None) -> Any:
    # http.client and not urllib, which would use a proxy of the environment.
    connection = http.client.HTTPConnection(urlsplit(endpoint_url).netloc, timeout=10)
    try:
        connection.request(method, FAULTS_PATH, json.dumps(fault))
        response = connection.getresponse()
        document = json.loads(response.read())
    finally:
        connection.close()
    if response.status >= 400:
        raise ValueError(document["message"])
    return document


def _error_message(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"Not a fault: {where}{': ' if where else ''}{ERROR_MESSAGES.get(first['type'], first['msg'])}."


def main() -> int:
    """Inject a fault into the running sandbox, list those still to happen, or remove them."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", metavar="KIND|list|clear", choices=[*KINDS, "list", "clear"], help="as above")
    for name in OPTIONS:
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
            inject(url, **FAULT.validate_python({"kind": command} | arguments).model_dump())
        except ValidationError as error:
            parser.error(_error_message(error))
    for fault in _request(url, "GET"):
        print(" ".join(f"{name}={value}" for name, value in fault.items() if value is not None))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
