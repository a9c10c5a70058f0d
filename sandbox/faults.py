"""Faults on demand: make the sandbox misbehave as AWS does, to test or to rehearse what happens then.

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

from sandbox.client import default_state_dir, endpoint

PATH = "/_sandbox/faults"
Seconds = Annotated[float, Field(ge=0, le=86_400)]


class Fault(BaseModel):
    """What goes wrong, and how often still."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    times: int = Field(default=1, ge=1)


class CallFault(Fault):
    action: str | None = None


class Refusal(CallFault):
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


CALL_FAULTS = Refusal | Quota | LostAnswer | SlowAnswer
JOB_FAULTS = NoCapacity | InternalError | SpotInterruption | MaxRuntime | LateLog | MissingLog | SlowJob
FAULT: TypeAdapter[Fault] = TypeAdapter(Annotated[CALL_FAULTS | JOB_FAULTS, Field(discriminator="kind")])
MODELS = get_args(CALL_FAULTS) + get_args(JOB_FAULTS)
KINDS = [kind for model in MODELS for kind in get_args(model.model_fields["kind"].annotation)]
OPTIONS = sorted({name for model in MODELS for name in model.model_fields} - {"kind"})
REASONS = {
    "extra_forbidden": "this kind has no such field",
    "union_tag_invalid": f"kind must be one of {', '.join(KINDS)}",
    "union_tag_not_found": f"kind is missing: one of {', '.join(KINDS)}",
}


Met = TypeVar("Met", bound=Fault)


class Faults:
    """The faults still to happen, in the order they were asked for."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def control(self, method: str, body: bytes) -> tuple[int, Any]:
        """Status and document that answer an HTTP request to `PATH`."""
        if method == "POST":
            try:
                fault = FAULT.validate_json(body, strict=True)
            except ValidationError as error:
                return 400, {"message": _sentence(error)}
            with self._lock:
                self._waiting.append(fault)
            return 201, fault.model_dump()
        if method not in {"GET", "DELETE"}:
            return 405, {"message": "GET, POST or DELETE."}
        with self._lock:
            if method == "DELETE":
                self._waiting.clear()
            return 200, [fault.model_dump() for fault in self._waiting]

    def met_by_call(self, action: str) -> CallFault | None:
        """The fault that a call of this action meets: the first one that fits."""
        return next(iter(self._met(CallFault, lambda fault: fault.action in (None, action), most=1)), None)

    def met_by_job(self, instance_type: str | None, spot: bool) -> tuple[JobFault, ...]:
        """The faults that a new job meets: the first one of each kind that fits."""

        def fits(fault: JobFault) -> bool:
            return fault.instance_type in (None, instance_type) and fault.spot in (None, spot)

        return tuple(self._met(JobFault, fits, most=len(KINDS)))

    def _met(self, what: type[Met], fits: Callable[[Met], bool], most: int) -> list[Met]:
        first: dict[str, Met] = {}
        with self._lock:
            for fault in self._waiting:
                if isinstance(fault, what) and fits(fault):
                    first.setdefault(fault.kind, fault)
            met = list(first.values())[:most]
            for fault in met:
                fault.times -= 1
            self._waiting = [fault for fault in self._waiting if fault.times]
        return met


def inject(endpoint_url: str, **fault: Any) -> None:
    """Let the sandbox at this endpoint meet a fault, as in `inject(url, kind="throttling", times=3)`.

    A wrong fault is a ValueError, a sandbox that is gone an OSError.
    """
    _ask(endpoint_url, "POST", fault)


def clear(endpoint_url: str) -> None:
    """Forget the faults still to happen."""
    _ask(endpoint_url, "DELETE")


def _ask(endpoint_url: str, method: str, fault: Any = None) -> Any:
    # http.client: a proxy set in the environment must not stand between two processes of one machine.
    connection = http.client.HTTPConnection(urlsplit(endpoint_url).netloc, timeout=10)
    try:
        connection.request(method, PATH, json.dumps(fault))
        answer = connection.getresponse()
        document = json.loads(answer.read())
    finally:
        connection.close()
    if answer.status >= 400:
        raise ValueError(document["message"])
    return document


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"Not a fault: {where}{': ' if where else ''}{REASONS.get(first['type'], first['msg'])}."


def main() -> int:
    """Ask the running sandbox for a fault, list those still to happen, or clear them."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", metavar="KIND|list|clear", choices=[*KINDS, "list", "clear"], help="as above")
    for name in OPTIONS:
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE")
    parser.add_argument("--state-dir", type=Path, default=default_state_dir(), help="the sandbox's (%(default)s)")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    state_dir, what = given.pop("state_dir"), given.pop("what")
    url = endpoint(state_dir)
    if url is None:
        print(f"sandbox: none serves {state_dir}; start `python -m sandbox` or give --state-dir", file=sys.stderr)  # noqa: T201
        return 1
    if what == "clear":
        clear(url)
    elif what != "list":
        try:
            inject(url, **FAULT.validate_python({"kind": what} | given).model_dump())
        except ValidationError as error:
            parser.error(_sentence(error))
    for fault in _ask(url, "GET"):
        print(" ".join(f"{name}={value}" for name, value in fault.items() if value is not None))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
