"""A sandbox is reached directly, whatever proxy the environment sets."""

import os
import subprocess
import sys

import httpx
import pytest

from aws.workspace import Workspace
from sandbox.client import bypass_proxies_on_loopback

CLOSED = "http://127.0.0.1:9"


@pytest.fixture
def _proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name in ("HTTP_PROXY", "https_proxy", "ALL_PROXY", "NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, CLOSED)  # restored after the test
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("_proxies")
def test_the_block_of_the_sandbox_needs_no_environment_variable(workspace: Workspace) -> None:
    assert workspace.client("s3").head_bucket(Bucket=workspace.bucket.bucket_name)
    assert workspace.client("sts").get_caller_identity()["Arn"]


@pytest.mark.usefixtures("_proxies")
def test_every_client_of_this_process_and_its_children_bypasses_the_proxy(sandbox_url: str) -> None:
    bypass_proxies_on_loopback()
    assert httpx.get(f"{sandbox_url}/_sandbox").is_success
    script = f"import urllib.request; print(urllib.request.urlopen('{sandbox_url}/_sandbox').status)"
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert child.stdout == "200\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "a.example, b.example"}, "a.example,b.example,127.0.0.1,localhost,::1"),
        ({"no_proxy": "localhost"}, "localhost,127.0.0.1,::1"),
        ({"no_proxy": "*"}, None),
    ],
)
@pytest.mark.usefixtures("_proxies")
def test_hosts_that_already_bypass_the_proxy_remain(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, str], after: str | None
) -> None:
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    bypass_proxies_on_loopback()
    if after is None:
        assert (os.environ["no_proxy"], os.environ.get("NO_PROXY")) == ("*", None)
    else:
        assert (os.environ["no_proxy"], os.environ["NO_PROXY"]) == (after, after)


def test_without_a_proxy_the_environment_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    before = dict(os.environ)
    bypass_proxies_on_loopback()
    assert dict(os.environ) == before
