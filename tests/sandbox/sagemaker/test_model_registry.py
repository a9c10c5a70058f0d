"""Model Registry calls: groups, versions, their order and pages, and rejected requests."""

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.faults import Faults
from sandbox.sagemaker.api_model import ServiceError
from sandbox.sagemaker.model_registry import ModelRegistry
from sandbox.sagemaker.service import SageMaker
from sandbox.sagemaker.training_jobs import TrainingJobs

ARN = "arn:aws:sagemaker:us-east-1:123456789012"
IMAGE = "382416733822.dkr.ecr.us-east-1.amazonaws.com/linear-learner:1"
BOTH = "Both ModelPackageName and ModelPackageGroupName are provided in the input. Cannot determine which one to use."


def inference(model: str = "model") -> dict[str, Any]:
    return {
        "Containers": [{"Image": IMAGE, "ModelDataUrl": f"s3://bucket/{model}.tar.gz"}],
        "SupportedContentTypes": ["text/csv"],
        "SupportedResponseMIMETypes": ["application/json"],
    }


def add(user: Any, group: str, model: str = "model", **fields: Any) -> str:
    response = user.sagemaker.create_model_package(
        ModelPackageGroupName=group, InferenceSpecification=inference(model), **fields
    )
    arn: str = response["ModelPackageArn"]
    return arn


def described(user: Any, name: str) -> dict[str, Any]:
    package: dict[str, Any] = user.sagemaker.describe_model_package(ModelPackageName=name)
    del package["ResponseMetadata"]
    return package


def versions(user: Any, group: str | None, **arguments: Any) -> list[int]:
    named = {"ModelPackageGroupName": group} if group else {}
    pages = user.sagemaker.get_paginator("list_model_packages").paginate(**named, **arguments)
    return [summary["ModelPackageVersion"] for page in pages for summary in page["ModelPackageSummaryList"]]


def groups(user: Any, **arguments: Any) -> list[str]:
    pages = user.sagemaker.get_paginator("list_model_package_groups").paginate(**arguments)
    return [summary["ModelPackageGroupName"] for page in pages for summary in page["ModelPackageGroupSummaryList"]]


def rejection(call: Callable[..., Any], **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def sagemaker(folder: Path) -> Any:
    jobs = TrainingJobs(folder / "jobs", lambda _: None, lambda _: None, Faults())
    return SageMaker(jobs, ModelRegistry(folder / "registry"))


@pytest.fixture
def group(user: Any) -> str:
    """A new group."""
    name = f"group-{uuid.uuid4().hex}"
    user.sagemaker.create_model_package_group(ModelPackageGroupName=name)
    return name


def test_a_group_is_described_by_name_or_arn(user: Any) -> None:
    created = user.sagemaker.create_model_package_group(
        ModelPackageGroupName="salaries", ModelPackageGroupDescription="Monthly, before tax (€)"
    )
    assert created["ModelPackageGroupArn"] == f"{ARN}:model-package-group/salaries"
    for name in ("salaries", created["ModelPackageGroupArn"]):
        found = user.sagemaker.describe_model_package_group(ModelPackageGroupName=name)
        assert found["ModelPackageGroupDescription"] == "Monthly, before tax (€)"
        assert (found["ModelPackageGroupName"], found["ModelPackageGroupStatus"]) == ("salaries", "Completed")


def test_a_group_name_is_unique(user: Any, group: str) -> None:
    add(user, group)
    code, message = rejection(user.sagemaker.create_model_package_group, ModelPackageGroupName=group)
    assert (code, message.partition(":")[0]) == ("ValidationException", "Model Package Group already exists")
    assert versions(user, group) == [1]


def test_calls_on_missing_groups_and_versions_are_rejected(user: Any, group: str) -> None:
    missing, unknown = f"{ARN}:model-package/{group}/7", f"{ARN}:model-package-group/missing"
    client = user.sagemaker
    for call in (client.describe_model_package, client.delete_model_package):
        for name in (missing, f"{group}/7"):
            expected = ("ValidationException", f"ModelPackage {missing} does not exist.")
            assert rejection(call, ModelPackageName=name) == expected
    for call in (
        client.describe_model_package_group,
        client.delete_model_package_group,
        client.list_model_packages,
        client.create_model_package,
    ):
        expected = ("ValidationException", f"ModelPackageGroup {unknown} does not exist.")
        assert rejection(call, ModelPackageGroupName="missing") == expected


def test_a_version_is_described_as_it_was_created(user: Any, group: str) -> None:
    given = {
        "ModelPackageDescription": "The first one",
        "InferenceSpecification": inference(),
        "ModelApprovalStatus": "Approved",
        "MetadataProperties": {"GeneratedBy": f"{ARN}:training-job/one"},
        "ModelMetrics": {"ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": "s3://b/m.json"}}},
        "CustomerMetadataProperties": {"verdict": "accepted"},
    }
    arn = user.sagemaker.create_model_package(ModelPackageGroupName=f"{ARN}:model-package-group/{group}", **given)
    assert arn["ModelPackageArn"] == f"{ARN}:model-package/{group}/1"
    for name in (arn["ModelPackageArn"], f"{group}/1"):
        package = described(user, name)
        assert {field: package[field] for field in given} == given
        assert (package["ModelPackageGroupName"], package["ModelPackageVersion"]) == (group, 1)
        assert package["ModelPackageStatus"] == "Completed"
        assert package["CreationTime"] == package["LastModifiedTime"]


