"""Model packages: one per training job despite concurrency and faults, one decision per package, and the champion."""

import json
import unicodedata
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from pydantic import ValidationError

from aws.errors import AccessDenied, InvalidRequest, NotFound, Unavailable
from aws.registry import (
    ApprovalStatus,
    Package,
    PackageVersion,
    Registration,
    change_approval,
    decide_approval,
    find_package,
    list_groups,
    list_versions,
    newest_approved,
    register,
)
from aws.workspace import Workspace

Calls = Callable[[], Counter[str]]
Inject = Callable[..., None]
IMAGE = "382416733822.dkr.ecr.us-east-1.amazonaws.com/linear-learner:1"
JOBS = "arn:aws:sagemaker:us-east-1:123456789012:training-job"
STATUSES: tuple[ApprovalStatus, ...] = ("Approved", "Rejected", "PendingManualApproval")


@pytest.fixture
def group() -> str:
    """The name of a group that no other test uses and that does not exist yet."""
    return f"group-{uuid.uuid4().hex}"


def job(attempt: int = 1) -> str:
    return f"linear-learner-{uuid.uuid4().hex[:20]}" + (f"-{attempt}" if attempt > 1 else "")


def registration(
    group: str, training_job: str = "", status: ApprovalStatus = "PendingManualApproval", **changes: Any
) -> Any:
    name = training_job or job()
    fields = {
        "group": group,
        "training_job": name,
        "training_job_arn": f"{JOBS}/{name}",
        "image": IMAGE,
        "model_uri": f"s3://bucket/models/{name}/output/model.tar.gz",
        "description": "predicts Salary; RMSE 0.31 (−5 % against the champion)",  # noqa: RUF001 - the minus sign of the reports
        "metrics_uri": f"s3://bucket/reports/{name}/metrics.json",
        "metadata": {"verdict": "accepted"},
        "status": status,
        "approval_description": "a reason",
    }
    return Registration(**(fields | changes))


def packages(workspace: Workspace, group: str) -> list[Any]:
    listed: list[Any] = workspace.client("sagemaker").list_model_packages(ModelPackageGroupName=group, MaxResults=100)[
        "ModelPackageSummaryList"
    ]
    return listed


def described(workspace: Workspace, arn: str) -> Any:
    return workspace.client("sagemaker").describe_model_package(ModelPackageName=arn)


def decide(workspace: Workspace, arn: str, status: ApprovalStatus) -> None:
    """Set the status of a package, as a person does in the console."""
    workspace.client("sagemaker").update_model_package(ModelPackageArn=arn, ModelApprovalStatus=status)


def as_found(package: Package) -> Package:
    """Return the package as later calls return it: without a new decision."""
    return package.model_copy(update={"is_new_decision": False})


def test_a_package_has_its_model_formats_metrics_and_origin(workspace: Workspace, group: str) -> None:
    name = job()
    requested = registration(group, name)
    package = register(workspace, requested)
    assert package == Package(
        arn=f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{group}/1",
        group=group,
        version=1,
        status="PendingManualApproval",
        model_uri=requested.model_uri,
        training_job=name,
        metadata={"verdict": "accepted"},
        is_new_decision=True,
    )
    found = described(workspace, package.arn)
    assert found["ModelPackageDescription"] == f"{name}: {requested.description}"
    assert found["InferenceSpecification"] == {
        "Containers": [{"Image": IMAGE, "ModelDataUrl": requested.model_uri}],
        "SupportedContentTypes": [
            "text/csv",
            "application/json",
            "application/jsonlines",
            "application/x-recordio-protobuf",
        ],
        "SupportedResponseMIMETypes": [
            "application/json",
            "application/jsonlines",
            "application/x-recordio-protobuf",
        ],
    }
    statistics = {"ContentType": "application/json", "S3Uri": requested.metrics_uri}
    assert found["ModelMetrics"] == {"ModelQuality": {"Statistics": statistics}}
    assert found["MetadataProperties"] == {"GeneratedBy": f"{JOBS}/{name}"}
    assert Package.model_validate_json(package.model_dump_json()) == package


