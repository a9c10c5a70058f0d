"""S3 URIs as people write them: each is understood, or explained with the form to write instead."""

import pytest
from pydantic import ValidationError

from aws.errors import InvalidRequest
from aws.s3_uri import normalize_uri
from tests.aws.test_workspace import workspace

POINT = "arn:aws:s3:us-east-1:123456789012:accesspoint/my-ap"


@pytest.mark.parametrize(
    ("source", "uri"),
    [
        ("s3://data/a/b.csv", "s3://data/a/b.csv"),
        ("S3://data/a/b.csv", "s3://data/a/b.csv"),
        ("s3a://data/a/b.csv", "s3://data/a/b.csv"),
        ("s3n://data/a/", "s3://data/a/"),
        ("s3://data/", "s3://data/"),
        ("s3://data/a@b.csv", "s3://data/a@b.csv"),
        ("s3://data//a/b 1%20.csv?x#y", "s3://data//a/b 1%20.csv?x#y"),
        ("s3://my-ap-hrzrlukc5m36ft7okagglf3gmwluquse1b-s3alias/t.csv",) * 2,
        ("s3://My_Old.Bucket/t.csv", "s3://My_Old.Bucket/t.csv"),
        ("output/table.csv", "output/table.csv"),
        ("file:///home/t.csv", "file:///home/t.csv"),
        ("/home/t.csv", "/home/t.csv"),
    ],
)
def test_a_location_is_understood(source: str, uri: str) -> None:
    assert normalize_uri(source) == uri


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (f"s3://{POINT}/table.csv", ["s3://my-ap-…-s3alias/table.csv", "get-access-point --account-id 123456789012"]),
        (f"{POINT}/object/a/table.csv", ["s3://my-ap-…-s3alias/a/table.csv", "--name my-ap"]),
        (f"s3a://{POINT.replace('arn:aws:', 'arn:aws-cn:')}/t.csv", ["s3://my-ap-…-s3alias/t.csv"]),
        (POINT.replace("/my-ap", ":my-ap"), ["s3://my-ap-…-s3alias/KEY"]),
        ("s3://arn:aws:s3-object-lambda:eu-west-1:123456789012:accesspoint/ol/t.csv", ["s3://ol-…--ol-s3/t.csv"]),
        (
            "s3://arn:aws:s3-outposts:eu-west-1:123456789012:outpost/op-01ac5d28a6a232904/accesspoint/on/t.csv",
            ["s3://on-…--op-s3/t.csv"],
        ),
        ("s3://arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap/t.csv", ["Multi-Region", "s3://BUCKET/t.csv"]),
        ("arn:aws:s3:::data/a/t.csv", ["write s3://data/a/t.csv"]),
        ("s3://arn:aws:s3:::data", ["write s3://data/KEY"]),
        ("arn:aws:iam::123456789012:role/x", ["does not name an object", "s3://BUCKET/KEY"]),
        ("arn:aws:s3", ["s3://BUCKET/KEY"]),
        ("s3://", ["names no bucket: write s3://BUCKET/KEY"]),
        ("s3:///t.csv", ["names no bucket"]),
        ("s3:/data/t.csv", ["names no bucket"]),
        ("s3://da ta/t.csv", ["names no bucket"]),
        ("s3://data", ["names no object", "s3://data/KEY"]),
        ("https://data.s3.eu-west-1.amazonaws.com/a/t%20b.csv", ["write s3://data/a/t b.csv"]),
        ("https://my.data.s3.amazonaws.com/t.csv", ["write s3://my.data/t.csv"]),
        ("https://s3.eu-west-1.amazonaws.com/data/t.csv", ["write s3://data/t.csv"]),
        ("https://data.s3.cn-north-1.amazonaws.com.cn/t.csv", ["write s3://data/t.csv"]),
        ("https://data.s3.dualstack.eu-west-1.amazonaws.com/t.csv", ["write s3://data/t.csv"]),
        ("https://[example/t.csv", ["not read over HTTP"]),
        ("https://example.org/t.csv", ["example.org is not read over HTTP", "s3://BUCKET/KEY"]),
        ("gs://data/t.csv", ["A gs: URI is not in S3", "s3://BUCKET/KEY"]),
    ],
)
def test_a_location_that_is_not_understood_is_explained_in_one_sentence(source: str, expected: list[str]) -> None:
    for locate in (normalize_uri, workspace("folder").locate):
        with pytest.raises(InvalidRequest) as caught:
            locate(source)
        assert [text for text in expected if text not in str(caught.value)] == []
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "s3a://AKIAEXAMPLE:SECRET@data/t.csv",
        "s3a://AKIAEXAMPLE:a/SECRET@data/t.csv",
        "ftp://user:SECRET@example.org/t.csv",
        "https://data.s3.amazonaws.com/t.csv?X-Amz-Signature=SECRET",
        "https://user:SECRET@example.org/t.csv",
    ],
)
def test_an_explanation_does_not_repeat_credentials(source: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        normalize_uri(source)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (POINT, "my-ap-…-s3alias"),
        (f"s3://{POINT}", "my-ap-…-s3alias"),
        ("arn:aws:s3:::data", "or data where a bucket is meant"),
        ("s3://data", "give data as the bucket"),
        ("s3://data/team/a/", "give data as the bucket, and team/a as its folder"),
        ("data/team", "give data as the bucket, and team as its folder"),
        ("my data", "'my data' is not the name of a bucket"),
    ],
)
def test_a_workspaces_bucket_is_a_name(name: str, expected: str) -> None:
    bucket = workspace().bucket.model_copy(update={"bucket_name": name})
    with pytest.raises(ValidationError) as caught:
        workspace(bucket=bucket)
    [error] = caught.value.errors()
    assert error["loc"] == ("bucket",)
    assert expected in error["msg"]
