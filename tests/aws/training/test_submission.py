"""Start or adopt: one job per input, unless it left no model and another attempt may succeed."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest

from aws.errors import InvalidRequest, TrainingFailed, Unavailable
from aws.resource_tags import add_tags, read_tags
from aws.training import submission
from aws.training.compute import Compute
from aws.training.following import describe_job
from aws.training.leases import LEASE_TAG_PREFIX, RUN_TAG, active_leases
from aws.training.request import FINGERPRINT_TAG, TrainingJobSpec, build_request
from aws.training.stopping import stop_job
from aws.training.submission import DIVERGED_REMEDY, DIVERGED_TAG, IfExists, Submission, start_or_adopt
from aws.workspace import Workspace, split_uri

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef

Inject = Callable[..., None]
MakeSpec = Callable[..., TrainingJobSpec]
Calls = Callable[[], Counter[str]]
WaitForEnd = Callable[[str], "DescribeTrainingJobResponseTypeDef"]
MINE, THEIRS = "my-run", "their-run"
SPOT = Compute(spot=True)


def jobs(workspace: Workspace, spec: TrainingJobSpec) -> list[str]:
    found = workspace.client("sagemaker").list_training_jobs(NameContains=spec.name(1), MaxResults=100)
    return [job["TrainingJobName"] for job in found["TrainingJobSummaries"]]


def submit(
    workspace: Workspace, spec: TrainingJobSpec, run: str = MINE, if_exists: IfExists = "adopt"
) -> tuple[str, str]:
    submission = start_or_adopt(workspace, spec, run, {}, if_exists)
    return submission.how, submission.name


def exceed_time_limit(inject: Inject) -> None:
    """Make the next job exceed its time limit immediately."""
    inject(kind="slow-job", seconds=3600)
    inject(kind="max-runtime", seconds=0)


def test_a_job_is_started_then_followed_while_it_runs(workspace: Workspace, make_spec: MakeSpec) -> None:
    spec = make_spec(held=True)
    started, followed = (start_or_adopt(workspace, spec, run, {"cost": "7"}) for run in (MINE, THEIRS))
    assert (started.how, followed.how) == ("started", "followed")
    assert started.name == followed.name == spec.name(1)
    assert started.arn == followed.arn
    assert jobs(workspace, spec) == [spec.name(1)]
    tags = read_tags(workspace, started.arn)
    assert tags | {RUN_TAG: MINE, "cost": "7", FINGERPRINT_TAG: spec.fingerprint} == tags
    assert set(active_leases(tags)) == {MINE, THEIRS}


@pytest.mark.parametrize("if_exists", ["adopt", "new", "fail"])
def test_a_run_that_submits_again_gets_its_own_job(
    workspace: Workspace, make_spec: MakeSpec, wait_for_end: WaitForEnd, if_exists: IfExists
) -> None:
    done = make_spec()
    for _ in range(2):
        assert submit(workspace, done, MINE, if_exists) == ("started", done.name(1))
        wait_for_end(done.name(1))
    running = make_spec(held=True)
    assert [submit(workspace, running, MINE, if_exists) for _ in range(3)] == [("started", running.name(1))] * 3
    for spec in (done, running):
        assert jobs(workspace, spec) == [spec.name(1)]


def test_a_completed_job_is_reused_for_any_compute(
    workspace: Workspace, make_spec: MakeSpec, wait_for_end: WaitForEnd
) -> None:
    spec = make_spec()
    submit(workspace, spec)
    job = wait_for_end(spec.name(1))
    assert job["TrainingJobStatus"] == "Completed"
    faster = spec.model_copy(update={"compute": Compute(instance_type="ml.c5.9xlarge", volume_size_gb=50)})
    reused = start_or_adopt(workspace, faster, THEIRS, {"other": "tags"})
    assert reused == Submission(name=job["TrainingJobName"], arn=job["TrainingJobArn"], how="reused")
    assert jobs(workspace, spec) == [spec.name(1)]
    assert not {"other", f"{LEASE_TAG_PREFIX}{THEIRS}"} & set(read_tags(workspace, reused.arn))


def test_a_job_that_failed_because_of_missing_data_is_attempted_again(
    workspace: Workspace, make_spec: MakeSpec, wait_for_end: WaitForEnd
) -> None:
    spec = make_spec()
    elsewhere = spec.channels[0].model_copy(update={"uri": workspace.uri("nowhere") + "/"})
    without_data = spec.model_copy(update={"channels": (elsewhere,)})
    assert without_data.fingerprint == spec.fingerprint
    submit(workspace, without_data)
    assert "No S3 objects found" in wait_for_end(spec.name(1))["FailureReason"]
    assert submit(workspace, spec) == ("started", spec.name(2))


def test_input_that_the_algorithm_rejected_is_not_submitted_again(
    workspace: Workspace, make_spec: MakeSpec, wait_for_end: WaitForEnd
) -> None:
    spec = make_spec(epochs="none")
    submit(workspace, spec)
    assert wait_for_end(spec.name(1))["FailureReason"].endswith("exit code: 2")
    for again in (spec, with_compute(spec, instance_type="ml.c5.9xlarge", max_runtime_seconds=7200)):
        with pytest.raises(TrainingFailed, match=r"epochs.*This input would fail again at the same cost") as caught:
            submit(workspace, again, THEIRS)
        assert not caught.value.retryable
    assert jobs(workspace, spec) == [spec.name(1)]


@pytest.mark.parametrize("fault", ["no-capacity", "internal-error"])
@pytest.mark.parametrize("compute", [Compute(), SPOT], ids=["on demand", "spot"])
def test_a_job_that_failed_because_of_aws_is_attempted_again(
    workspace: Workspace, make_spec: MakeSpec, wait_for_end: WaitForEnd, inject: Inject, fault: str, compute: Compute
) -> None:
    spec = make_spec(compute=compute)
    inject(kind=fault)
    submit(workspace, spec)
    assert wait_for_end(spec.name(1))["TrainingJobStatus"] != "Completed"
    assert submit(workspace, spec) == ("started", spec.name(2))


def test_a_job_that_exceeded_its_time_limit_is_attempted_again_only_with_more_resources(
    workspace: Workspace, make_spec: MakeSpec, wait_for_end: WaitForEnd, inject: Inject
) -> None:
    spec = make_spec(compute=Compute(max_runtime_seconds=600))
    exceed_time_limit(inject)
    submit(workspace, spec)
    assert wait_for_end(spec.name(1))["SecondaryStatus"] == "MaxRuntimeExceeded"
    less: list[dict[str, Any]] = [{}, {"max_runtime_seconds": 60}, {"volume_size_gb": 5}, {"spot": True}]
    more: list[dict[str, Any]] = [
        {"max_runtime_seconds": 601},
        {"instance_type": "ml.c5.xlarge"},
        {"volume_size_gb": 11},
    ]
    for change in less:
        with pytest.raises(TrainingFailed, match=r"longer than its limit of 600 s.*Raise max_runtime_seconds"):
            submit(workspace, with_compute(spec, **change))
    assert jobs(workspace, spec) == [spec.name(1)]
    for attempt, change in enumerate(more, start=2):
        exceed_time_limit(inject)
        assert submit(workspace, with_compute(spec, **change)) == ("started", spec.name(attempt))
        wait_for_end(spec.name(attempt))


def with_compute(spec: TrainingJobSpec, **change: Any) -> TrainingJobSpec:
    return spec.model_copy(update={"compute": spec.compute.model_copy(update=change)})


def test_input_that_diverged_is_not_submitted_again(workspace: Workspace, make_spec: MakeSpec) -> None:
    spec = make_spec(held=True)
    started = start_or_adopt(workspace, spec, MINE, {})
    add_tags(workspace, started.arn, {DIVERGED_TAG: "its loss is inf in epoch 3"})
    stop_job(workspace, started.name)
    with pytest.raises(TrainingFailed, match=r"stopped because its loss is inf in epoch 3") as caught:
        submit(workspace, spec, THEIRS)
    assert str(caught.value).endswith(DIVERGED_REMEDY)
    assert jobs(workspace, spec) == [spec.name(1)]


def test_a_stopped_job_is_attempted_again(workspace: Workspace, make_spec: MakeSpec) -> None:
    spec = make_spec(held=True)
    submit(workspace, spec)
    stop_job(workspace, spec.name(1))
    assert submit(workspace, spec) == ("started", spec.name(2))
    assert submit(workspace, spec, THEIRS) == ("followed", spec.name(2))


def test_submission_waits_for_a_job_that_is_stopping(
    workspace: Workspace, make_spec: MakeSpec, stopping: Callable[[str], Callable[[], None]], calls: Calls
) -> None:
    spec = make_spec(endless=True)
    submit(workspace, spec)
    resume = stopping(spec.name(1))
    before = calls()
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(submit, workspace, spec, THEIRS)
        while (calls() - before)["sagemaker:DescribeTrainingJob"] < 3:
            assert not second.done()
        assert jobs(workspace, spec) == [spec.name(1)]
        resume()
        assert second.result() == ("started", spec.name(2))


def test_waiting_for_a_job_that_is_stopping_is_limited(
    workspace: Workspace,
    make_spec: MakeSpec,
    stopping: Callable[[str], Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(submission, "MAX_STOPPING_POLLS", 3)
    spec = make_spec(endless=True)
    submit(workspace, spec)
    resume = stopping(spec.name(1))
    with pytest.raises(Unavailable, match="still Stopping") as caught:
        submit(workspace, spec)
    assert caught.value.retryable
    resume()


def test_a_job_whose_model_was_deleted_is_attempted_again(
    workspace: Workspace, make_spec: MakeSpec, wait_for_end: WaitForEnd
) -> None:
    spec = make_spec()
    submit(workspace, spec)
    bucket, key = split_uri(wait_for_end(spec.name(1))["ModelArtifacts"]["S3ModelArtifacts"])
    workspace.client("s3").delete_object(Bucket=bucket, Key=key)
    assert submit(workspace, spec) == ("started", spec.name(2))


def test_a_job_of_another_fingerprint_under_this_name_is_not_adopted(workspace: Workspace, make_spec: MakeSpec) -> None:
    spec = make_spec(held=True)
    request = build_request(workspace, spec, spec.name(1), {})
    request["Tags"] = [{"Key": FINGERPRINT_TAG, "Value": "f" * 64}]
    workspace.client("sagemaker").create_training_job(**request)
    with pytest.raises(InvalidRequest, match=f"another fingerprint.*{'f' * 64}"):
        submit(workspace, spec)


def test_concurrent_callers_follow_one_job(workspace: Workspace, make_spec: MakeSpec) -> None:
    spec = make_spec(held=True)
    workspace.client("sagemaker")
    runs = [f"run-{number}" for number in range(6)]
    barrier = Barrier(len(runs))

    def call(run: str) -> Submission:
        barrier.wait()
        return start_or_adopt(workspace, spec, run, {})

    with ThreadPoolExecutor(len(runs)) as pool:
        submissions = list(pool.map(call, runs))
    assert sorted(submission.how for submission in submissions) == ["followed"] * 5 + ["started"]
    assert {submission.name for submission in submissions} == {spec.name(1)}
    assert jobs(workspace, spec) == [spec.name(1)]
    assert sorted(active_leases(read_tags(workspace, submissions[0].arn))) == runs


@pytest.mark.parametrize("if_exists", ["adopt", "new", "fail"])
@pytest.mark.parametrize("client", ["workspace", "hasty"])
def test_a_job_whose_creation_response_was_lost_belongs_to_this_run(
    request: pytest.FixtureRequest, make_spec: MakeSpec, inject: Inject, calls: Calls, client: str, if_exists: IfExists
) -> None:
    block: Workspace = request.getfixturevalue(client)
    spec = make_spec(held=True)
    inject(kind="lost-answer", action="CreateTrainingJob")
    before = calls()
    assert submit(block, spec, MINE, if_exists) == ("started", spec.name(1))
    assert jobs(block, spec) == [spec.name(1)]
    # boto3 repeats the call, and the response is that a job with this name exists.
    assert (calls() - before)["sagemaker:CreateTrainingJob"] == (2 if client == "workspace" else 1)


@pytest.mark.parametrize("kind", ["throttling", "service-error"])
def test_a_failed_creation_starts_no_job_and_is_retryable(
    workspace: Workspace, hasty: Workspace, make_spec: MakeSpec, inject: Inject, kind: str
) -> None:
    spec = make_spec(held=True)
    inject(kind=kind, action="CreateTrainingJob", times=2)
    with pytest.raises(Unavailable, match=f"creating training job {spec.name(1)}") as caught:
        submit(hasty, spec)
    assert caught.value.retryable
    assert jobs(workspace, spec) == []
    assert submit(workspace, spec) == ("started", spec.name(1))


def test_a_rejected_request_starts_no_job_and_is_not_retryable(workspace: Workspace, make_spec: MakeSpec) -> None:
    spec = make_spec(seed="x" * 2501)
    with pytest.raises(InvalidRequest, match=r"creating training job .*2500") as caught:
        submit(workspace, spec)
    assert not caught.value.retryable
    assert jobs(workspace, spec) == []


def test_if_exists_fail_rejects_a_running_or_completed_job_of_another_run(
    workspace: Workspace, make_spec: MakeSpec, wait_for_end: WaitForEnd
) -> None:
    done = make_spec()
    submit(workspace, done, THEIRS)
    wait_for_end(done.name(1))
    running = make_spec(held=True)
    submit(workspace, running, THEIRS)
    for spec, status in ((done, "Completed"), (running, "InProgress")):
        with pytest.raises(InvalidRequest, match=rf'is {status}\. Set if_exists to "adopt"'):
            submit(workspace, spec, MINE, "fail")
        assert jobs(workspace, spec) == [spec.name(1)]
        assert f"{LEASE_TAG_PREFIX}{MINE}" not in read_tags(workspace, arn(workspace, spec.name(1)))
    stop_job(workspace, running.name(1))
    assert submit(workspace, running, MINE, "fail") == ("started", running.name(2))


def arn(workspace: Workspace, name: str) -> str:
    return describe_job(workspace, name)["TrainingJobArn"]


def test_if_exists_new_gives_each_run_its_own_job(
    workspace: Workspace, make_spec: MakeSpec, wait_for_end: WaitForEnd
) -> None:
    spec = make_spec()
    for run, name in ((THEIRS, spec.name(1)), (MINE, spec.name(2))):
        for _ in range(2):
            assert submit(workspace, spec, run, "new") == ("started", name)
            wait_for_end(name)
    assert sorted(jobs(workspace, spec)) == [spec.name(1), spec.name(2)]
    assert active_leases(read_tags(workspace, arn(workspace, spec.name(1)))) == [THEIRS]


def test_the_number_of_attempts_is_limited(
    workspace: Workspace, make_spec: MakeSpec, wait_for_end: WaitForEnd, inject: Inject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "MAX_ATTEMPTS", 3)
    spec = make_spec()
    inject(kind="internal-error", times=3)
    for attempt in (1, 2, 3):
        assert submit(workspace, spec) == ("started", spec.name(attempt))
        wait_for_end(spec.name(attempt))
    with pytest.raises(InvalidRequest, match=f"3 training jobs with the same input .* the last one is {spec.name(3)}"):
        submit(workspace, spec)
    assert len(jobs(workspace, spec)) == 3


def test_each_way_to_get_a_job_takes_few_calls(
    workspace: Workspace, make_spec: MakeSpec, wait_for_end: WaitForEnd, calls: Calls
) -> None:
    def made(spec: TrainingJobSpec, run: str) -> dict[str, int]:
        before = calls()
        submit(workspace, spec, run)
        return {name.partition(":")[2]: count for name, count in (calls() - before).items()}

    quick = make_spec()
    assert made(quick, MINE) == {"DescribeTrainingJob": 1, "CreateTrainingJob": 1}
    wait_for_end(quick.name(1))
    assert made(quick, THEIRS) == {"DescribeTrainingJob": 1, "ListTags": 1, "HeadObject": 1}
    held = make_spec(held=True)
    submit(workspace, held)
    assert made(held, THEIRS) == {"DescribeTrainingJob": 1, "ListTags": 1, "AddTags": 1}
    stop_job(workspace, held.name(1))
    assert made(held, MINE) == {"DescribeTrainingJob": 2, "ListTags": 1, "CreateTrainingJob": 1}
