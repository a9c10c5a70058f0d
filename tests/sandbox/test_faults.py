"""Faults on demand, as a client of AWS meets them: refused calls, lost answers, jobs that go wrong."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from sandbox import faults
from sandbox.account import BUCKET

Inject = Callable[..., None]
NO_RETRY = {"max_attempts": 0}
SPOT = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90},
}


@pytest.fixture
def inject(user: Any) -> Iterator[Inject]:
    """Asks for a fault; afterwards none is left, and no job runs."""
    url = user.sandbox.endpoint_url
    yield partial(faults.inject, url)
    faults.clear(url)
    for summary in user.sagemaker.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]:
        with suppress(ClientError):  # it has ended meanwhile
            user.stop(summary["TrainingJobName"])


def control(user: Any, method: str, body: str = "") -> tuple[int, Any]:
    request = Request(f"{user.sandbox.endpoint_url}/_sandbox/faults", body.encode(), method=method)  # noqa: S310
    try:
        with urlopen(request) as answer:  # noqa: S310 - http
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def refusal(call: Callable[..., Any], **arguments: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response
    return error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"], error["Error"]["Message"]


def calls(user: Any) -> dict[str, int]:
    with urlopen(f"{user.sandbox.endpoint_url}/_sandbox") as answer:  # noqa: S310 - http
        counted: dict[str, int] = json.load(answer)["calls"]
    return counted


def phases(job: dict[str, Any]) -> list[str]:
    return [transition["Status"] for transition in job["SecondaryStatusTransitions"]]


def eventually(condition: Callable[[], Any]) -> Any:
    give_up = time.monotonic() + 30
    while not (value := condition()):
        assert time.monotonic() < give_up
        time.sleep(0.05)
    return value


def test_a_fault_is_added_listed_and_cleared(user: Any, inject: Inject) -> None:
    added = {"kind": "throttling", "times": 2, "action": "HeadObject"}
    assert control(user, "POST", json.dumps(added)) == (201, added)
    inject(kind="slow-job", spot=True)
    slow = {"kind": "slow-job", "times": 1, "instance_type": None, "spot": True, "seconds": 30}
    assert control(user, "GET") == (200, [added, slow])
    assert control(user, "DELETE") == (200, [])
    assert control(user, "GET") == (200, [])


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"kind": "thunder"}, r"^Not a fault: kind must be one of throttling, .*slow-job\.$"),
        ({"times": 3}, "^Not a fault: kind must be one of throttling"),
        ({"kind": "throttling", "seconds": 3}, r"^Not a fault: throttling\.seconds: this kind has no such field\.$"),
        ({"kind": "throttling", "times": "3"}, r"^Not a fault: throttling\.times: .*valid integer"),
        ({"kind": "throttling", "times": 0}, r"^Not a fault: throttling\.times: .*greater than or equal to 1"),
        ({"kind": "slow-job", "seconds": float("nan")}, r"^Not a fault: slow-job\.seconds: "),
        ({"kind": "slow-job", "spot": "yes"}, r"^Not a fault: slow-job\.spot: .*valid boolean"),
        ({"kind": "spot-interruption", "spot": False}, r"^Not a fault: spot-interruption\.spot: it must be True\.$"),
        ({"kind": "quota", "action": "HeadObject"}, r"^Not a fault: quota\.action: it must be CreateTrainingJob\.$"),
    ],
)
def test_a_wrong_fault_is_refused_in_one_sentence(
    user: Any, inject: Inject, fault: dict[str, Any], sentence: str
) -> None:
    assert control(user, "POST", json.dumps(fault))[0] == 400
    with pytest.raises(ValueError, match=sentence):
        inject(**fault)
    assert control(user, "GET") == (200, [])


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '"throttling"'])
def test_what_is_no_fault_at_all_is_refused(user: Any, body: str) -> None:
    status, answer = control(user, "POST", body)
    assert status == 400
    assert answer["message"].startswith("Not a fault: ")


FAILURE = (500, "InternalFailure", "The request processing has failed because of an unknown error, exception or ")
THROTTLED = (400, "ThrottlingException", "Rate exceeded")
SLOW_DOWN = (503, "SlowDown", "Please reduce your request rate.")
HERE = {"Bucket": BUCKET, "Key": "refused"}


def denied(status: int, code: str, action: str, resource: str) -> tuple[int, str, str]:
    who = "User: arn:aws:iam::123456789012:user/sandbox"
    why = f"because no identity-based policy allows the {action} action"
    return status, code, f"{who} is not authorized to perform: {action} on resource: {resource} {why}"


DESCRIBE_DENIED = ("sagemaker:DescribeTrainingJob", "arn:aws:sagemaker:us-east-1:123456789012:training-job/x")
STREAMS_DENIED = ("logs:DescribeLogStreams", "arn:aws:logs:us-east-1:123456789012:log-group:/aws/x")


@pytest.mark.parametrize(
    ("kind", "asked", "refused"),
    [
        ("throttling", ("sagemaker", "list_training_jobs", {}), THROTTLED),
        ("throttling", ("logs", "describe_log_groups", {}), THROTTLED),
        ("throttling", ("sts", "get_caller_identity", {}), (400, "Throttling", "Rate exceeded")),
        ("throttling", ("s3", "list_buckets", {}), SLOW_DOWN),
        ("throttling", ("s3", "put_object", HERE | {"Body": b"x" * 3_000_000}), SLOW_DOWN),
        ("throttling", ("s3", "head_object", HERE), (503, "503", "Service Unavailable")),
        ("service-error", ("sagemaker", "list_models", {}), FAILURE),
        ("service-error", ("iam", "list_roles", {}), FAILURE),
        ("service-error", ("s3", "get_object", HERE), (500, "InternalError", "We encountered an internal error.")),
        ("access-denied", ("s3", "get_object", HERE), (403, "AccessDenied", "Access Denied")),
        ("access-denied", ("s3", "head_object", HERE), (403, "403", "Forbidden")),
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
    ],
)
def test_a_refused_call_reads_as_its_service_words_it(
    user: Any, inject: Inject, kind: str, asked: tuple[str, str, dict[str, Any]], refused: tuple[int, str, str]
) -> None:
    inject(kind=kind)
    service, call, arguments = asked
    status, code, message = refusal(getattr(user.client(service, retries=NO_RETRY), call), **arguments)
    assert (status, code) == refused[:2]
    assert message.startswith(refused[2])
    assert control(user, "GET") == (200, [])
    assert "refused" not in user.object_keys()


def test_a_fault_waits_for_its_action_and_is_met_so_many_times(user: Any, inject: Inject) -> None:
    inject(kind="throttling", action="ListTags", times=2)
    inject(kind="throttling", action="HeadBucket")
    client = user.client("sagemaker", retries=NO_RETRY)
    arn = user.start("any", InputDataConfig=user.channel("s3://never-made/x"))
    assert refusal(client.list_tags, ResourceArn=arn)[1] == "ThrottlingException"
    assert [(one["action"], one["times"]) for one in control(user, "GET")[1]] == [("ListTags", 1), ("HeadBucket", 1)]
    assert refusal(client.list_tags, ResourceArn=arn)[1] == "ThrottlingException"
    assert client.list_tags(ResourceArn=arn)["Tags"] == []


def test_boto3_tries_a_throttled_call_again(user: Any, inject: Inject) -> None:
    inject(kind="throttling", action="ListTrainingJobs")
    before = calls(user).get("sagemaker:ListTrainingJobs", 0)
    user.sagemaker.list_training_jobs()
    assert calls(user)["sagemaker:ListTrainingJobs"] == before + 2


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
def test_a_quota_refuses_a_job_and_nothing_else(
    user: Any, inject: Inject, changes: dict[str, Any], limit: dict[str, int], words: str
) -> None:
    inject(kind="quota", **limit)
    user.sagemaker.list_training_jobs()
    status, code, message = refusal(user.start, name="beyond", **changes)
    assert (status, code) == (400, "ResourceLimitExceeded")
    assert message.startswith(f"The account-level service limit {words}")
    assert "a request delta of 1 Instances. Please use AWS Service Quotas to request an increase" in message
    assert refusal(user.describe, name="beyond")[1] == "ValidationException"


def test_a_lost_answer_hides_that_the_call_was_performed(
    user: Any, inject: Inject, capfd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    inject(kind="lost-answer", action="CreateTrainingJob", times=2)
    inject(kind="lost-answer", action="PutObject")
    with pytest.raises(ConnectionClosedError):
        user.client("sagemaker", retries=NO_RETRY).create_training_job(**user.request("lost"))
    assert refusal(user.start, name="lost")[1] == "ResourceInUse"
    with pytest.raises(ConnectionClosedError):
        user.client("s3", retries=NO_RETRY).put_object(Bucket=BUCKET, Key="lost", Body=b"kept")
    assert user.read("lost") == b"kept"
    assert user.wait("lost")["TrainingJobStatus"] == "Completed"
    assert capfd.readouterr().err == ""
    assert caplog.records == []


def test_a_slow_answer_comes_long_after_the_call_was_performed(user: Any, inject: Inject, capfd: Any) -> None:
    inject(kind="slow-answer", action="CreateTrainingJob", seconds=0.5)
    client = user.client("sagemaker", retries=NO_RETRY, read_timeout=0.2)
    with pytest.raises(ReadTimeoutError):
        client.create_training_job(**user.request("slow-answer"))
    assert user.wait("slow-answer")["TrainingJobStatus"] == "Completed"
    inject(kind="slow-answer", action="ListTrainingJobs", seconds=0.1)
    assert user.sagemaker.list_training_jobs(NameContains="slow-answer")["TrainingJobSummaries"]
    assert capfd.readouterr().err == ""


def test_the_sandboxs_own_calls_meet_no_fault_and_are_not_counted(user: Any, inject: Inject) -> None:
    for action in ("GetObject", "ListObjectsV2", "PutObject", "PutLogEvents"):
        inject(kind="access-denied", action=action)
    before = calls(user)
    assert user.train("denied")["TrainingJobStatus"] == "Completed"
    after = calls(user)
    changed = {name for name, count in after.items() if count > before.get(name, 0)}
    assert changed == {"sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob"}
    assert after["sagemaker:CreateTrainingJob"] == before["sagemaker:CreateTrainingJob"] + 1
    assert len(control(user, "GET")[1]) == 4


def test_calls_are_counted_by_the_names_policies_and_boto3_give_them(user: Any) -> None:
    before = calls(user)
    s3, place = user.s3, {"Bucket": "counted", "Key": "a/b"}
    s3.create_bucket(Bucket="counted")
    s3.head_bucket(Bucket="counted")
    s3.get_bucket_location(Bucket="counted")
    s3.put_bucket_versioning(Bucket="counted", VersioningConfiguration={"Status": "Suspended"})
    s3.put_object(**place, Body=b"1", Tagging="a=b")
    s3.head_object(**place)
    s3.get_object(**place)
    s3.get_object_tagging(**place)
    s3.copy_object(**place | {"Key": "copy"}, CopySource=place)
    s3.list_objects_v2(Bucket="counted", Prefix="")
    s3.list_objects(Bucket="counted")
    for wanted in (False, True):
        upload = place | {"UploadId": s3.create_multipart_upload(**place)["UploadId"]}
        etag = s3.upload_part(**upload, PartNumber=1, Body=b"2")["ETag"]
        if wanted:
            s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
        else:
            s3.abort_multipart_upload(**upload)
    s3.delete_object(**place)
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
    new = {name: count - before.get(name, 0) for name, count in calls(user).items() if count != before.get(name)}
    assert new == dict.fromkeys(twice, 2) | dict.fromkeys(once, 1)


def test_without_capacity_a_job_fails_and_is_never_billed(user: Any, inject: Inject) -> None:
    inject(kind="no-capacity", seconds=0.2)
    job = user.train("no-capacity")
    assert phases(job) == ["Starting", "Failed"]
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
    assert phases(job) == ["Starting", "Stopping", "MaxWaitTimeExceeded"]
    assert not {"FailureReason", "BillableTimeInSeconds"} & set(job)


@pytest.mark.parametrize(("kind", "phase"), [("no-capacity", "Starting"), ("slow-job", "Training")])
def test_a_job_that_a_fault_holds_up_can_be_stopped(user: Any, inject: Inject, kind: str, phase: str) -> None:
    inject(kind=kind, seconds=3600)
    user.start(f"held-{kind}")
    user.wait(f"held-{kind}", phase)
    user.stop(f"held-{kind}")
    job = user.wait(f"held-{kind}")
    assert phases(job)[-3:] == [phase, "Stopping", "Stopped"]
    assert user.log(f"held-{kind}") == []


def test_an_internal_error_fails_a_job_in_training(user: Any, inject: Inject) -> None:
    inject(kind="internal-error")
    job = user.train("broken")
    assert phases(job) == ["Starting", "Downloading", "Training", "Failed"]
    assert job["FailureReason"] == "InternalServerError: We encountered an internal error. Please try again."


def test_an_interrupted_spot_job_begins_again_and_makes_the_same_model(user: Any, inject: Inject) -> None:
    inject(kind="spot-interruption")
    undisturbed = user.train("on-demand")
    job = user.train("interrupted", **SPOT)
    once = ["Starting", "Downloading", "Training"]
    assert phases(undisturbed) == [*once, "Uploading", "Completed"]
    assert phases(job) == [*once, "Interrupted", *once, "Uploading", "Completed"]
    assert job["TrainingStartTime"] == job["SecondaryStatusTransitions"][1]["StartTime"]
    first, second = (user.read(f"models/{name}/output/model.tar.gz") for name in ("on-demand", "interrupted"))
    assert first == second
    begun = [line for line in user.log("interrupted") if "Reading default configuration" in line]
    assert len(begun) == 2
    values = [{m["MetricName"]: m["Value"] for m in j["FinalMetricDataList"]}["train:mse"] for j in (undisturbed, job)]
    assert values[0] == values[1]


def test_a_job_runs_out_of_time_however_quick_it_is(user: Any, inject: Inject) -> None:
    inject(kind="max-runtime")
    job = user.train("out-of-time")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600}
    assert "ModelArtifacts" not in job


def test_a_late_log_appears_only_after_the_job_is_over(user: Any, inject: Inject) -> None:
    inject(kind="late-log", seconds=3600)
    assert user.train("later")["FinalMetricDataList"]
    assert user.log("later") == []
    inject(kind="late-log", seconds=0.3)
    assert user.train("late")["TrainingJobStatus"] == "Completed"
    assert any("Best model found" in line for line in eventually(lambda: user.log("late")))


def test_job_faults_choose_by_instance_type_and_spot_and_a_job_meets_each_kind_once(user: Any, inject: Inject) -> None:
    inject(kind="internal-error", instance_type="ml.c5.xlarge")
    inject(kind="internal-error", spot=True, times=2)
    inject(kind="slow-job", seconds=0)
    inject(kind="missing-log")
    assert user.train("neither")["TrainingJobStatus"] == "Completed"
    assert user.log("neither") == []
    config = user.request("any")["ResourceConfig"] | {"InstanceType": "ml.c5.xlarge"}
    assert user.train("type-and-spot", ResourceConfig=config, **SPOT)["TrainingJobStatus"] == "Failed"
    assert [fault["times"] for fault in control(user, "GET")[1]] == [2]
    assert user.train("spot-only", **SPOT)["TrainingJobStatus"] == "Failed"


def test_the_wait_of_a_spot_job_counts_against_its_max_wait_time(user: Any, inject: Inject) -> None:
    inject(kind="slow-job", seconds=3600)
    condition = {"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 1}
    job = user.train("waited-out", EnableManagedSpotTraining=True, StoppingCondition=condition)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")
    assert phases(job) == ["Starting", "Downloading", "Training", "Stopping", "MaxWaitTimeExceeded"]


def test_a_spot_job_pays_for_less_than_the_time_it_took(user: Any, inject: Inject) -> None:
    inject(kind="slow-job", seconds=1.1)
    job = user.train("cheap", **SPOT)
    assert job["TrainingTimeInSeconds"] >= 2
    assert 1 <= job["BillableTimeInSeconds"] < job["TrainingTimeInSeconds"]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "sandbox.faults", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_the_command_line_adds_lists_and_clears(user: Any, inject: Inject) -> None:
    del inject
    place = ("--state-dir", str(user.sandbox.state_dir))
    added = command("throttling", "--action", "ListTrainingJobs", "--times", "3", *place)
    assert (added.returncode, added.stdout) == (0, "kind=throttling times=3 action=ListTrainingJobs\n")
    assert refusal(user.client("sagemaker", retries=NO_RETRY).list_training_jobs)[1] == "ThrottlingException"
    command("slow-job", "--instance-type", "ml.m5.large", "--spot", "false", "--seconds", "2.5", *place)
    assert command("list", *place).stdout == (
        "kind=throttling times=2 action=ListTrainingJobs\n"
        "kind=slow-job times=1 instance_type=ml.m5.large spot=False seconds=2.5\n"
    )
    wrong = command("throttling", "--seconds", "3", *place)
    assert wrong.returncode == 2
    assert wrong.stderr.endswith("Not a fault: throttling.seconds: this kind has no such field.\n")
    assert (command("clear", *place).stdout, control(user, "GET")) == ("", (200, []))


def test_the_command_line_explains_itself_and_says_when_no_sandbox_runs(tmp_path: Path) -> None:
    described = command("--help").stdout
    assert all(f"  {kind} " in described for kind in faults.FAULT_KINDS)
    removed = command("list", "--state-dir", str(tmp_path))
    assert (removed.returncode, removed.stdout) == (1, "")
    assert removed.stderr == f"sandbox: none serves {tmp_path}; start `python -m sandbox` or give --state-dir\n"


def test_asking_for_faults_imports_pydantic_and_nothing_heavier() -> None:
    program = "import sys, sandbox.faults; print(*{name.partition('.')[0] for name in sys.modules})"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not {"moto", "boto3", "botocore", "werkzeug", "prefect", "numpy"} & set(output.split())