def test_a_missing_group_is_created_with_the_workspaces_tags(workspace: Workspace, group: str, calls: Calls) -> None:
    tagged = workspace.model_copy(update={"tags": {"team": "blue", "cost-centre": "7"}})
    register(tagged, registration(group))
    register(workspace, registration(group))
    client = workspace.client("sagemaker")
    arn = client.describe_model_package_group(ModelPackageGroupName=group)["ModelPackageGroupArn"]
    tags = client.list_tags(ResourceArn=arn)["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "blue", "cost-centre": "7"}
    assert len(packages(workspace, group)) == 2
    before = calls()
    register(workspace, registration(group, packages(workspace, group)[0]["ModelPackageDescription"].split(":")[0]))
    assert not {f"sagemaker:{made}" for made in ("CreateModelPackage", "CreateModelPackageGroup")} & set(
        calls() - before
    )


@pytest.mark.parametrize("status", STATUSES)
def test_a_model_is_registered_with_status_and_reason(workspace: Workspace, group: str, status: ApprovalStatus) -> None:
    package = register(workspace, registration(group, status=status, approval_description="RMSE 5 % lower\nat last"))
    found = described(workspace, package.arn)
    assert package.status == found["ModelApprovalStatus"] == status
    reason = found.get("ApprovalDescription")
    assert reason == (None if status == "PendingManualApproval" else "RMSE 5 % lower at last")
    assert found["CustomerMetadataProperties"] == {"verdict": "accepted"}


@pytest.mark.parametrize("first", STATUSES)
@pytest.mark.parametrize("then", STATUSES)
def test_registering_again_returns_the_same_package_and_decides_only_a_pending_one(
    workspace: Workspace, group: str, first: ApprovalStatus, then: ApprovalStatus
) -> None:
    name = job()
    package = register(workspace, registration(group, name, first))
    again = register(workspace, registration(group, name, then, description="another description"))
    status = then if first == "PendingManualApproval" else first
    assert again == package.model_copy(update={"status": status, "is_new_decision": status != first})
    assert described(workspace, package.arn)["ModelApprovalStatus"] == status
    assert len(packages(workspace, group)) == 1


def test_a_decision_made_in_the_meantime_is_not_overwritten(workspace: Workspace, group: str) -> None:
    pending = register(workspace, registration(group))
    decide(workspace, pending.arn, "Rejected")
    assert decide_approval(workspace, pending, "Approved", "it passed").status == "Rejected"
    found = described(workspace, pending.arn)
    assert found["ModelApprovalStatus"] == "Rejected"
    assert "ApprovalDescription" not in found
    decide(workspace, pending.arn, "Approved")
    assert decide_approval(workspace, pending, "Rejected", "it failed").status == "Approved"


@pytest.mark.parametrize("status", STATUSES)
def test_no_status_is_reset_to_pending(workspace: Workspace, group: str, status: ApprovalStatus) -> None:
    package = register(workspace, registration(group, status=status))
    assert decide_approval(workspace, package, "PendingManualApproval", "wait") == package
    assert described(workspace, package.arn)["ModelApprovalStatus"] == status


def test_concurrent_registrations_of_a_model_create_one_package(workspace: Workspace, group: str) -> None:
    name, barrier = job(), Barrier(2)

    def at_once(status: ApprovalStatus) -> Package:
        requested = registration(group, name, status)
        barrier.wait()
        return register(workspace, requested)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(at_once, ("Approved", "Approved"))
    assert as_found(one) == as_found(other)
    assert len(packages(workspace, group)) == 1


def test_concurrent_registrations_with_different_descriptions_create_one_package(
    workspace: Workspace, group: str, inject: Inject, calls: Calls
) -> None:
    name, before = job(), calls()
    inject(kind="slow-answer", action="ListModelPackages", seconds=2)
    with ThreadPoolExecutor(1) as pool:
        slower = pool.submit(register, workspace, registration(group, name, "Approved", description="one description"))
        while not (calls() - before)["sagemaker:ListModelPackages"]:
            assert not slower.done()
        first = register(workspace, registration(group, name, "Rejected", description="another description"))
        assert slower.result() == first
    assert len(packages(workspace, group)) == 1


def test_concurrent_registrations_of_several_models_create_one_package_each(workspace: Workspace, group: str) -> None:
    names, barrier = [job() for _ in range(4)], Barrier(4)

    def at_once(name: str) -> Package:
        requested = registration(group, name, "Approved")
        barrier.wait()
        return register(workspace, requested)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(at_once, names))
    assert [package.training_job for package in made] == names
    assert sorted(package.version for package in made) == [1, 2, 3, 4]


