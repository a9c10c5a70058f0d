"""The pre-flight: whether a workspace can train, found out in seven calls at most and before anything is paid for.

What AWS refuses to tell is no reason not to train: it becomes a warning.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, cast

from botocore.exceptions import BotoCoreError, ClientError

from aws.errors import AccessDenied, AwsError, InvalidRequest, NotFound, Unavailable, answer, translated
from aws.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import ContextEntryTypeDef, EvaluationResultTypeDef

Finding = AwsError | str
"""What is wrong, or in words what could not be checked."""
SAGEMAKER, PASSED_TO = "sagemaker.amazonaws.com", "iam:PassedToService"
PASSED_TO_SAGEMAKER: Final["ContextEntryTypeDef"] = {
    "ContextKeyName": PASSED_TO,
    "ContextKeyValues": [SAGEMAKER],
    "ContextKeyType": "string",
}
IMPATIENCE: Final = {"connect_timeout": 3, "read_timeout": 10, "retries": {"total_max_attempts": 2}}
"""For services that the run itself does not need, and that a private network may not let through."""


def check_workspace(workspace: Workspace) -> tuple[str, ...]:
    """Check credentials, bucket, execution role, KMS key and network ids; the warnings say what could not be checked.

    Raises one error that lists all that is wrong, each with its cure, of the class of the first that trying again would
    not help. Into the bucket it writes one empty object, `preflight` under the prefix, and removes it where allowed.
    """
    findings = list(_findings(workspace))
    problems = [finding for finding in findings if isinstance(finding, AwsError)]
    if not problems:
        return tuple(finding for finding in findings if isinstance(finding, str))
    first = next((problem for problem in problems if not problem.retryable), problems[0])
    if len(problems) == 1:
        raise first
    listed = "".join(f"\n{number}. {problem}" for number, problem in enumerate(problems, start=1))
    raise type(first)(f"{len(problems)} things keep this workspace from training:{listed}") from first


def _findings(workspace: Workspace) -> Iterator[Finding]:
    impatient, caller, known = _impatient(workspace), "", True
    try:
        with translated("asking whose credentials these are"):
            caller = impatient.client("sts").get_caller_identity()["Arn"]
    except AwsError as error:
        yield (finding := _judged(error, "whose credentials these are"))
        known = isinstance(finding, str)
    if known:  # else every other call would be refused as well
        yield from _bucket(workspace)
        yield from _role(impatient, caller)
        if workspace.kms_key_id:
            yield from _key(impatient, workspace.kms_key_id)
    yield from _network(workspace)


def _impatient(workspace: Workspace) -> Workspace:
    """The same workspace through clients that give up in seconds."""
    # Both of prefect-aws's kinds of credentials have these parameters; their base class does not say so.
    credentials = cast("Any", workspace.bucket.credentials)
    parameters = credentials.aws_client_parameters
    parameters = parameters.model_copy(update={"config": {**(parameters.config or {}), **IMPATIENCE}})
    credentials = credentials.model_copy(update={"aws_client_parameters": parameters})
    return workspace.model_copy(update={"bucket": workspace.bucket.model_copy(update={"credentials": credentials})})


def _judged(error: AwsError, what: str) -> Finding:
    """The error itself, or a warning where the answer was only withheld: by a policy, or by the network."""
    # Credentials may begin with assuming a role; that being denied, there are none.
    assuming = isinstance(error.__cause__, ClientError) and error.__cause__.operation_name.startswith("AssumeRole")
    withheld = _code(error) in {"AccessDenied", "AccessDeniedException"} and not assuming
    return _unchecked(what, error) if withheld or isinstance(error, Unavailable) else error


def _code(error: AwsError) -> str:
    return answer(error.__cause__)[0] if isinstance(error.__cause__, ClientError) else ""


def _unchecked(what: str, why: object) -> str:
    return f"Not checked: {what}. {why}"


def _bucket(workspace: Workspace) -> Iterator[Finding]:
    """Whether the bucket is in the workspace's region, and takes what is put into it.

    S3 tells the region whatever the permissions (S3's API reference, HeadBucket). SageMaker's input "must be in the
    same Amazon Web Services Region as your training job" (CreateTrainingJob); the model goes to the same bucket.
    """
    name, region, refused = workspace.bucket.bucket_name, workspace.region, None
    try:
        with translated(f"looking at bucket {name}"):
            found = workspace.client("s3").head_bucket(Bucket=name).get("BucketRegion", region)
    except AwsError as error:
        # botocore itself follows S3's 301 or 400 to the region that this header names; refused again, it hands it on.
        found, refused = _headers(error).get("x-amz-bucket-region", region), error
    if found != region:
        yield InvalidRequest(
            f"Bucket {name} is in {found}, the workspace in {region}: SageMaker trains where its data is. Set the "
            f"region of the workspace's credentials to {found}, or take a bucket in {region}."
        )
    elif isinstance(refused, NotFound):
        yield NotFound(f"There is no bucket {name}. Correct its name in the workspace, or create it in {region}.")
    elif refused and not isinstance(refused, AccessDenied):
        yield refused
    else:
        if refused:
            yield _unchecked("whether S3 tells these credentials what is missing from what is denied", refused)
        yield from _writing(workspace)


def _headers(error: AwsError) -> Mapping[str, str]:
    cause = error.__cause__
    return cause.response["ResponseMetadata"]["HTTPHeaders"] if isinstance(cause, ClientError) else {}


def _writing(workspace: Workspace) -> Iterator[Finding]:
    # As uploads do, it leaves the encryption to the bucket: the workspace's key is for what SageMaker writes.
    s3, bucket, key = workspace.client("s3"), workspace.bucket.bucket_name, workspace.key("preflight")
    try:
        with translated(f"writing an empty object, {workspace.uri('preflight')}, to see whether that is allowed"):
            written = s3.put_object(Bucket=bucket, Key=key, Body=b"")
    except AwsError as error:
        yield error
        return
    version: dict[str, Any] = {"VersionId": written["VersionId"]} if "VersionId" in written else {}
    with suppress(ClientError, BotoCoreError):  # a run deletes nothing, and needs no permission to
        s3.delete_object(Bucket=bucket, Key=key, **version)


def _role(workspace: Workspace, caller: str) -> Iterator[Finding]:
    """Whether the role exists, trusts SageMaker and can be passed: in its own account (re:Post, iam-passrole-error)."""
    arn, name = workspace.role_arn, workspace.role_arn.rpartition("/")[2]
    if caller and caller.split(":")[4] != arn.split(":")[4]:
        yield AccessDenied(f"{caller} cannot pass {arn}, of another account. Take role and credentials of one account.")
        return
    try:
        with translated(f"looking at the execution role {name}"):
            role = workspace.client("iam").get_role(RoleName=name)["Role"]
    except NotFound:
        yield NotFound(f"There is no role {arn}. Create it, or correct the workspace's execution role.")
        return
    except AwsError as error:
        yield _judged(error, "whether the execution role exists and trusts SageMaker")
    else:
        if role["Arn"] != arn:
            yield NotFound(f"There is no role {arn}. Set the workspace's execution role to {role['Arn']}.")
            return
        if not _trusts_sagemaker(cast("Mapping[str, Any]", role["AssumeRolePolicyDocument"])):
            trusting = {"Effect": "Allow", "Principal": {"Service": SAGEMAKER}, "Action": "sts:AssumeRole"}
            yield AccessDenied(f"SageMaker may not assume {arn}. Add to its trust policy: {json.dumps(trusting)}")
    yield from _passing(workspace, caller)


def _trusts_sagemaker(policy: Mapping[str, Any]) -> bool:
    """Whether a trust policy lets SageMaker assume the role, if whatever conditions it sets hold."""
    ours = [statement for statement in _listed(policy["Statement"]) if _is_about_sagemaker(statement)]
    denied = any(statement["Effect"] == "Deny" and not statement.get("Condition") for statement in ours)
    return not denied and any(statement["Effect"] == "Allow" for statement in ours)


def _is_about_sagemaker(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal", {})
    services = [SAGEMAKER] if principal == "*" else _listed(principal.get("Service", []))  # of "*": inferred
    actions = _listed(statement.get("Action", []))
    return SAGEMAKER in services and any(fnmatchcase("sts:assumerole", action.lower()) for action in actions)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _passing(workspace: Workspace, caller: str) -> Iterator[Finding]:
    """Whether IAM, simulating the caller's policies, lets it pass the role to SageMaker."""
    if not caller or caller.endswith(":root"):  # the root user needs no policy
        return
    what, principal = f"whether {caller} may pass the execution role", _principal(caller, workspace.role_arn)
    try:
        with translated(f"simulating the policies of {principal}"):
            simulated = workspace.client("iam").simulate_principal_policy(
                PolicySourceArn=principal,
                ActionNames=["iam:PassRole"],
                ResourceArns=[workspace.role_arn],
                ContextEntries=[PASSED_TO_SAGEMAKER],
            )
    except NotFound:
        yield _unchecked(what, f"IAM finds no {principal}: the ARN of a session leaves out the path of its role.")
    except AwsError as error:
        yield _unchecked(what, error)
    else:
        yield from _decision(simulated["EvaluationResults"][0], what, principal, workspace.role_arn)


def _principal(caller: str, role: str) -> str:
    """Whose policies to simulate: a session's role's, as far as the session's ARN tells it."""
    session = re.fullmatch(r"(arn:[^:]+):sts::(\d+):assumed-role/([^/]+)/.+", caller)
    if not session:
        return caller
    # In a notebook of SageMaker the caller runs as the execution role itself, whose path is known.
    return role if role.endswith(f"/{session[3]}") else f"{session[1]}:iam::{session[2]}:role/{session[3]}"


def _decision(result: "EvaluationResultTypeDef", what: str, principal: str, role: str) -> Iterator[Finding]:
    results = [result, *result.get("ResourceSpecificResults", [])]
    if result["EvalDecision"] == "allowed":
        return
    if lacking := {key for one in results for key in one.get("MissingContextValues", [])}:
        yield _unchecked(what, f"Its policies ask for {', '.join(sorted(lacking))}: only a real request has that.")
    elif result["EvalDecision"] == "explicitDeny":
        yield AccessDenied(f"{principal} is denied iam:PassRole on {role} by a policy. Remove that statement from it.")
    else:
        condition = {"StringEquals": {PASSED_TO: SAGEMAKER}}
        allowing = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": role, "Condition": condition}
        yield AccessDenied(f"{principal} may not pass {role} to SageMaker. Add to its policies: {json.dumps(allowing)}")


def _key(workspace: Workspace, name: str) -> Iterator[Finding]:
    """Whether the key is in this region, in use, and symmetric, as S3 needs it (S3's API reference, Encryption)."""
    region = workspace.region
    if (elsewhere := re.match(r"arn:[^:]+:kms:([^:]+):", name)) and elsewhere[1] != region:
        yield InvalidRequest(f"KMS key {name} is not in {region}, where the workspace is. Choose a key of that region.")
        return
    try:
        with translated(f"looking at KMS key {name}"):
            key = workspace.client("kms").describe_key(KeyId=name)["KeyMetadata"]
    except AwsError as error:
        absent = NotFound(f"There is no KMS key {name} in {region}. Correct it in the workspace, or create it there.")
        yield absent if _code(error) == "NotFoundException" else _judged(error, f"whether KMS key {name} can be used")
        return
    use = (key.get("KeyUsage", "ENCRYPT_DECRYPT"), key.get("KeySpec", "SYMMETRIC_DEFAULT"))
    if use != ("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT"):
        yield InvalidRequest(f"KMS key {name} is for {' with '.join(use)}. Choose a symmetric one for encryption.")
    # A multi-Region key that is Updating works (inferred).
    if (state := key.get("KeyState", "Enabled")) not in {"Enabled", "Updating"}:
        yield InvalidRequest(f"KMS key {name} is {state}. See that it is Enabled again, or choose another key.")


def _network(workspace: Workspace) -> Iterator[Finding]:
    subnets = [("subnet", name) for name in workspace.subnets]
    for prefix, name in subnets + [("sg", name) for name in workspace.security_group_ids]:
        if not re.fullmatch(rf"{prefix}-[0-9a-f]+", name):
            yield InvalidRequest(f"{name!r} is not an id such as {prefix}-0a1b2c3d4e5f60718. Correct the workspace's.")