def test_a_new_version_is_pending_approval_by_default(user: Any, group: str) -> None:
    assert described(user, add(user, group))["ModelApprovalStatus"] == "PendingManualApproval"


def test_version_numbers_increase_and_are_not_reused(user: Any, group: str) -> None:
    arns = [add(user, group) for _ in range(3)]
    for arn in arns[1:]:
        user.sagemaker.delete_model_package(ModelPackageName=arn)
    assert add(user, group).endswith("/4")
    assert versions(user, group) == [1, 4]


def test_concurrent_calls_create_one_version_each(user: Any, group: str) -> None:
    assert user.sagemaker  # created here: clients must not be created concurrently
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda number: add(user, group, str(number)), range(24)))
    assert sorted(created) == sorted(f"{ARN}:model-package/{group}/{version}" for version in range(1, 25))
    uris = [described(user, arn)["InferenceSpecification"]["Containers"][0]["ModelDataUrl"] for arn in created]
    assert uris == [f"s3://bucket/{number}.tar.gz" for number in range(24)]


def test_concurrent_calls_with_one_client_token_create_one_version(user: Any, group: str) -> None:
    assert user.sagemaker
    with ThreadPoolExecutor(8) as pool:
        created = set(pool.map(lambda _: add(user, group, ClientToken="same"), range(16)))
    assert created == {f"{ARN}:model-package/{group}/1"}
    assert add(user, group, ClientToken="other").endswith("/2")
    assert add(user, group).endswith("/3")


def test_a_client_token_of_another_request_is_rejected(user: Any, group: str) -> None:
    add(user, group, ClientToken="used")
    with pytest.raises(user.sagemaker.exceptions.ConflictException, match="used was used with other parameters"):
        add(user, group, "another", ClientToken="used")
    assert versions(user, group) == [1]


def test_the_client_token_of_a_deleted_version_can_be_reused(user: Any, group: str) -> None:
    user.sagemaker.delete_model_package(ModelPackageName=add(user, group, ClientToken="again"))
    assert add(user, group, ClientToken="again").endswith("/2")


def test_an_update_changes_only_the_given_fields(user: Any, group: str) -> None:
    arn = add(user, group, ModelPackageDescription="d", CustomerMetadataProperties={"a": "1", "b": "2"})
    before = described(user, arn)
    user.sagemaker.update_model_package(
        ModelPackageArn=arn, ModelApprovalStatus="Rejected", ApprovalDescription="worse than the mean"
    )
    after = described(user, arn)
    changed = {"ModelApprovalStatus": "Rejected", "ApprovalDescription": "worse than the mean"}
    assert after == before | changed | {"LastModifiedTime": after["LastModifiedTime"]}
    user.sagemaker.update_model_package(
        ModelPackageArn=arn, CustomerMetadataProperties={"b": "3", "c": "4"}, CustomerMetadataPropertiesToRemove=["a"]
    )
    last = described(user, arn)
    assert last["CustomerMetadataProperties"] == {"b": "3", "c": "4"}
    assert last["ModelApprovalStatus"] == "Rejected"


