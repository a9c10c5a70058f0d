"""A workspace's own tags: AWS's rules, and room for the tags of this project."""

import pytest
from pydantic import ValidationError

from aws.tags import MAX_OWN_TAGS, MAX_TAGS, PROJECT_TAGS, RESERVED_LEASES, check_tags
from aws.training.leases import LEASE_TAG_PREFIX, RUN_TAG
from aws.training.request import FINGERPRINT_TAG
from aws.training.submission import DIVERGED_TAG
from sandbox.sagemaker.api_model import ServiceError, validate
from tasks.fit import DEPLOYMENT_TAG
from tests.aws.test_workspace import workspace

OWN_KEYS = {FINGERPRINT_TAG, RUN_TAG, DEPLOYMENT_TAG, DIVERGED_TAG}


def test_there_is_room_for_every_tag_of_the_project() -> None:
    assert len(OWN_KEYS) == PROJECT_TAGS
    assert MAX_OWN_TAGS + PROJECT_TAGS + RESERVED_LEASES == MAX_TAGS


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"cost centre": "42 / a=b+c-d_e@f.g:h", "größe": "", "٣": "二"},
        {"a" * 128: "b" * 256},
        {f"tag {n}": "" for n in range(MAX_OWN_TAGS)},
        {"team": "aws:x", "my-aws:": "1", "prefect": "linear-learner:"},
    ],
)
def test_tags_that_aws_accepts_are_valid(tags: dict[str, str]) -> None:
    assert check_tags(tags) == tags
    assert workspace(tags=tags).tags == tags


@pytest.mark.parametrize(
    ("tags", "messages"),
    [
        ({f"tag {n}": "" for n in range(48)}, ["there are 48 tags: give at most 40", "AWS allows 50"]),
        ({"aws:team": "x"}, ["tag 'aws:team' begins with aws:, which AWS reserves"]),
        ({"AWS:Team": "x"}, ["tag 'AWS:Team' begins with aws:"]),
        ({"team": "a;b"}, ["the value of tag 'team' contains ';': AWS allows letters, digits, spaces and _ . :"]),
        ({"te,a;m": "x"}, ["the key of tag 'te,a;m' contains ',;'"]),
        ({"team": "a\tb\n"}, [r"the value of tag 'team' contains '\t\n'"]),
        ({"team": "😀"}, ["the value of tag 'team' contains '😀'"]),
        ({"": "x"}, ["the key of tag '' has 0 characters: AWS requires 1 to 128"]),
        ({"k" * 129: "x"}, ["has 129 characters"]),
        ({"team": "v" * 257}, ["the value of tag 'team' has 257 characters: AWS allows 256"]),
        *(({key: "x"}, [f"tag '{key}' begins with {key.partition(':')[0]}:"]) for key in sorted(OWN_KEYS)),
        ({f"{LEASE_TAG_PREFIX}x": "x"}, ["begins with linear-learner:"]),
        ({"a;": "1", "b": "2|", "aws:c": "3"}, ["tag 'a;' contains", "tag 'b' contains", "tag 'aws:c' begins"]),
    ],
    ids=lambda case: "" if isinstance(case, list) else next(iter(case))[:12],
)
def test_every_wrong_tag_is_named_with_its_rule(tags: dict[str, str], messages: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        workspace(tags=tags)
    text = str(caught.value.errors()[0]["msg"])
    assert [message for message in messages if message not in text] == []


@pytest.mark.parametrize("char", [chr(code) for code in (*range(32, 127), 160, 0x301, 0x660, 0x2028, 0x20AC)])
def test_the_accepted_characters_are_those_of_sagemaker(char: str) -> None:
    tags = {f"a{char}b": char}
    request = {"ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/x"}
    request_tags = [{"Key": key, "Value": value} for key, value in tags.items()]
    accepted = True
    try:
        validate("AddTags", {**request, "Tags": request_tags})
    except ServiceError:
        accepted = False
    try:
        check_tags(tags)
    except ValueError:
        assert not accepted
    else:
        assert accepted
