"""Requests to an endpoint: answers, and the errors of its container."""

import json
from collections.abc import Callable

import pytest

from aws.endpoints.invocation import invocations, invoke
from aws.endpoints.specification import EndpointSpec
from aws.endpoints.state import EndpointState
from aws.errors import EndpointError, NotFound
from aws.workspace import Workspace

pytestmark = pytest.mark.sandbox

Deploy = Callable[..., EndpointState]
MakeSpec = Callable[..., EndpointSpec]


def test_an_endpoint_answers_and_explains_what_it_does_not_accept(
    workspace: Workspace, make_spec: MakeSpec, deploy: Deploy, endpoint: str
) -> None:
    deploy(make_spec(3.0))
    answer = json.loads(invoke(workspace, endpoint, b"1\n2\n", "text/csv"))
    assert [one["score"] for one in answer["predictions"]] == [3, 6]
    with pytest.raises(EndpointError, match=r"answered with status 4\d\d: .*Correct the request\.$") as caught:
        invoke(workspace, endpoint, b"x,y,z\n", "text/csv")
    assert 400 <= caught.value.status < 500
    assert caught.value.code == "ModelError"
    assert not caught.value.retryable
    assert invocations(workspace, endpoint, 1) == 2


def test_an_endpoint_without_requests_has_none(workspace: Workspace, endpoint: str) -> None:
    assert invocations(workspace, endpoint, 14) == 0


def test_a_missing_endpoint_is_not_found(workspace: Workspace, endpoint: str) -> None:
    with pytest.raises(NotFound, match=endpoint):
        invoke(workspace, endpoint, b"1\n", "text/csv")
