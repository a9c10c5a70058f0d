"""Which settings an update of an endpoint keeps, and the name of the endpoint."""

from typing import Any

import pytest

from aws.endpoints.settings import Hosting
from tasks.serving.parameters import Deployment
from tasks.serving.plan import keep_settings

pytestmark = pytest.mark.unit

PRESENT = Hosting(instance_type="ml.c5.xlarge", min_instances=2, max_instances=4, capture_percent=20)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"capture_percent": 0}, {"capture_percent": 0}),
        ({"min_instances": 1, "max_instances": None}, {"min_instances": 1, "max_instances": None}),
        (Hosting().model_dump(), {}),
        (Hosting(capture_percent=50).model_dump(), {"capture_percent": 50}),
    ],
    ids=["nothing", "a default", "no scaling", "an unchanged form", "a changed form"],
)
def test_settings_that_are_not_given_stay(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert keep_settings(Hosting(**given), PRESENT) == PRESENT.model_copy(update=expected)


@pytest.mark.parametrize(
    ("model", "endpoint", "name"),
    [
        ("linear-learner-pay", None, "linear-learner-pay"),
        ("linear-learner-pay/3", None, "linear-learner-pay"),
        ("arn:aws:sagemaker:eu-west-1:123456789012:model-package/pay/3", None, "pay"),
        ("linear-learner-pay", "other", "other"),
        ("s3://my-bucket/models/run.json", None, None),
        ("/home/me/models/run.json", None, None),
        ("models/pay/run.json", None, None),
        ("models/pay", None, None),
        ("models/pay/run.json", "pay", "pay"),
    ],
)
def test_an_endpoint_has_the_name_of_the_group_unless_another_is_given(
    model: str, endpoint: str | None, name: str | None
) -> None:
    assert Deployment(model=model, endpoint=endpoint).endpoint_name == name
