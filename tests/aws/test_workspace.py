"""The Training Workspace block: keys and URIs, validation, saving and loading, and the secrecy of credentials."""

from typing import Any, cast

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect_aws import AwsCredentials, S3Bucket
from pydantic import SecretStr, ValidationError

from aws.errors import InvalidRequest, NotFound
from aws.workspace import Workspace, load_workspace, split_uri

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
ROLE = "arn:aws:iam::123456789012:role/training"
NEW_FIELDS = {"volume_kms_key_id", "network_isolation", "encrypt_inter_container_traffic"}


def workspace(folder: str = "", **fields: Any) -> Workspace:
    credentials = AwsCredentials(
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key=SecretStr(SECRET), region_name="eu-west-1"
    )
    bucket = S3Bucket(bucket_name="data", bucket_folder=folder, credentials=credentials)
    return Workspace(**{"bucket": bucket, "role_arn": ROLE} | fields)


@pytest.mark.parametrize(
    ("folder", "prefix", "key"),
    [
        ("", "linear-learner", "linear-learner/models/x"),
        ("team", "linear-learner", "team/linear-learner/models/x"),
        ("team/a/", "/nightly/", "team/a/nightly/models/x"),
        ("", "", "models/x"),
        ("team", "", "team/models/x"),
    ],
)
def test_keys_begin_with_the_buckets_folder_and_the_prefix(folder: str, prefix: str, key: str) -> None:
    block = workspace(folder, prefix=prefix)
    assert block.key("models", "x") == key
    assert block.uri("models", "x") == f"s3://data/{key}"
    assert split_uri(block.uri("models", "x")) == ("data", key)


@pytest.mark.parametrize(
    ("folder", "source", "uri"),
    [
        ("", "output/table.csv", "s3://data/output/table.csv"),
        ("", "/output/table.csv", "s3://data/output/table.csv"),
        ("team", "output/table.csv", "s3://data/team/output/table.csv"),
        ("team/", "table.csv", "s3://data/team/table.csv"),
        ("team", "s3://elsewhere/table.csv", "s3://elsewhere/table.csv"),
    ],
)
def test_a_source_is_a_key_in_the_buckets_folder_unless_it_is_a_uri(folder: str, source: str, uri: str) -> None:
    assert workspace(folder).locate(source) == uri


@pytest.mark.parametrize("key", ["a b", "100%", "plus+and&?x=1#part", "a//b", "ü/é"])
def test_splitting_a_uri_returns_the_original_key(key: str) -> None:
    assert split_uri(workspace().locate(key)) == ("data", key)


@pytest.mark.parametrize(
    "role", ["training", "arn:aws:iam::123:role/x", "arn:aws:iam::123456789012:user/x", "arn:aws:s3:::data", ""]
)
def test_an_invalid_role_arn_is_rejected(role: str) -> None:
    with pytest.raises(ValidationError, match="role_arn"):
        workspace(role_arn=role)


@pytest.mark.parametrize("role", [ROLE, "arn:aws-cn:iam::123456789012:role/service-role/x"])
def test_a_roles_arn_of_any_partition_is_accepted(role: str) -> None:
    assert workspace(role_arn=role).role_arn == role


def test_subnets_and_security_groups_must_be_set_together() -> None:
    for fields in ({"subnets": ["subnet-1"]}, {"security_group_ids": ["sg-1"]}):
        with pytest.raises(ValidationError, match=r"ecurity.group"):
            workspace("", **fields)


def test_clients_have_the_blocks_region_and_service() -> None:
    block = workspace()
    assert block.region == "eu-west-1"
    assert block.client("sagemaker").meta.service_model.service_name == "sagemaker"


def test_no_representation_contains_the_secret() -> None:
    block = workspace()
    assert all(
        SECRET not in text for text in (repr(block), str(block), str(block.model_dump()), block.model_dump_json())
    )


@pytest.mark.usefixtures("prefect_server")
def test_a_saved_workspace_loads_with_its_nested_blocks_and_its_secret() -> None:
    block = workspace("team", prefix="nightly", subnets=["subnet-1"], security_group_ids=["sg-1"], tags={"cost": "7"})
    block.save("saved-workspace")
    loaded = load_workspace("saved-workspace")
    fields = ("role_arn", "prefix", "subnets", "security_group_ids", "kms_key_id", "tags")
    assert [getattr(loaded, name) for name in fields] == [getattr(block, name) for name in fields]
    assert loaded.uri("x") == "s3://data/team/nightly/x"
    assert cast("Any", loaded.bucket.credentials).aws_secret_access_key.get_secret_value() == SECRET
    assert SECRET not in repr(loaded)


@pytest.mark.usefixtures("prefect_server")
def test_a_workspace_uses_the_current_values_of_its_saved_blocks() -> None:
    block = workspace()
    block.bucket.credentials.save("saved-credentials")
    bucket = S3Bucket(bucket_name="data", credentials=AwsCredentials.load("saved-credentials"))
    bucket.save("saved-bucket")
    Workspace(bucket=S3Bucket.load("saved-bucket"), role_arn=ROLE).save("on-saved-blocks")
    changed: Any = AwsCredentials.load("saved-credentials")
    changed.region_name = "us-east-2"
    changed.save("saved-credentials", overwrite=True)
    assert load_workspace("on-saved-blocks").region == "us-east-2"


@pytest.mark.usefixtures("prefect_server")
def test_an_unknown_name_raises_not_found_with_a_remedy() -> None:
    with pytest.raises(NotFound, match=r"'nobodys-workspace'.*UI"):
        load_workspace("nobodys-workspace")


@pytest.mark.usefixtures("prefect_server")
def test_a_block_that_was_saved_before_a_field_was_added_loads_unchanged() -> None:
    workspace("team", kms_key_id="1234", tags={"cost": "7"}).save("older-workspace")
    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name("older-workspace", "training-workspace", include_secrets=True)
        data = {name: value for name, value in document.data.items() if name not in NEW_FIELDS}
        client.update_block_document(document.id, BlockDocumentUpdate(data=data, merge_existing_data=False))
        assert not NEW_FIELDS & set(client.read_block_document(document.id).data)
    loaded = load_workspace("older-workspace")
    assert (loaded.kms_key_id, loaded.tags, loaded.bucket.bucket_folder) == ("1234", {"cost": "7"}, "team")
    added = (loaded.volume_kms_key_id, loaded.network_isolation, loaded.encrypt_inter_container_traffic)
    assert added == (None, False, False)


@pytest.mark.usefixtures("prefect_server")
def test_a_saved_block_with_wrong_tags_is_rejected_with_every_tag_and_its_rule() -> None:
    block = workspace()
    block.tags = {"a;": "1", "aws:b": "2"}  # as the form of Prefect's UI saves it: the server runs no validators
    block.save("wrong-tags")
    with pytest.raises(
        InvalidRequest, match=r"^Correct .*'wrong-tags'.*: tags: the key of tag 'a;'.*; .*'aws:b' begins"
    ):
        load_workspace("wrong-tags")
