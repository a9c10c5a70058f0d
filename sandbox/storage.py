"""moto, the emulator of S3, IAM, STS, KMS, CloudWatch and its logs, and the storage of its S3 objects on disk."""

import hashlib
import io
import json
import re
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

from moto.core.request import PRESERVED_HEADER_NAMES_ENVIRON_KEY, environ_key_for_header
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.datastructures import EnvironHeaders, Headers
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Response
from werkzeug.wsgi import get_input_stream

from sandbox.account import ACCOUNT, REGION
from sandbox.bucket_policy import denies_write, without_conditions

SIGNATURE_SCOPE = re.compile(r"\d{8}(?:/|%2F)[\w-]+(?:/|%2F)(?P<service>[\w-]+)(?:/|%2F)aws4_request", re.IGNORECASE)
"""The scope of a request's signature, in its header or in its presigned URL."""
SINGLE_APPLICATION_SERVICES = ("s3", "logs", "iam", "sts", "kms", "monitoring")
"""Services whose signed requests one moto application handles, except S3 Control's, which have their own path."""


class Emulator:
    """A moto with empty state. The state is global to the process: a new instance resets all others."""

    def __init__(self) -> None:
        self._dispatcher = DomainDispatcherApplication(create_backend_app)
        self._applications: dict[str, Any] = {}
        self.request("moto", "POST", "/moto-api/reset")

    def respond(self, environ: dict[str, Any]) -> Response:
        return Response.from_app(self._application(environ), environ)

    def _application(self, environ: dict[str, Any]) -> Any:
        # Cached: moto lists its modules on disk to find an application, a third of the time of each request.
        service = SIGNATURE_SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
        name = service["service"] if service else ""
        if name not in SINGLE_APPLICATION_SERVICES or environ["PATH_INFO"].startswith(("/moto-api", "/v20180820/")):
            return self._dispatcher
        if name not in self._applications:
            self._applications[name] = self._dispatcher.get_application(environ)
        return self._applications[name]

    def request(self, service: str, method: str, path: str, **parts: Any) -> Response:
        """Make a request on behalf of the sandbox; `parts` are arguments of `make_environ`.

        Raises RuntimeError for error statuses other than 404.
        """
        response = self.respond(make_environ(service, method, path, **parts))
        if response.status_code >= 300 and response.status_code != 404:
            raise RuntimeError(f"{service} {method} {path}: {response.status} {response.get_data(as_text=True)[:500]}")
        return response


def make_environ(  # noqa: PLR0913 - an HTTP request has this many parts
    service: str,
    method: str,
    path: str,
    *,
    query: str = "",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> dict[str, Any]:
    """The WSGI environment of a request to a service; `path` is not percent-encoded."""
    sent = dict(headers or {})
    scope = f"Credential=sandbox/20240101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    return EnvironBuilder(
        quote(path),
        "http://127.0.0.1",
        query,
        method,
        data=body,
        headers=Headers(sent | {"Authorization": f"AWS4-HMAC-SHA256 {scope}"}),
        environ_overrides={PRESERVED_HEADER_NAMES_ENVIRON_KEY: {environ_key_for_header(name): name for name in sent}},
    ).get_environ()


def read_body(environ: dict[str, Any]) -> bytes:
    """The body of a request; it can be read again afterwards."""
    body = get_input_stream(environ).read()
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    return body


def replace_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file under a temporary name and rename it to `path`, which is therefore never incomplete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}{PARTIAL_SUFFIX}")
    try:
        with partial.open("wb") as file:
            file.writelines(chunks)
        partial.replace(path)
    except OSError:  # such as a full disk
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def replace_json(path: Path, document: Any) -> None:
    replace_file(path, [json.dumps(document).encode()])


