"""Injected faults, as a client of AWS observes them: rejected calls, lost responses, failing jobs."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from sandbox import faults
from sandbox.account import BUCKET, ROLE_ARN

Inject = Callable[..., None]
NO_RETRY = {"max_attempts": 0}
SPOT = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90},
}


@pytest.fixture
def inject(user: Any) -> Iterator[Inject]:
    """Return a function that injects a fault; afterwards faults are cleared and jobs stopped."""
    url = user.sandbox.endpoint_url
    yield partial(faults.inject, url)
    faults.clear(url)
    for summary in user.sagemaker.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]:
        with suppress(ClientError):  # it may have ended meanwhile
            user.stop(summary["TrainingJobName"])


def request_faults(user: Any, method: str, body: str = "") -> tuple[int, Any]:
    request = Request(f"{user.sandbox.endpoint_url}/_sandbox/faults", body.encode(), method=method)  # noqa: S310
    try:
        with urlopen(request) as response:  # noqa: S310 - http
            return response.status, json.load(response)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def rejection(call: Callable[..., Any], **arguments: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response
    return error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"], error["Error"]["Message"]


def call_counts(user: Any) -> dict[str, int]:
    with urlopen(f"{user.sandbox.endpoint_url}/_sandbox") as response:  # noqa: S310 - http
        counts: dict[str, int] = json.load(response)["calls"]
    return counts


def secondary_statuses(job: dict[str, Any]) -> list[str]:
    return [transition["Status"] for transition in job["SecondaryStatusTransitions"]]


def wait_until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def test_a_fault_is_added_listed_and_cleared(user: Any, inject: Inject) -> None:
    added = {"kind": "throttling", "times": 2, "action": "HeadObject"}
    assert request_faults(user, "POST", json.dumps(added)) == (201, added)
    inject(kind="slow-job", spot=True)
    slow = {"kind": "slow-job", "times": 1, "instance_type": None, "spot": True, "seconds": 30}
    assert request_faults(user, "GET") == (200, [added, slow])
    assert request_faults(user, "DELETE") == (200, [])
    assert request_faults(user, "GET") == (200, [])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"kind": "thunder"}, r"^Invalid fault: kind must be one of throttling, .*rollback-fails\.$"),
        ({"times": 3}, "^Invalid fault: kind must be one of throttling"),
        ({"kind": "throttling", "seconds": 3}, r"^Invalid fault: throttling\.seconds: this kind has no such field\.$"),
        ({"kind": "throttling", "times": "3"}, r"^Invalid fault: throttling\.times: .*valid integer"),
        ({"kind": "throttling", "times": 0}, r"^Invalid fault: throttling\.times: .*greater than or equal to 1"),
        ({"kind": "slow-job", "seconds": float("nan")}, r"^Invalid fault: slow-job\.seconds: "),
        ({"kind": "slow-job", "spot": "yes"}, r"^Invalid fault: slow-job\.spot: .*valid boolean"),
        ({"kind": "spot-interruption", "spot": False}, r"^Invalid fault: spot-interruption\.spot: must be True\.$"),
        ({"kind": "short-session", "seconds": -1}, r"^Invalid fault: short-session\.seconds: .*greater than or equal"),
        ({"kind": "quota", "action": "HeadObject"}, r"^Invalid fault: quota\.action: must be CreateTrainingJob\.$"),
    ],
)
def test_an_invalid_fault_is_rejected_with_a_message(
    user: Any, inject: Inject, fault: dict[str, Any], message: str
) -> None:
    assert request_faults(user, "POST", json.dumps(fault))[0] == 400
    with pytest.raises(ValueError, match=message):
        inject(**fault)
    assert request_faults(user, "GET") == (200, [])


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '"throttling"'])
def test_a_body_that_does_not_describe_a_fault_is_rejected(user: Any, body: str) -> None:
    status, response = request_faults(user, "POST", body)
    assert status == 400
    assert response["message"].startswith("Invalid fault: ")


FAILURE = (500, "InternalFailure", "The request processing has failed because of an unknown error, exception or ")
THROTTLED = (400, "ThrottlingException", "Rate exceeded")
SLOW_DOWN = (503, "SlowDown", "Please reduce your request rate.")
EXPIRED = "The security token included in the request is expired"
OBJECT = {"Bucket": BUCKET, "Key": "rejected"}


def denied(status: int, code: str, action: str, resource: str) -> tuple[int, str, str]:
    caller = "User: arn:aws:iam::123456789012:user/sandbox"
    reason = f"because no identity-based policy allows the {action} action"
    return status, code, f"{caller} is not authorized to perform: {action} on resource: {resource} {reason}"


DESCRIBE_DENIED = ("sagemaker:DescribeTrainingJob", "arn:aws:sagemaker:us-east-1:123456789012:training-job/x")
STREAMS_DENIED = ("logs:DescribeLogStreams", "arn:aws:logs:us-east-1:123456789012:log-group:/aws/x")


@pytest.mark.parametrize(
    ("kind", "call", "expected"),
    [
        ("throttling", ("sagemaker", "list_training_jobs", {}), THROTTLED),
        ("throttling", ("logs", "describe_log_groups", {}), THROTTLED),
        ("throttling", ("sts", "get_caller_identity", {}), (400, "Throttling", "Rate exceeded")),
        ("throttling", ("s3", "list_buckets", {}), SLOW_DOWN),
        ("throttling", ("s3", "put_object", OBJECT | {"Body": b"x" * 3_000_000}), SLOW_DOWN),
        ("throttling", ("s3", "head_object", OBJECT), (503, "503", "Service Unavailable")),
        ("service-error", ("sagemaker", "list_models", {}), FAILURE),
        ("service-error", ("iam", "list_roles", {}), FAILURE),
        ("service-error", ("s3", "get_object", OBJECT), (500, "InternalError", "We encountered an internal error.")),
        ("access-denied", ("s3", "get_object", OBJECT), (403, "AccessDenied", "Access Denied")),
        ("access-denied", ("s3", "head_object", OBJECT), (403, "403", "Forbidden")),
        ("access-denied", ("iam", "list_roles", {}), denied(403, "AccessDenied", "iam:ListRoles", "*")),
        (
            "access-denied",
            ("sagemaker", "describe_training_job", {"TrainingJobName": "x"}),
            denied(400, "AccessDeniedException", *DESCRIBE_DENIED),
        ),
        (
            "access-denied",
            ("logs", "describe_log_streams", {"logGroupName": "/aws/x"}),
            denied(400, "AccessDeniedException", *STREAMS_DENIED),
        ),
        ("expired-credentials", ("sagemaker", "list_models", {}), (400, "ExpiredTokenException", EXPIRED)),
        ("expired-credentials", ("sts", "get_caller_identity", {}), (403, "ExpiredToken", EXPIRED)),
        ("expired-credentials", ("s3", "list_buckets", {}), (400, "ExpiredToken", "The provided token has expired.")),
    ],
)
def test_a_rejected_call_returns_the_error_of_its_service(
    user: Any, inject: Inject, kind: str, call: tuple[str, str, dict[str, Any]], expected: tuple[int, str, str]
) -> None:
    inject(kind=kind)
    service, method, arguments = call
    status, code, message = rejection(getattr(user.client(service, retries=NO_RETRY), method), **arguments)
    assert (status, code) == expected[:2]
    assert message.startswith(expected[2])
    assert request_faults(user, "GET") == (200, [])
    assert "rejected" not in user.object_keys()


def test_a_fault_affects_only_its_action_and_the_given_number_of_calls(user: Any, inject: Inject) -> None:
    inject(kind="throttling", action="ListTags", times=2)
    inject(kind="throttling", action="HeadBucket")
    client = user.client("sagemaker", retries=NO_RETRY)
    arn = user.start("any", InputDataConfig=user.channel("s3://missing/x"))
    assert rejection(client.list_tags, ResourceArn=arn)[1] == "ThrottlingException"
    assert [(one["action"], one["times"]) for one in request_faults(user, "GET")[1]] == [
        ("ListTags", 1),
        ("HeadBucket", 1),
    ]
    assert rejection(client.list_tags, ResourceArn=arn)[1] == "ThrottlingException"
    assert client.list_tags(ResourceArn=arn)["Tags"] == []


def assume_role(user: Any) -> tuple[Any, datetime]:
    """Return a function like `user.client` with the keys of an assumed role, and the end of these keys."""
    keys = user.client("sts").assume_role(RoleArn=ROLE_ARN, RoleSessionName="rehearsal")["Credentials"]
    session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], "us-east-1")
    return partial(session.client, endpoint_url=user.sandbox.endpoint_url), keys["Expiration"]


def test_the_keys_of_a_short_session_are_rejected_after_their_expiration(user: Any, inject: Inject) -> None:
    inject(kind="short-session", seconds=1.5)
    (short_client, end), (long_client, _) = assume_role(user), assume_role(user)
    assert (end - datetime.now(UTC)).total_seconds() <= 1.5
    s3, url = short_client("s3"), short_client("s3").generate_presigned_url("get_object", Params=OBJECT)
    time.sleep(max(0, (end - datetime.now(UTC)).total_seconds()))
    inject(kind="throttling", action="ListBuckets")
    assert rejection(s3.list_buckets) == (400, "ExpiredToken", "The provided token has expired.")
    assert rejection(short_client("sts").get_caller_identity) == (403, "ExpiredToken", EXPIRED)
    assert rejection(short_client("sagemaker").list_models) == (400, "ExpiredTokenException", EXPIRED)
    with pytest.raises(HTTPError, match="400"):
        urlopen(url)  # noqa: S310 - http
    assert [fault["kind"] for fault in request_faults(user, "GET")[1]] == ["throttling"]
    assert long_client("sts").get_caller_identity()["Arn"].endswith("linear-learner-training/rehearsal")
    user.client("sts").get_caller_identity()


def test_keys_of_a_short_session_are_accepted_before_their_expiration(user: Any, inject: Inject) -> None:
    inject(kind="short-session")
    client, end = assume_role(user)
    assert 10 < (end - datetime.now(UTC)).total_seconds() <= 20
    client("s3").list_buckets()


def test_boto3_retries_a_throttled_call(user: Any, inject: Inject) -> None:
    inject(kind="throttling", action="ListTrainingJobs")
    before = call_counts(user).get("sagemaker:ListTrainingJobs", 0)
    user.sagemaker.list_training_jobs()
    assert call_counts(user)["sagemaker:ListTrainingJobs"] == before + 2


@pytest.mark.parametrize(
    ("changes", "limit", "words"),
    [
        ({}, {}, "'ml.m5.large for training job usage' is 2 Instances, with current utilization of 2 Instances and a "),
        (
            SPOT,
            {"limit": 0},
            "'ml.m5.large for spot training job usage' is 0 Instances, with current utilization of 0 ",
        ),
    ],
)
def test_a_quota_rejects_only_create_training_job(
    user: Any, inject: Inject, changes: dict[str, Any], limit: dict[str, int], words: str
) -> None:
    inject(kind="quota", **limit)
    user.sagemaker.list_training_jobs()
    status, code, message = rejection(user.start, name="over-quota", **changes)
    assert (status, code) == (400, "ResourceLimitExceeded")
    assert message.startswith(f"The account-level service limit {words}")
    assert "a request delta of 1 Instances. Please use AWS Service Quotas to request an increase" in message
    assert rejection(user.describe, name="over-quota")[1] == "ValidationException"


def test_a_call_with_a_lost_answer_is_performed(
    user: Any, inject: Inject, capfd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    inject(kind="lost-answer", action="CreateTrainingJob", times=2)
    inject(kind="lost-answer", action="PutObject")
    with pytest.raises(ConnectionClosedError):
        user.client("sagemaker", retries=NO_RETRY).create_training_job(**user.request("lost"))
    assert rejection(user.start, name="lost")[1] == "ResourceInUse"
    with pytest.raises(ConnectionClosedError):
        user.client("s3", retries=NO_RETRY).put_object(Bucket=BUCKET, Key="lost", Body=b"content")
    assert user.read("lost") == b"content"
    assert user.wait("lost")["TrainingJobStatus"] == "Completed"
    assert capfd.readouterr().err == ""
    assert caplog.records == []


def test_a_slow_answer_is_sent_after_the_call_was_performed(user: Any, inject: Inject, capfd: Any) -> None:
    inject(kind="slow-answer", action="CreateTrainingJob", seconds=0.5)
    client = user.client("sagemaker", retries=NO_RETRY, read_timeout=0.2)
    with pytest.raises(ReadTimeoutError):
        client.create_training_job(**user.request("slow-answer"))
    assert user.wait("slow-answer")["TrainingJobStatus"] == "Completed"
    inject(kind="slow-answer", action="ListTrainingJobs", seconds=0.1)
    assert user.sagemaker.list_training_jobs(NameContains="slow-answer")["TrainingJobSummaries"]
    assert capfd.readouterr().err == ""


def test_calls_of_training_jobs_are_not_affected_by_faults_and_not_counted(user: Any, inject: Inject) -> None:
    for action in ("GetObject", "ListObjectsV2", "PutObject", "PutLogEvents"):
        inject(kind="access-denied", action=action)
    before = call_counts(user)
    assert user.train("denied")["TrainingJobStatus"] == "Completed"
    after = call_counts(user)
    changed = {name for name, count in after.items() if count > before.get(name, 0)}
    assert changed == {"sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob"}
    assert after["sagemaker:CreateTrainingJob"] == before["sagemaker:CreateTrainingJob"] + 1
    assert len(request_faults(user, "GET")[1]) == 4


def test_calls_are_counted_by_their_iam_action_names(user: Any) -> None:
    before = call_counts(user)
    s3, target = user.s3, {"Bucket": "counted", "Key": "a/b"}
    s3.create_bucket(Bucket="counted")
    s3.head_bucket(Bucket="counted")
    s3.get_bucket_location(Bucket="counted")
    s3.put_bucket_versioning(Bucket="counted", VersioningConfiguration={"Status": "Suspended"})
    s3.put_object(**target, Body=b"1", Tagging="a=b")
    s3.head_object(**target)
    s3.get_object(**target)
    s3.get_object_tagging(**target)
    s3.copy_object(**target | {"Key": "copy"}, CopySource=target)
    s3.list_objects_v2(Bucket="counted", Prefix="")
    s3.list_objects(Bucket="counted")
    for complete in (False, True):
        upload = target | {"UploadId": s3.create_multipart_upload(**target)["UploadId"]}
        etag = s3.upload_part(**upload, PartNumber=1, Body=b"2")["ETag"]
        if complete:
            s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
        else:
            s3.abort_multipart_upload(**upload)
    s3.delete_object(**target)
    s3.delete_objects(Bucket="counted", Delete={"Objects": [{"Key": "copy"}]})
    s3.delete_bucket(Bucket="counted")
    s3.list_buckets()
    user.client("sts").get_caller_identity()
    user.client("iam").list_roles()
    user.logs.describe_log_groups()
    user.sagemaker.list_models()
    twice = {"s3:CreateMultipartUpload", "s3:UploadPart"}
    once = {
        *("s3:CreateBucket", "s3:HeadBucket", "s3:GetBucketLocation", "s3:PutBucketVersioning", "s3:ListObjectsV2"),
        *("s3:ListObjects", "s3:DeleteBucket", "s3:ListBuckets", "s3:DeleteObjects"),
        *("s3:PutObject", "s3:HeadObject", "s3:GetObject", "s3:GetObjectTagging", "s3:CopyObject", "s3:DeleteObject"),
        *("s3:AbortMultipartUpload", "s3:CompleteMultipartUpload"),
        *("sts:GetCallerIdentity", "iam:ListRoles", "logs:DescribeLogGroups", "sagemaker:ListModels"),
    }
    new = {name: count - before.get(name, 0) for name, count in call_counts(user).items() if count != before.get(name)}
    assert new == dict.fromkeys(twice, 2) | dict.fromkeys(once, 1)


def test_without_capacity_a_job_fails_and_is_not_billed(user: Any, inject: Inject) -> None:
    inject(kind="no-capacity", seconds=0.2)
    job = user.train("no-capacity")
    assert secondary_statuses(job) == ["Starting", "Failed"]
    assert job["FailureReason"] == (
        "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance "
        "type."
    )
    assert not {"TrainingStartTime", "TrainingTimeInSeconds", "BillableTimeInSeconds"} & set(job)
    assert user.train("with-capacity")["TrainingJobStatus"] == "Completed"


def test_without_capacity_a_spot_job_waits_and_is_stopped(user: Any, inject: Inject) -> None:
    inject(kind="no-capacity")
    job = user.train("no-spot", **SPOT)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")
    assert secondary_statuses(job) == ["Starting", "Stopping", "MaxWaitTimeExceeded"]
    assert not {"FailureReason", "BillableTimeInSeconds"} & set(job)


@pytest.mark.parametrize(("kind", "status"), [("no-capacity", "Starting"), ("slow-job", "Training")])
def test_a_job_that_a_fault_delays_can_be_stopped(user: Any, inject: Inject, kind: str, status: str) -> None:
    inject(kind=kind, seconds=3600)
    user.start(f"delayed-{kind}")
    user.wait(f"delayed-{kind}", status)
    user.stop(f"delayed-{kind}")
    job = user.wait(f"delayed-{kind}")
    assert secondary_statuses(job)[-3:] == [status, "Stopping", "Stopped"]
    assert user.log(f"delayed-{kind}") == []


def test_an_internal_error_fails_a_job_in_training(user: Any, inject: Inject) -> None:
    inject(kind="internal-error")
    job = user.train("broken")
    assert secondary_statuses(job) == ["Starting", "Downloading", "Training", "Failed"]
    assert job["FailureReason"] == "InternalServerError: We encountered an internal error. Please try again."


def test_an_interrupted_spot_job_starts_again_and_trains_the_same_model(user: Any, inject: Inject) -> None:
    inject(kind="spot-interruption")
    uninterrupted = user.train("on-demand")
    job = user.train("interrupted", **SPOT)
    once = ["Starting", "Downloading", "Training"]
    assert secondary_statuses(uninterrupted) == [*once, "Uploading", "Completed"]
    assert secondary_statuses(job) == [*once, "Interrupted", *once, "Uploading", "Completed"]
    assert job["TrainingStartTime"] == job["SecondaryStatusTransitions"][1]["StartTime"]
    first, second = (user.read(f"models/{name}/output/model.tar.gz") for name in ("on-demand", "interrupted"))
    assert first == second
    starts = [line for line in user.log("interrupted") if "Reading default configuration" in line]
    assert len(starts) == 2
    values = [
        {m["MetricName"]: m["Value"] for m in j["FinalMetricDataList"]}["train:mse"] for j in (uninterrupted, job)
    ]
    assert values[0] == values[1]


def test_the_max_runtime_fault_stops_a_quick_job(user: Any, inject: Inject) -> None:
    inject(kind="max-runtime")
    job = user.train("out-of-time")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600}
    assert "ModelArtifacts" not in job


def test_a_late_log_appears_after_the_job_has_ended(user: Any, inject: Inject) -> None:
    inject(kind="late-log", seconds=3600)
    assert user.train("later")["FinalMetricDataList"]
    assert user.log("later") == []
    inject(kind="late-log", seconds=0.3)
    assert user.train("late")["TrainingJobStatus"] == "Completed"
    assert any("Best model found" in line for line in wait_until(lambda: user.log("late")))


def test_faults_select_jobs_by_instance_type_and_spot_and_apply_once_per_kind(user: Any, inject: Inject) -> None:
    inject(kind="internal-error", instance_type="ml.c5.xlarge")
    inject(kind="internal-error", spot=True, times=2)
    inject(kind="slow-job", seconds=0)
    inject(kind="missing-log")
    assert user.train("neither")["TrainingJobStatus"] == "Completed"
    assert user.log("neither") == []
    config = user.request("any")["ResourceConfig"] | {"InstanceType": "ml.c5.xlarge"}
    assert user.train("type-and-spot", ResourceConfig=config, **SPOT)["TrainingJobStatus"] == "Failed"
    assert [fault["times"] for fault in request_faults(user, "GET")[1]] == [2]
    assert user.train("spot-only", **SPOT)["TrainingJobStatus"] == "Failed"


def test_the_waiting_time_of_a_spot_job_counts_towards_its_max_wait_time(user: Any, inject: Inject) -> None:
    inject(kind="slow-job", seconds=3600)
    condition = {"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 1}
    job = user.train("waited-out", EnableManagedSpotTraining=True, StoppingCondition=condition)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")
    assert secondary_statuses(job) == ["Starting", "Downloading", "Training", "Stopping", "MaxWaitTimeExceeded"]


def test_a_spot_job_is_billed_for_less_than_its_training_time(user: Any, inject: Inject) -> None:
    inject(kind="slow-job", seconds=1.1)
    job = user.train("cheap", **SPOT)
    assert job["TrainingTimeInSeconds"] >= 2
    assert 1 <= job["BillableTimeInSeconds"] < job["TrainingTimeInSeconds"]


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "sandbox.faults", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_the_command_line_adds_lists_and_clears(user: Any, inject: Inject) -> None:
    del inject
    state_dir = ("--state-dir", str(user.sandbox.state_dir))
    added = run_command("throttling", "--action", "ListTrainingJobs", "--times", "3", *state_dir)
    assert (added.returncode, added.stdout) == (0, "kind=throttling times=3 action=ListTrainingJobs\n")
    assert rejection(user.client("sagemaker", retries=NO_RETRY).list_training_jobs)[1] == "ThrottlingException"
    run_command("slow-job", "--instance-type", "ml.m5.large", "--spot", "false", "--seconds", "2.5", *state_dir)
    assert run_command("list", *state_dir).stdout == (
        "kind=throttling times=2 action=ListTrainingJobs\n"
        "kind=slow-job times=1 instance_type=ml.m5.large spot=False seconds=2.5\n"
    )
    invalid = run_command("throttling", "--seconds", "3", *state_dir)
    assert invalid.returncode == 2
    assert invalid.stderr.endswith("Invalid fault: throttling.seconds: this kind has no such field.\n")
    assert (run_command("clear", *state_dir).stdout, request_faults(user, "GET")) == ("", (200, []))


def test_the_help_lists_all_faults_and_a_missing_sandbox_is_an_error(tmp_path: Path) -> None:
    help_text = run_command("--help").stdout
    assert all(f"  {kind} " in help_text for kind in faults.FAULT_KINDS)
    result = run_command("list", "--state-dir", str(tmp_path))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"sandbox: no sandbox runs on {tmp_path}; start `python -m sandbox` or give --state-dir\n"


def test_the_fault_module_imports_no_slow_packages() -> None:
    program = "import sys, sandbox.faults; print(*{name.partition('.')[0] for name in sys.modules})"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not {"moto", "boto3", "botocore", "werkzeug", "prefect", "numpy"} & set(output.split())


def test_a_denied_log_cannot_be_read_but_that_of_another_job_can(user: Any, inject: Inject) -> None:
    inject(kind="log-denied")
    for name in ("log-denied", "log-allowed"):
        user.start(name)
        assert user.wait(name)["TrainingJobStatus"] == "Completed"
    group, stream = "/aws/sagemaker/TrainingJobs", "log-denied/algo-1-1"
    for call, arguments in (
        (user.logs.describe_log_streams, {"logStreamNamePrefix": "log-denied/"}),
        (user.logs.get_log_events, {"logStreamName": stream}),
    ):
        status, code, message = rejection(call, logGroupName=group, **arguments)
        assert (status, code) == (400, "AccessDeniedException")
        assert "is not authorized to perform: logs:" in message
    assert user.log("log-allowed")


def test_empty_log_pages_have_no_end(user: Any, inject: Inject) -> None:
    inject(kind="empty-log-pages")
    user.start("empty-pages")
    user.wait("empty-pages")
    group = "/aws/sagemaker/TrainingJobs"
    [stream] = user.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix="empty-pages/")["logStreams"]
    tokens = set()
    for _ in range(3):
        page = user.logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])
        assert page["events"] == []
        tokens.add(page["nextForwardToken"])
    assert len(tokens) == 3


def test_a_job_fails_when_its_disk_is_full(user: Any, inject: Inject) -> None:
    inject(kind="disk-full")
    user.start("full")
    job = user.wait("full")
    assert (job["TrainingJobStatus"], job["FailureReason"]) == ("Failed", "ClientError: Insufficient disk space")
    assert [new["Status"] for new in job["SecondaryStatusTransitions"]] == ["Starting", "Downloading", "Failed"]
