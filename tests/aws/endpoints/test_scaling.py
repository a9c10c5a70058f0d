"""Scaling of an endpoint's instances: registered, changed, read back and ended; kept in an update."""

from collections.abc import Callable

import pytest

from aws.endpoints.scaling import Scaling, apply_scaling, describe_scaling, remove_scaling
from aws.endpoints.settings import Hosting
from aws.endpoints.specification import EndpointSpec
from aws.endpoints.state import EndpointState, describe_served
from aws.workspace import Workspace
from tests.aws.endpoints.conftest import wait_until_settled

pytestmark = pytest.mark.sandbox

Deploy = Callable[..., EndpointState]
MakeSpec = Callable[..., EndpointSpec]


def test_scaling_is_applied_changed_and_ended(workspace: Workspace, endpoint: str) -> None:
    assert describe_scaling(workspace, endpoint) is None
    assert remove_scaling(workspace, endpoint) is False
    for most, requests in ((4, 600), (6, 50)):
        hosting = Hosting(min_instances=2, max_instances=most, requests_per_instance=requests)
        for _ in range(2):
            apply_scaling(workspace, endpoint, hosting)
            found = describe_scaling(workspace, endpoint)
            assert found == Scaling(min_instances=2, max_instances=most, requests_per_instance=requests)
    assert describe_scaling(workspace, f"{endpoint}-b") is None
    apply_scaling(workspace, endpoint, Hosting())
    assert describe_scaling(workspace, endpoint) is None
    apply_scaling(workspace, endpoint, Hosting(min_instances=2, max_instances=4))
    assert remove_scaling(workspace, endpoint) is True
    assert remove_scaling(workspace, endpoint) is False


def test_a_scaled_endpoint_keeps_its_instances_in_an_update_and_its_scaling_is_read_back(
    workspace: Workspace, make_spec: MakeSpec, deploy: Deploy, endpoint: str
) -> None:
    hosting = Hosting(max_instances=5, requests_per_instance=70)
    old, new = (make_spec(slope, **hosting.model_dump(exclude_unset=True)) for slope in (1.0, 2.0))
    assert deploy(old).instances == 1
    apply_scaling(workspace, endpoint, hosting)
    assert describe_served(workspace, old.config_name).hosting == hosting
    workspace.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName=endpoint,
        DesiredWeightsAndCapacities=[{"VariantName": "main", "DesiredInstanceCount": 3}],
    )
    scaled = wait_until_settled(workspace, endpoint)
    assert scaled
    assert scaled.instances == 3
    assert deploy(new).instances == 3
    fixed = make_spec(3.0, min_instances=2)
    assert deploy(fixed).instances == 2
