"""Fault injection: make the sandbox fail as AWS does, for tests and rehearsals.

  python -m sandbox.faults throttling --action CreateTrainingJob --times 3
  python -m sandbox.faults spot-interruption
  python -m sandbox.faults list
  python -m sandbox.faults clear

Over HTTP: POST a fault as JSON to /_sandbox/faults, as in {"kind": "quota", "limit": 0}; GET lists the pending faults,
DELETE clears them. Pending faults are lost when the server stops. `--times` is the number of calls, jobs or
fleets affected (1); boto3 retries calls that are throttled, fail or get no response, by default up to five attempts in
total.

Faults of calls affect the next calls of --action, such as CreateTrainingJob, GetLogEvents or HeadObject, or of any
action. Faults of jobs affect the next training jobs that are created, of --instance-type and with --spot true or false
if given; at most one of each kind affects a job. Faults of endpoints affect the next fleets that CreateEndpoint or
UpdateEndpoint starts, of the endpoint --endpoint if given; at most one of each kind affects a fleet. Calls that the
sandbox itself makes to run a job are not affected.
"""

import argparse
import json
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from sandbox.client import default_state_dir, find_endpoint, send_request

FAULTS_PATH = "/_sandbox/faults"


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault, as faults.yaml describes it."""

    description: str
    defaults: Mapping[str, Any]
    errors: Mapping[str, tuple[int, str, str]] = field(default_factory=dict)


FAULT_KINDS: Mapping[str, FaultKind] = {
    name: FaultKind(**fields)
    for name, fields in yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text()).items()
}


class Fault(BaseModel):
    """A pending fault; `times` is the number of calls, jobs or fleets that it still affects."""

    kind: str
    times: int = Field(default=1, ge=1)
    action: str | None = None
    instance_type: str | None = None
    spot: bool | None = None
    endpoint: str | None = None
    seconds: Annotated[float, Field(ge=0, le=86_400)] = 0
    limit: Annotated[int, Field(ge=0)] = 0

    @classmethod
    def parse(cls, document: Any, *, strict: bool = True) -> "Fault":
        """The fault of a JSON document, with the defaults of its kind; raises ValueError for an invalid document."""
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
                raise ValueError(f"{name}.{field_name}: must be {only}")
        return fault

    def document(self) -> dict[str, Any]:
        return self.model_dump(include={"kind", "times", *FAULT_KINDS[self.kind].defaults})

    def matches(self, **target: Any) -> bool:
        """Whether the fault applies to a call with this `action`, to a job, or to a fleet of this `endpoint`.

        A job is given by `instance_type` and `spot`.
        """
        fields = self.document()
        return all(name in fields and fields[name] in (None, value) for name, value in target.items())


class Faults:
    """The pending faults, in the order in which they were injected."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []
        self._lock = threading.Lock()

    def handle_request(self, method: str, body: bytes) -> tuple[int, Any]:
        """Handle an HTTP request to `FAULTS_PATH`; returns status and document of the response."""
        with self._lock:
            if method == "POST":
                try:
                    fault = Fault.parse(json.loads(body))
                except ValueError as error:
                    return 400, {"message": f"Invalid fault: {error}."}
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
        return self._take_first_of_each_kind(instance_type=instance_type, spot=spot)

    def take_for_fleet(self, endpoint: str) -> Mapping[str, Fault]:
        """Take the faults to apply to a new fleet of an endpoint, by kind: the first one of each kind that matches."""
        return self._take_first_of_each_kind(endpoint=endpoint)

    def _take_first_of_each_kind(self, **target: Any) -> Mapping[str, Fault]:
        with self._lock:
            matching = [fault for fault in self._pending if fault.matches(**target)]
            first = {fault.kind: fault for fault in reversed(matching)}
            self._take(first.values())
        return first

    def _take(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            fault.times -= 1
        self._pending = [fault for fault in self._pending if fault.times]


def inject(endpoint_url: str, **fault: Any) -> None:
    """Inject a fault into the sandbox at this endpoint, as in `inject(url, kind="throttling", times=3)`.

    Raises ValueError for an invalid fault, OSError if no sandbox responds.
    """
    status, document = send_request(endpoint_url, "POST", FAULTS_PATH, fault)
    if status >= 400:
        raise ValueError(document["message"])


def clear(endpoint_url: str) -> None:
    send_request(endpoint_url, "DELETE", FAULTS_PATH)


def main() -> int:
    kinds = "\n".join(f"  {name:<21}{kind.description}" for name, kind in FAULT_KINDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.faults",
        description=f"{__doc__}\nKinds:\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar="KIND|list|clear", choices=[*FAULT_KINDS, "list", "clear"], help="as above")
    for name in list(Fault.model_fields)[1:]:
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE")
    parser.add_argument("--state-dir", type=Path, default=default_state_dir(), help="state folder (%(default)s)")
    arguments = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    state_dir, command = arguments.pop("state_dir"), arguments.pop("command")
    url = find_endpoint(state_dir)
    if url is None:
        parser.exit(1, f"sandbox: no sandbox runs on {state_dir}; start `python -m sandbox` or give --state-dir\n")
    if command == "clear":
        clear(url)
    elif command != "list":
        try:
            inject(url, **Fault.parse({"kind": command} | arguments, strict=False).document())
        except ValueError as error:
            parser.error(f"Invalid fault: {error}.")
    for fault in send_request(url, "GET", FAULTS_PATH)[1]:
        print(" ".join(f"{name}={value}" for name, value in fault.items() if value is not None))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
