"""The workspace of a run, if the sandbox that it points to is running."""

import socket
from typing import Any, cast
from urllib.parse import urlsplit

from aws.errors import Unavailable
from aws.workspace import Workspace, load_workspace

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def load_running_workspace(name: str) -> Workspace:
    """Return the saved block; raises Unavailable at once, without retries, when nothing listens on its loopback URL."""
    block = load_workspace(name)
    endpoint = cast("Any", block.bucket.credentials).aws_client_parameters.endpoint_url or ""
    url = urlsplit(endpoint)
    if url.hostname in LOOPBACK:
        try:
            socket.create_connection((url.hostname, url.port or 80), timeout=1).close()
        except OSError as error:
            raise Unavailable(
                f"Workspace {name!r} points to a sandbox at {endpoint}, which is not running. Start it with "
                "`python -m sandbox`, which also saves the workspace 'sandbox' with its address."
            ) from error
    return block
