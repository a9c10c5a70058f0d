"""Outcome of a creation or an update of an endpoint, from its state, without calls to AWS.

An update that was rolled back ends as InService with the old configuration, possibly without a FailureReason; only a
comparison of the configurations shows it. The patterns of reasons are in the error catalogue.
"""

import re
from collections.abc import Callable
from typing import Final, Literal

from pydantic import BaseModel

from aws.endpoints.state import EndpointState
from aws.error_catalogue import read_catalogue

OutcomeKind = Literal[
    "in service",  # the wanted configuration serves
    "in progress",  # a creation, an update or a rollback has not ended
    "rolled back",  # another configuration serves
    "failed",  # nothing serves
    "rollback failed",  # a mix of the configurations may serve
    "deleting",
    "missing",
]
EndpointProblem = Literal[
    "",  # none, or no reason is given
    "capacity",  # AWS had no instances available
    "quota",
    "unhealthy",  # the container did not answer /ping
    "model data",
    "image",
    "role",
    "alarm",  # an alarm went off while the update was watched
    "timeout",
    "internal",  # an internal error of AWS
    "other",
]
NO_REASON: Final = "AWS gives no reason"


class UpdateOutcome(BaseModel, frozen=True):
    """What became of the wanted configuration, why, and the remedy."""

    kind: OutcomeKind
    cause: str
    remedy: str
    problem: EndpointProblem = ""
    """Category of the reason that AWS gives."""
    config: str | None = None
    """The configuration that serves; in progress: the one that is being applied."""


def judge(state: EndpointState | None, wanted_config: str) -> UpdateOutcome:
    """Return the outcome for the endpoint configuration `wanted_config`; None stands for a missing endpoint.

    The outcome "in progress" has another `config` than the wanted one while the update of another process is in
    progress. A status that is not known counts as in progress.
    """
    if state is None:
        return UpdateOutcome(kind="missing", cause="There is no such endpoint.", remedy="Deploy it.")
    if state.status == "InService" and state.pending_config is None:
        return _judge_in_service(state, wanted_config)
    judge_status = _BY_STATUS.get(state.status, _judge_in_progress)
    return judge_status(state, wanted_config)


def _judge_in_service(state: EndpointState, wanted: str) -> UpdateOutcome:
    if state.config == wanted:
        return UpdateOutcome(
            kind="in service",
            cause=f"It serves {wanted}.",
            remedy="Nothing needs to be done.",
            config=wanted,
        )
    problem, remedy = _explain(state.failure_reason)
    if not state.failure_reason:
        remedy = "Look at the alarms and the log of the endpoint, and deploy again."
    return UpdateOutcome(
        kind="rolled back",
        cause=f"It serves {state.config}, not {wanted}. {_reason(state)}",
        remedy=remedy,
        problem=problem,
        config=state.config,
    )


def _judge_in_progress(state: EndpointState, wanted: str) -> UpdateOutcome:
    applied = state.pending_config or state.config
    # An update that was accepted a moment ago may not have its summary yet (inferred).
    doing = {
        "Creating": f"It is being created with {applied}.",
        "RollingBack": f"The update to {applied} is being rolled back.",
        "SystemUpdating": "AWS maintains it.",
    }.get(state.status, f"It is {state.status}: {applied} is being applied.")
    other = "" if applied == wanted or state.status == "SystemUpdating" else f" This is not {wanted}."
    return UpdateOutcome(
        kind="in progress",
        cause=f"{doing}{other}",
        remedy="Wait until it has ended.",
        config=applied,
    )


def _judge_failed(state: EndpointState, wanted: str) -> UpdateOutcome:
    del wanted
    problem, remedy = _explain(state.failure_reason)
    return UpdateOutcome(kind="failed", cause=f"It is {state.status}. {_reason(state)}", remedy=remedy, problem=problem)


def _judge_rollback_failed(state: EndpointState, wanted: str) -> UpdateOutcome:
    problem, remedy = _explain(state.failure_reason)
    return UpdateOutcome(
        kind="rollback failed",
        cause=f"The update to {wanted} failed, and so did its rollback. {_reason(state)}",
        remedy=f"It may answer with either model. Deploy again, or delete it. {remedy}",
        problem=problem,
        config=state.config,
    )


def _judge_deleting(state: EndpointState, wanted: str) -> UpdateOutcome:
    del state, wanted
    return UpdateOutcome(kind="deleting", cause="It is being deleted.", remedy="Wait until it is gone, and deploy it.")


_BY_STATUS: Final[dict[str, Callable[[EndpointState, str], UpdateOutcome]]] = {
    "Failed": _judge_failed,
    "OutOfService": _judge_failed,
    "UpdateRollbackFailed": _judge_rollback_failed,
    "Deleting": _judge_deleting,
}


def _reason(state: EndpointState) -> str:
    return f"{state.failure_reason.strip().rstrip('.') or NO_REASON}."


def _explain(reason: str) -> tuple[EndpointProblem, str]:
    """Return the problem and the remedy for a FailureReason."""
    problem, remedy = next(
        entry
        for pattern, entry in read_catalogue().endpoint_failures.items()
        if re.search(pattern, reason, re.DOTALL | re.IGNORECASE)
    )
    return (problem, remedy) if reason.strip() else ("", remedy)
