"""The outcome of a training job that is over, read from its description, without calls to AWS.

The patterns match real FailureReasons, as people have published them; a comment says where a meaning is inferred.
"""

import re
from typing import TYPE_CHECKING, Final

from aws.errors import JobOutcome, OutcomeKind

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef as JobDescription

_OUTCOME_BY_REASON: Final[dict[str, tuple[OutcomeKind, str]]] = {
    r"^ClientError:.*exit code: 2$": ("input", "Change the data or the hyperparameters, as the algorithm says."),
    r"^CapacityError|Unable to provision requested ML compute capacity|InsufficientInstanceCapacity": (
        "capacity",
        "Choose an instance type that AWS has more of, or allow others with fallback_instance_types.",
    ),
    r"^InternalServerError": ("internal", "Run again; if it ends so every time, ask AWS support about this job."),
    # 137 is 128 + SIGKILL: that it was for want of memory is inferred.
    r"use an instance type with more memory|Out of Memory\. Please use a larger instance|exit code: 137$": (
        "compute",
        "It ran out of memory: choose an instance type with more.",
    ),
    r"Insufficient disk space|No space left on device": ("compute", "Raise volume_size_gb."),
    r"unable to assume the role|sts:AssumeRole on the role|Could not assume role": (
        "other",
        "Check that the execution role exists, and that its trust policy lets sagemaker.amazonaws.com assume it.",
    ),
    r"Cannot pull algorithm container": (
        "other",
        "Allow the execution role to pull images from ECR, and check that the region has Linear Learner.",
    ),
    r"route to an S3 VPC endpoint|Unable to execute request to S3": (
        "other",
        "Give the workspace's subnets a route to S3, and let its security groups send there.",
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
    # Unlike refused input, a crash of the algorithm need not happen again.
    r"^AlgorithmError:": (
        "other",
        "Read the end of the job's log, and change the data or the hyperparameters if it blames them.",
    ),
    "": ("other", "Read the job's log, and its page in the SageMaker console."),
}
"""By a pattern of FailureReason; the first match counts."""


def job_outcome(description: "JobDescription") -> JobOutcome:
    """The outcome of a job that is over, from its DescribeTrainingJob response.

    A stopped job may have uploaded a partly trained model (best effort, as documented); it is no success here.
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
        cause += f" It was interrupted {times} {'time' if times == 1 else 'times'} by spot."
    return JobOutcome(kind, cause, remedy)


def _outcome_of_stopped(description: "JobDescription") -> tuple[OutcomeKind, str, str]:
    status, limits = description["SecondaryStatus"], description["StoppingCondition"]
    if status == "MaxRuntimeExceeded":
        cause = f"{status}: it trained for longer than its limit of {limits.get('MaxRuntimeInSeconds')} s."
        return "compute", cause, "Raise max_runtime_seconds or max_cost_usd, or take a faster instance."
    if status == "MaxWaitTimeExceeded":
        cause = f"{status}: its limit of {limits.get('MaxWaitTimeInSeconds')} s passed before spot had trained it."
        return "capacity", cause, "Train on demand, choose another instance type, or raise max_wait_seconds."
    return "other", f"{status}: somebody, or a program, stopped it.", "Run again if that was not meant."
