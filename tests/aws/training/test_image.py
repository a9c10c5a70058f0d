"""The image of each region is the one the SageMaker SDK names."""

import pytest

from aws.errors import InvalidRequest
from aws.training.request import image_uri


def test_every_region_of_the_sdks_table_has_the_image_the_sdk_names() -> None:
    from sagemaker.core import image_uris

    versions = image_uris.config_for_framework("linear-learner")["versions"]
    regions = {region for version in versions.values() for region in version["registries"]}
    assert len(regions) > 20
    assert {region: image_uri(region) for region in regions} == {
        region: image_uris.retrieve("linear-learner", region) for region in regions
    }


def test_a_region_without_the_algorithm_is_refused_and_those_with_it_are_named() -> None:
    with pytest.raises(InvalidRequest, match=r"'mars-north-1'.*eu-west-1.*us-east-1"):
        image_uri("mars-north-1")