def test_metadata_is_limited_to_fifty_properties(user: Any, group: str) -> None:
    arn = add(user, group, CustomerMetadataProperties={f"key-{number}": "v" for number in range(50)})
    update = user.sagemaker.update_model_package
    code, message = rejection(update, ModelPackageArn=arn, CustomerMetadataProperties={"another": "v"})
    assert (code, "at most 50" in message) == ("ValidationException", True)
    update(
        ModelPackageArn=arn, CustomerMetadataProperties={"another": "v"}, CustomerMetadataPropertiesToRemove=["key-0"]
    )
    assert len(described(user, arn)["CustomerMetadataProperties"]) == 50


@pytest.mark.parametrize("value", ["a,b", "f(x)", "5 %", "two\nlines", "v" * 257, "“quoted”", "e\u0301"])
def test_invalid_metadata_is_rejected(user: Any, group: str, value: str) -> None:
    code, message = rejection(add, user=user, group=group, CustomerMetadataProperties={"verdict": value})
    assert code == "ValidationException"
    assert "at 'customerMetadataProperties.verdict.member' failed to satisfy constraint: Member must " in message
    assert versions(user, group) == []


@pytest.mark.parametrize("value", ["v" * 256, "ß.é:7/=+-@_", "½ \u00a0 ²", "名前"])
def test_metadata_in_any_script_is_accepted(user: Any, group: str, value: str) -> None:
    arn = add(user, group, CustomerMetadataProperties={value[:128]: value})
    assert described(user, arn)["CustomerMetadataProperties"] == {value[:128]: value}


def test_descriptions_may_contain_symbols_but_no_line_breaks(user: Any, group: str) -> None:
    add(user, group, ModelPackageDescription="MAE 3.1 € (±5 %), “better” than the mean: e\u0301!")
    assert rejection(add, user=user, group=group, ModelPackageDescription="a\nb")[0] == "ValidationException"


@pytest.mark.parametrize(
    ("request_", "part"),
    [
        ({"ModelPackageName": "alone"}, "versioned model packages only: give a ModelPackageGroupName"),
        ({"ModelPackageName": "alone", "ModelPackageGroupName": "both"}, BOTH),
        (
            {"ModelPackageGroupName": "any", "Tags": [{"Key": "a", "Value": "b"}]},
            "cannot have tags; tag its model package group",
        ),
        ({"ModelPackageGroupName": "any", "ClientToken": "in_valid"}, "at 'clientToken' failed to satisfy"),
        ({"ModelPackageGroupName": "any", "ModelApprovalStatus": "Unknown"}, "satisfy enum value set: [Approved, "),
    ],
)
def test_an_invalid_request_for_a_version_is_rejected(user: Any, request_: dict[str, Any], part: str) -> None:
    code, message = rejection(user.sagemaker.create_model_package, **request_)
    assert code == "ValidationException"
    assert part in message


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_versions_are_listed_in_order_and_in_pages(user: Any, group: str, size: int) -> None:
    for status in ("Approved", "Rejected", "Approved", "PendingManualApproval", "Approved"):
        add(user, group, ModelApprovalStatus=status)
    config = {"PageSize": size}
    for sort_by in ("Name", "CreationTime"):
        assert versions(user, group, SortBy=sort_by, PaginationConfig=config) == [1, 2, 3, 4, 5]
    assert versions(user, group, SortOrder="Descending", PaginationConfig=config) == [5, 4, 3, 2, 1]
    approved = {"ModelApprovalStatus": "Approved", "SortOrder": "Descending"}
    assert versions(user, group, **approved, PaginationConfig=config) == [5, 3, 1]


def test_versions_are_listed_by_name_time_and_type(user: Any, group: str) -> None:
    first = described(user, add(user, group))["CreationTime"]
    while described(user, add(user, group))["CreationTime"] == first:
        pass
    newer = versions(user, group, CreationTimeAfter=first)
    assert newer
    assert 1 not in newer
    assert versions(user, group, CreationTimeBefore=first) == []
    assert versions(user, group, ModelPackageType="Unversioned") == versions(user, None) == []
    assert versions(user, None, ModelPackageType="Versioned", NameContains=group) == versions(user, group)
    assert versions(user, group, NameContains="missing") == []


def test_a_summary_contains_the_description_but_no_metadata(user: Any, group: str) -> None:
    add(user, group, ModelPackageDescription="a description", CustomerMetadataProperties={"a": "1"})
    [summary] = user.sagemaker.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]
    package = described(user, f"{group}/1")
    assert summary == {field: package[field] for field in summary}
    assert summary["ModelPackageDescription"] == "a description"
    assert "CustomerMetadataProperties" not in summary


