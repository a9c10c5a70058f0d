"""Clients made from an AWS Credentials block, whose keys remain valid for as long as a run lasts.

botocore renews the keys of a role to assume, and those of its chain (environment, profile, SSO, web identity,
container, instance), before they expire. If AWS rejects them nevertheless, they are read again from their source, such
as the file of a profile, which may contain new keys by then, and the call is repeated once. This happens inside the
clients, which threads may share. Keys that are stored in the block cannot be renewed; a block that is loaded again with
other keys has other clients.
"""

import hashlib
import logging
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, Final, cast

import boto3
import botocore.session
from botocore.credentials import Credentials, ReadOnlyCredentials, RefreshableCredentials
from botocore.exceptions import BotoCoreError, CredentialRetrievalError, NoCredentialsError
from prefect_aws import AwsCredentials

from aws.error_catalogue import read_catalogue

MAX_BLOCKS: Final = 16
"""Number of blocks whose clients a process keeps."""
REJECTED_KEYS: Final = {"expired_credentials", "wrong_keys", "unexplained"}
"""Diagnoses of responses after which keys are read again; S3's response to a HEAD with expired keys is only `400`."""

_factories: dict[str, "_ClientFactory"] = {}
"""By a hash of the block's content, secrets included; the most recently used is the last."""
_lock = threading.Lock()


def get_client(block: AwsCredentials, service: str) -> Any:
    """Return the client of a service for this content of the block; it is created once per process."""
    key = _hash_content(block)
    with _lock:  # a boto3 session must not create two clients at the same time
        factory = _factories.pop(key, None) or _ClientFactory(block)
        client = factory.client(service)  # after an error, such as a missing profile, the next call starts anew
        _factories[key] = factory
        if len(_factories) > MAX_BLOCKS:
            del _factories[next(iter(_factories))]
    return client


def _hash_content(block: AwsCredentials) -> str:
    content = {name: getattr(block, name) for name in type(block).model_fields}
    return hashlib.sha256(repr(content | _stored_keys(block)).encode()).hexdigest()


def _stored_keys(block: AwsCredentials) -> dict[str, Any]:
    """The keys in the block, as arguments of a boto3 session; None for those that are missing or empty."""
    secret = block.aws_secret_access_key
    return {
        "aws_access_key_id": block.aws_access_key_id or None,
        "aws_secret_access_key": (secret and secret.get_secret_value()) or None,
        "aws_session_token": block.aws_session_token or None,
    }


class _ClientFactory:
    """Creates the clients of one block, each of them once."""

    def __init__(self, block: AwsCredentials) -> None:
        self._parameters = block.aws_client_parameters.get_params_override()
        if block.region_name is not None:
            self._parameters["region_name"] = block.region_name
        self._clients: dict[str, Any] = {}
        self._session: Any = _make_session(block)  # boto3's annotations require literal names of services
        if block.assume_role_arn:
            sts, name = self.client("sts"), f"prefect-session-{uuid.uuid4().hex[:8]}"
            request = {"RoleSessionName": name, **block.assume_role_kwargs.get_params_override()}
            request["RoleArn"] = block.assume_role_arn
            self._session = _new_session(block, partial(_make_role_credentials, sts, request))
            self._clients = {}

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._session.client(service, **self._parameters)
        return self._clients[service]


def _make_session(block: AwsCredentials) -> boto3.Session:
    """A session with the block's keys, or with those of botocore's chain."""
    if any((keys := _stored_keys(block)).values()):
        return _new_session(block, **keys)
    # A new session reads the environment and the files again.
    return _new_session(block, lambda: _new_session(block).get_credentials())


def _new_session(
    block: AwsCredentials, read: Callable[[], Credentials | None] | None = None, **keys: Any
) -> boto3.Session:
    """A session with the keys that `read` returns, with the given keys, or with those of botocore's chain."""
    session = botocore.session.get_session()
    session.register_component("data_loader", _data_loader())
    if read:
        credentials = _RenewableCredentials(read)
        session.register_component("credential_provider", credentials)
        # botocore-stubs annotates handlers without arguments.
        session.register("needs-retry", cast("Any", credentials.retry_if_rejected))
    return boto3.Session(
        botocore_session=session, profile_name=block.profile_name, region_name=block.region_name, **keys
    )


@cache
def _data_loader() -> Any:
    """The descriptions of AWS's services and endpoints, which take 70 ms to load: shared by all sessions."""
    return botocore.session.get_session().get_component("data_loader")


def _make_role_credentials(sts: Any, request: dict[str, Any]) -> RefreshableCredentials:
    """Assume a role. botocore renews the keys in the last quarter of their lifetime, at most 15 minutes before its end.

    With botocore's default, 15 minutes for any lifetime, each call would renew keys that are valid for 15 minutes.
    """
    assume = partial(_assume_role, sts, request)
    keys = assume()
    seconds = int((datetime.fromisoformat(keys["expiry_time"]) - datetime.now(UTC)).total_seconds())
    return RefreshableCredentials.create_from_metadata(
        keys, assume, "assume-role", advisory_timeout=min(900, seconds // 4), mandatory_timeout=min(600, seconds // 6)
    )


def _assume_role(sts: Any, request: dict[str, Any]) -> dict[str, str]:
    keys = sts.assume_role(**request)["Credentials"]
    return {
        "access_key": keys["AccessKeyId"],
        "secret_key": keys["SecretAccessKey"],
        "token": keys["SessionToken"],
        "expiry_time": keys["Expiration"].isoformat(),
    }


class _RenewableCredentials(Credentials):
    """Credentials that are read from their source when they are first used, and again after AWS has rejected them."""

    method = "workspace"

    def __init__(self, read: Callable[[], Credentials | None]) -> None:
        self._read = read
        self._credentials: Credentials | None = None
        self._lock = threading.Lock()

    def load_credentials(self) -> "_RenewableCredentials":
        """Return these credentials: botocore's interface of a chain of sources."""
        return self

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Return valid keys; raises errors of botocore, such as NoCredentialsError, if there are none."""
        try:
            with self._lock:
                credentials = self._credentials = self._credentials or self._read()
            if credentials is None:
                raise NoCredentialsError
            return credentials.get_frozen_credentials()
        except BotoCoreError:  # some, such as timeouts, are OSErrors as well
            raise
        except (OSError, RuntimeError) as error:  # such as a missing token file, or new keys that have expired already
            raise CredentialRetrievalError(provider=self.method, error_msg=str(error)) from error

    def __getattr__(self, name: str) -> Any:
        if name in ReadOnlyCredentials._fields:
            return getattr(self.get_frozen_credentials(), name)
        raise AttributeError(name)

    def retry_if_rejected(self, response: Any, request_dict: dict[str, Any], **_: Any) -> int | None:
        """Handle botocore's event `needs-retry`: return 0, to repeat the call at once, if AWS rejected the keys."""
        code = response[1].get("Error", {}).get("Code") if response else None
        context = request_dict["context"]
        rejected = code is not None and read_catalogue().by_code.get(code) in REJECTED_KEYS
        if not rejected or "keys_read_again" in context:
            return None
        context["keys_read_again"] = True
        with self._lock:
            self._credentials = None
        return 0


class _ErrorInsteadOfTraceback(logging.Filter):
    """Shortens botocore's warning that keys were not renewed, which has a traceback, to one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            record.msg, record.args = f"{record.getMessage()} {record.exc_info[1]}", ()
            record.exc_info = None
        return True


logging.getLogger("botocore.credentials").addFilter(_ErrorInsteadOfTraceback())
