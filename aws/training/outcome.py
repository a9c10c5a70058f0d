"""Outcome of a training job that has ended, from its description, without calls to AWS.

The patterns match real, published FailureReasons; comments mark meanings that are inferred.
"""

import re
from typing import TYPE_CHECKING, Final

from aws.errors import JobOutcome, OutcomeKind

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef as JobDescription

_OUTCOME_BY_REASON: Final[dict[str, tuple[OutcomeKind, str]]] = {
    r"^ClientError:.*exit code: 2$": ("input", "Correct the data or the hyperparameters that the message names."),
    r"^CapacityError|Unable to provision requested ML compute capacity|InsufficientInstanceCapacity": (
        "capacity",
        "Choose another instance type, or allow other types with fallback_instance_types.",
    ),
    r"^InternalServerError": ("internal", "Run again; if the error persists, contact AWS support about this job."),
    # 137 is 128 + SIGKILL; that the cause is too little memory is inferred.
    r"use an instance type with more memory|Out of Memory\. Please use a larger instance|exit code: 137$": (
        "compute",
        "The job ran out of memory: choose an instance type with more memory.",
    ),
    r"Insufficient disk space|No space left on device": ("compute", "Raise volume_size_gb."),
    r"unable to assume the role|sts:AssumeRole on the role|Could not assume role": (
        "other",
        "Check that the execution role exists, and that its trust policy lets sagemaker.amazonaws.com assume it.",
    ),
    r"Cannot pull algorithm container": (
        "other",
        "Allow the execution role to pull images from ECR, and check that the region offers Linear Learner.",
    ),
    r"route to an S3 VPC endpoint|Unable to execute request to S3": (
        "other",
        "Add a route to S3 to the workspace's subnets, and allow outbound traffic to S3 in its security groups.",
    ),
    r"Data download failed:.*(?:Access ?Denied|Forbidden)": (
        "other",
        "Allow the execution role s3:GetObject and s3:ListBucket on the data, and kms:Decrypt if it is encrypted.",
    ),
    r"Artifact upload failed:.*(?:Access ?Denied|Forbidden)": (
        "other",
        "Allow the execution role s3:PutObject on the workspace's prefix, and kms:GenerateDataKey on its KMS key.",
    ),
    r"Artifact upload failed:": ("other", "Check that the workspace's bucket exists and is in its region."),
    r"Data download failed:|No S3 objects found under S3 URL": (
        "other",
        "Check that the data is in S3, in the workspace's region, and that the execution role may list its bucket.",
    ),
    # Unlike rejected input, a crash of the algorithm may not occur again.
    r"^AlgorithmError:": (
        "other",
        "Read the end of the job's log, and correct the data or the hyperparameters if they are the cause.",
    ),
    "": ("other", "Read the job's log and its page in the SageMaker console."),
}
"""Kind and remedy by pattern of the FailureReason; the first match applies."""


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
            for pattern, outcome in _OUTCOME_BY_REASON.items()
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