@pytest.mark.parametrize("action", ["CreateModelPackageGroup", "CreateModelPackage", "UpdateModelPackage"])
def test_a_lost_response_creates_no_second_package(
    workspace: Workspace, group: str, inject: Inject, action: str
) -> None:
    inject(kind="lost-answer", action=action)
    package = register(workspace, registration(group, status="Approved"))
    assert (package.version, package.status) == (1, "Approved")
    assert len(packages(workspace, group)) == 1


def test_a_package_is_found_after_a_lost_response_without_retries(hasty: Workspace, group: str, inject: Inject) -> None:
    inject(kind="lost-answer", action="CreateModelPackage")
    package = register(hasty, registration(group, status="Rejected"))
    assert (package.version, package.status) == (1, "Rejected")
    assert len(packages(hasty, group)) == 1


@pytest.mark.parametrize("action", ["CreateModelPackageGroup", "CreateModelPackage", "UpdateModelPackage"])
@pytest.mark.parametrize("kind", ["lost-answer", "throttling", "service-error"])
def test_registering_again_after_a_fault_gives_one_approved_package(
    hasty: Workspace, group: str, inject: Inject, action: str, kind: str
) -> None:
    inject(kind=kind, action=action)
    requested = registration(group, status="Approved")
    try:
        register(hasty, requested)
    except Unavailable as error:
        assert error.retryable  # noqa: PT017 - a lost response to CreateModelPackage raises no error
    package = register(hasty, requested)
    assert (package.version, package.status) == (1, "Approved")
    assert len(packages(hasty, group)) == 1


def test_throttled_calls_are_retried(workspace: Workspace, group: str, inject: Inject) -> None:
    for action in ("ListModelPackages", "CreateModelPackageGroup", "CreateModelPackage", "DescribeModelPackage"):
        inject(kind="throttling", action=action)
    assert register(workspace, registration(group)).version == 1


@pytest.mark.parametrize(
    "action",
    [
        "ListModelPackages",
        "CreateModelPackageGroup",
        "CreateModelPackage",
        "DescribeModelPackage",
        "UpdateModelPackage",
    ],
)
def test_a_denial_names_the_action_that_is_not_allowed(
    workspace: Workspace, group: str, inject: Inject, action: str
) -> None:
    inject(kind="access-denied", action=action)
    with pytest.raises(AccessDenied, match=f"Allow sagemaker:{action} on "):
        register(workspace, registration(group, status="Approved"))


def test_a_rejected_request_raises_an_error_and_creates_no_package(workspace: Workspace, group: str) -> None:
    requested = registration(group, model_uri="not a URI")
    with pytest.raises(
        InvalidRequest, match=f"registering the model of {requested.training_job} in {group}: .*modelData"
    ):
        register(workspace, requested)
    assert packages(workspace, group) == []


def test_without_a_group_there_is_no_champion_and_no_package(workspace: Workspace, group: str) -> None:
    assert newest_approved(workspace, group) is None
    assert find_package(workspace, group, job()) is None


def test_the_champion_is_the_newest_approved_version(workspace: Workspace, group: str) -> None:
    statuses: tuple[ApprovalStatus, ...] = ("PendingManualApproval", "Approved", "Approved", "Rejected")
    made = [register(workspace, registration(group, status=status)) for status in statuses]
    assert newest_approved(workspace, group) == as_found(made[2])
    decide(workspace, made[0].arn, "Approved")  # approved later than the others, but an older version
    assert newest_approved(workspace, group) == as_found(made[2])
    decide(workspace, made[2].arn, "Rejected")
    assert newest_approved(workspace, group) == as_found(made[1])
    for package in made[:2]:
        decide(workspace, package.arn, "Rejected")
    assert newest_approved(workspace, group) is None


def test_a_package_of_another_program_can_be_the_champion(workspace: Workspace, group: str) -> None:
    client = workspace.client("sagemaker")
    client.create_model_package_group(ModelPackageGroupName=group)
    for text in ("made by hand", ""):
        client.create_model_package(
            ModelPackageGroupName=group, ModelPackageDescription=text, ModelApprovalStatus="Approved"
        )
    champion = newest_approved(workspace, group)
    assert champion
    assert (champion.version, champion.training_job, champion.model_uri, champion.metadata) == (2, None, "", {})


