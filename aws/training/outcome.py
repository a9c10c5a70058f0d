"""Outcome of a training job that has ended, from its description, without calls to AWS.

The patterns match real, published FailureReasons; comments mark meanings that are inferred.
"""

import re
from typing import TYPE_CHECKING

from aws.error_catalogue import read_catalogue
from aws.errors import JobOutcome, OutcomeKind

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef as JobDescription


def job_outcome(description: "JobDescription") -> JobOutcome:
    """Return the outcome of a job that has ended, from its DescribeTrainingJob response.

    A stopped job may have uploaded a partly trained model (best effort, as documented); it does not count as a success.
    """
    if description["TrainingJobStatus"] == "Completed":
        return JobOutcome("completed", "It completed.", "Nothing needs to be done.")
    if description["TrainingJobStatus"] == "Stopped":
        kind, cause, remedy = _outcome_of_stopped(description)
    else:
        reason = description.get("FailureReason", "").strip().rstrip(".") or "AWS gives no reason"
        cause = f"{reason}."
        kind, remedy = next(
            outcome
            for pattern, outcome in read_catalogue().failures.items()
            if re.search(pattern, reason, re.DOTALL | re.IGNORECASE)
        )
    statuses = [new["Status"] for new in description.get("SecondaryStatusTransitions", [])]
    if times := statuses.count("Interrupted"):
        cause += f" It had {times} spot interruption{'s' if times > 1 else ''}."
    return JobOutcome(kind, cause, remedy)


def _outcome_of_stopped(description: "JobDescription") -> tuple[OutcomeKind, str, str]:
    status, limits = description["SecondaryStatus"], description["StoppingCondition"]
    if status == "MaxRuntimeExceeded":
        cause = f"{status}: it trained for longer than its limit of {limits.get('MaxRuntimeInSeconds')} s."
        return "compute", cause, "Raise max_runtime_seconds or max_cost_usd, or choose a faster instance type."
    if status == "MaxWaitTimeExceeded":
        cause = f"{status}: its limit of {limits.get('MaxWaitTimeInSeconds')} s passed before training on spot ended."
        return "capacity", cause, "Train on demand, choose another instance type, or raise max_wait_seconds."
    return "other", f"{status}: a user or a program stopped it.", "Run again if this was not intended."