def test_groups_are_listed_in_order_in_pages_and_by_name(user: Any) -> None:
    created = ["paged-c", "paged-a", "paged-b"]
    for name in created:
        user.sagemaker.create_model_package_group(ModelPackageGroupName=name)
    for size in (1, 2, 100):
        chosen = {"NameContains": "paged-", "PaginationConfig": {"PageSize": size}}
        assert groups(user, SortBy="Name", **chosen) == sorted(created)
        assert groups(user, SortBy="Name", SortOrder="Descending", **chosen) == sorted(created)[::-1]
    assert set(groups(user)) >= set(created)


@pytest.mark.parametrize("token", ["invalid", "5", '["a"]', '{"a": 1}'])
def test_an_invalid_next_token_is_rejected(user: Any, group: str, token: str) -> None:
    add(user, group)
    assert rejection(user.sagemaker.list_model_packages, ModelPackageGroupName=group, NextToken=token) == (
        "ValidationException",
        "Invalid NextToken.",
    )


def test_only_an_empty_group_can_be_deleted(user: Any, group: str) -> None:
    arn = add(user, group)
    with pytest.raises(user.sagemaker.exceptions.ConflictException, match="still has model packages"):
        user.sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    user.sagemaker.delete_model_package(ModelPackageName=arn)
    user.sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    assert group not in groups(user)
    assert rejection(user.sagemaker.list_model_packages, ModelPackageGroupName=group)[0] == "ValidationException"


def test_tags_of_a_group_can_be_added_listed_and_deleted(user: Any) -> None:
    tags = [{"Key": "team", "Value": "blue"}, {"Key": "cost", "Value": "7"}]
    client = user.sagemaker
    created = client.create_model_package_group(ModelPackageGroupName="tagged", Tags=tags)
    arn = created["ModelPackageGroupArn"]
    assert client.list_tags(ResourceArn=arn)["Tags"] == tags
    client.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "red"}])
    client.delete_tags(ResourceArn=arn, TagKeys=["cost"])
    assert client.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "red"}]
    assert "Tags" not in client.describe_model_package_group(ModelPackageGroupName="tagged")
    assert "tags" in rejection(client.list_tags, ResourceArn=add(user, "tagged"))[1]
    unknown = f"{ARN}:model-package-group/missing"
    assert "does not exist" in rejection(client.list_tags, ResourceArn=unknown)[1]


def test_invalid_tags_are_rejected(user: Any) -> None:
    tag = {"Key": "note", "Value": "with a comma, which is invalid"}
    code, message = rejection(
        user.sagemaker.create_model_package_group, ModelPackageGroupName="badly-tagged", Tags=[tag]
    )
    assert code == "ValidationException"
    assert "at 'tags.1.member.value' failed to satisfy constraint" in message


def test_a_damaged_group_is_reported_and_the_others_are_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sagemaker(tmp_path).handle("CreateModelPackageGroup", {"ModelPackageGroupName": "sound"})
    damaged = tmp_path / "registry" / "damaged.json"
    damaged.write_text("{")
    summaries = sagemaker(tmp_path).handle("ListModelPackageGroups", {})["ModelPackageGroupSummaryList"]
    assert [summary["ModelPackageGroupName"] for summary in summaries] == ["sound"]
    assert str(damaged) in capsys.readouterr().err


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
GROUP_CALLS = ["CreateModelPackage", "CreateModelPackageGroup", "DescribeModelPackageGroup", "ListModelPackages"]
FIELDS = ["ModelPackageGroupName", "ModelPackageName", "ClientToken", "NextToken", "CustomerMetadataProperties", "Tags"]


@settings(max_examples=60)
@given(action=st.sampled_from(GROUP_CALLS), field=st.sampled_from(FIELDS), value=json_values)
def test_any_request_returns_a_response_or_a_service_error(
    tmp_path_factory: Any, action: str, field: str, value: Any
) -> None:
    registry = sagemaker(tmp_path_factory.mktemp("state"))
    registry.handle("CreateModelPackageGroup", {"ModelPackageGroupName": "any"})
    with suppress(ServiceError):
        assert json.dumps(registry.handle(action, {"ModelPackageGroupName": "any", field: value}))