@contextmanager
def skip_if_damaged(file: Path) -> Iterator[None]:
    """Report a file that the block cannot read, and continue after the block. The file is not changed."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        print(f"sandbox: skipped {file}, which is damaged: {error!r}", file=sys.stderr)  # noqa: T201


PARTIAL_SUFFIX = ".partial"
PERSISTED_HEADERS = (
    *("cache-control", "content-", "expires", "x-amz-checksum-", "x-amz-meta-"),
    *("x-amz-sdk-checksum-algorithm", "x-amz-server-side-encryption", "x-amz-storage-class"),
)
"""Prefixes of the headers that describe an object, in PUT requests and in responses."""


class ObjectStore:
    """Stores the emulator's buckets as folders and their objects as files, without settings and older versions.

    A file contains a line of JSON, then the object's bytes; it is never incomplete.
    """

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self._folder = folder
        self._emulator = emulator
        self._lock = threading.Lock()
        self._policies: dict[str, bytes] = {}

    def denies(self, environ: dict[str, Any]) -> bool:
        """Whether the bucket's policy denies the request, which writes an object or starts to write one in parts."""
        bucket, _, key = environ["PATH_INFO"].encode("latin-1").decode(errors="replace").lstrip("/").partition("/")
        method, query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
        writes = (method == "PUT" and not re.search(r"(?:^|&)(?:partNumber|uploadId|tagging|acl)\b", query)) or (
            method == "POST" and re.search(r"(?:^|&)uploads\b", query)
        )
        if not (key and writes and bucket in self._policies):
            return False
        headers = {name.lower(): value for name, value in EnvironHeaders(environ).items()}
        return denies_write(json.loads(self._policies[bucket]), f"arn:aws:s3:::{bucket}/{key}", headers)

    def put(self, bucket: str, key: str = "", *, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """Put an object, or create a bucket, in the emulator and on disk."""
        self._request("PUT", bucket, key, headers=headers, body=body)
        self._persist(bucket, key)

    def perform(self, environ: dict[str, Any]) -> Response:
        """Perform a request that may change buckets or objects; after success the changes are on disk as well."""
        bucket, _, key = environ["PATH_INFO"].encode("latin-1").decode(errors="replace").lstrip("/").partition("/")
        method, query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
        if not key and re.match(r"policy(?:=|&|$)", query):
            return self._perform_on_policy(bucket, environ)
        body = read_body(environ) if not key else b""
        response = self._emulator.respond(environ)
        if response.status_code >= 300 or not bucket:
            return response
        keys = [key]
        if method == "POST" and not key:  # DeleteObjects
            keys = [name.text or "" for name in ET.fromstring(body).iterfind(".//{*}Key")]  # noqa: S314 - the user's
        if not (method == "PUT" and "uploadId=" in query):  # a part is not an object yet
            for changed in keys:
                self._persist(bucket, changed)
        return response

    def _perform_on_policy(self, bucket: str, environ: dict[str, Any]) -> Response:
        """Put, get or delete a bucket's policy."""
        method, policy = environ["REQUEST_METHOD"], read_body(environ)
        if method == "PUT":
            reduced = without_conditions(policy)
            environ |= {"wsgi.input": io.BytesIO(reduced), "CONTENT_LENGTH": str(len(reduced))}
        response = self._emulator.respond(environ)
        if response.status_code >= 300:
            return response
        if method == "GET":
            return Response(self._policies[bucket], mimetype="application/json")
        self._policies.pop(bucket, None)
        if method == "PUT":
            self._policies[bucket] = policy
        return response

    def _persist(self, bucket: str, key: str) -> None:
        """Write the current state of an object or bucket to disk, or delete it there if it does not exist."""
        place = self._folder / bucket
        file = place / hashlib.sha256(key.encode()).hexdigest()
        # The emulator is read under the lock, so that the last of several concurrent writers stores the latest state.
        with self._lock:
            response = self._request("GET" if key else "HEAD", bucket, key, headers={"x-amz-checksum-mode": "ENABLED"})
            exists = response.status_code != 404
            if key and exists:
                headers = {k: v for k, v in response.headers if k.lower().startswith(PERSISTED_HEADERS)}
                head: dict[str, Any] = {
                    "key": key,
                    "etag": response.headers["ETag"],
                    "headers": headers,
                    "tagging": None,
                }
                if "x-amz-tagging-count" in response.headers:
                    head["tagging"] = self._request("GET", bucket, key, query="tagging").get_data(as_text=True)
                replace_file(file, [json.dumps(head).encode(), b"\n", *response.response])
            elif key:
                file.unlink(missing_ok=True)
            elif exists:
                place.mkdir(parents=True, exist_ok=True)
            else:
                shutil.rmtree(place)

    def restore(self) -> None:
        """Load everything on disk into the emulator; a file that cannot be read is reported and left as it is."""
        for place in sorted(p for p in self._folder.glob("*") if p.is_dir()):
            self._request("PUT", place.name, "")
            for file in sorted(p for p in place.iterdir() if p.is_file() and p.suffix != PARTIAL_SUFFIX):
                with skip_if_damaged(file):
                    self._restore_object(place.name, file)

    def _restore_object(self, bucket: str, file: Path) -> None:
        from moto.s3.models import s3_backends

        with file.open("rb") as stream:
            head = json.loads(stream.readline())
            self._request("PUT", bucket, head["key"], headers=head["headers"], body=stream.read())
        if head["tagging"]:
            self._request("PUT", bucket, head["key"], query="tagging", body=head["tagging"].encode())
        # The ETag of an object that was uploaded in parts depends on their sizes.
        restored: Any = s3_backends[ACCOUNT]["aws"].get_object(bucket, head["key"])
        restored._etag = head["etag"].strip('"')  # noqa: SLF001

    def _request(self, method: str, bucket: str, key: str, **rest: Any) -> Response:
        return self._emulator.request("s3", method, f"/{bucket}/{key}" if key else f"/{bucket}", **rest)