def test_a_package_is_found_by_the_full_name_of_its_training_job_on_any_page(workspace: Workspace, group: str) -> None:
    first, attempt = job(), job(2)
    oldest = register(workspace, registration(group, first))
    second = register(workspace, registration(group, attempt, "Rejected"))
    client = workspace.client("sagemaker")
    for _ in range(120):
        client.create_model_package(ModelPackageGroupName=group, ModelPackageDescription=f"{first}-3: another")
    assert find_package(workspace, group, first) == as_found(oldest)
    assert find_package(workspace, group, attempt) == as_found(second)
    assert find_package(workspace, group, attempt.removesuffix("-2")) is None
    assert newest_approved(workspace, group) is None


def test_the_versions_of_a_group_are_listed_newest_first(workspace: Workspace, group: str) -> None:
    with pytest.raises(NotFound, match=group):
        list_versions(workspace, group)
    made = [register(workspace, registration(group, status=status)) for status in STATUSES]
    created = {one.arn: described(workspace, one.arn)["CreationTime"] for one in made}
    expected = [PackageVersion(one.version, one.status, one.arn, created[one.arn]) for one in reversed(made)]
    assert list_versions(workspace, group) == expected
    assert group in list_groups(workspace)


def test_groups_of_others_are_not_listed_as_those_of_this_project(workspace: Workspace, group: str) -> None:
    register(workspace, registration(group))
    workspace.client("sagemaker").create_model_package_group(
        ModelPackageGroupName=f"{group}-x", ModelPackageGroupDescription="Of another project."
    )
    assert {group, f"{group}-x"} <= set(list_groups(workspace))
    assert {group, f"{group}-x"} & set(list_groups(workspace, only_own=True)) == {group}


def test_a_decision_can_be_changed(workspace: Workspace, group: str) -> None:
    package = register(workspace, registration(group, status="Rejected"))
    changed = change_approval(workspace, package, "Approved", "the champion is out of date")
    assert changed.status == "Approved"
    assert newest_approved(workspace, group) == as_found(changed)
    assert described(workspace, package.arn)["ApprovalDescription"] == "the champion is out of date"


def test_metadata_is_reduced_to_valid_characters_and_lengths(workspace: Workspace, group: str) -> None:
    metadata = {
        "metric": "RMSE, 95 % (bootstrap)",
        "columns": "Größe;名前\tÅ½",
        "long": "x" * 300,
        "key with spaces:./=+-@_": "kept:./=+-@_",
        "empty": "",
        "nothing": "(%),",
    }
    package = register(workspace, registration(group, metadata=metadata))
    assert package.metadata == {
        "metric": "RMSE  95    bootstrap",
        "columns": "Größe 名前 Å½",
        "long": "x" * 256,
        "key with spaces:./=+-@_": "kept:./=+-@_",
    }


def test_any_character_can_be_registered(workspace: Workspace, group: str) -> None:
    every = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) != "Cs"]
    # One character of each category, and the first 400, which include most characters of column names and reports.
    some = "".join({unicodedata.category(char): char for char in every}.values()) + "".join(every[:400])
    metadata = {str(start): some[start : start + 200] for start in range(0, len(some), 200)}
    package = register(workspace, registration(group, description=some, metadata=metadata, approval_description=some))
    assert set(package.metadata) == set(metadata)
    assert "é" in described(workspace, package.arn)["ModelPackageDescription"]


def test_a_description_that_is_too_long_is_truncated(workspace: Workspace, group: str) -> None:
    requested = registration(group, status="Approved", description="x" * 2000, approval_description="y" * 2000)
    found = described(workspace, register(workspace, requested).arn)
    assert found["ModelPackageDescription"] == f"{requested.training_job}: {'x' * 2000}"[:1024]
    assert found["ApprovalDescription"] == "y" * 1024


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"training_job": "salaries-1"}, "training_job"),
        ({"training_job": "linear-learner-0123456789abcdef0123: x"}, "training_job"),
        ({"metadata": {str(number): "v" for number in range(51)}}, "metadata"),
        ({"metadata": {"k" * 129: "v"}}, "metadata"),
        ({"metadata": {"a,b": "v"}}, "metadata"),
        ({"metadata": {"": "v"}}, "metadata"),
        ({"status": "Perhaps"}, "status"),
    ],
)
def test_an_invalid_registration_is_rejected(group: str, change: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        registration(group, **change)
    assert json.loads(caught.value.json())[0]["loc"][0] == field
