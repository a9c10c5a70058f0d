"""moto, which emulates S3, IAM, STS, KMS and CloudWatch Logs, and the files on disk that hold its S3 objects."""

import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, quote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from moto.core.request import PRESERVED_HEADER_NAMES_ENVIRON_KEY, environ_key_for_header
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.wrappers import Response

from sandbox.account import ACCOUNT, REGION

SIGNATURE_SCOPE = re.compile(r"\d{8}(?:/|%2F)[\w-]+(?:/|%2F)(?P<service>[\w-]+)(?:/|%2F)aws4_request", re.IGNORECASE)
"""The scope of a request's signature, in its header or in its presigned URL."""
SINGLE_APPLICATION_SERVICES = ("s3", "logs", "iam", "sts", "kms")
"""Services of which one of moto's applications answers all signed requests, except for S3 Control's, by their path."""
NON_AWS_KEY_ID = "AKIAEXAMPLE"
"""The key id that moto assumes for every key id that is not twenty capitals and digits."""


class EmulatorError(RuntimeError):
    """moto refused a request of the sandbox itself."""


class Emulator:
    """A moto without any state; as moto's state is global to the process, a new one resets all others."""

    def __init__(self) -> None:
        self._dispatcher = DomainDispatcherApplication(create_backend_app)
        self._applications: dict[str, Any] = {}
        self.request("moto", "POST", "/moto-api/reset")

    def respond(self, environ: dict[str, Any]) -> Response:
        """Perform one request and return its response."""
        return Response.from_app(self._application(environ), environ)

    def _application(self, environ: dict[str, Any]) -> Any:
        # moto lists its own modules on disk to find a service's application, a third of the time of each request.
        service = SIGNATURE_SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
        name = service["service"] if service else ""
        if name not in SINGLE_APPLICATION_SERVICES or environ["PATH_INFO"].startswith(("/moto-api", "/v20180820/")):
            return self._dispatcher
        if name not in self._applications:
            self._applications[name] = self._dispatcher.get_application(environ)
        return self._applications[name]

    def create_access_key(self, user: str) -> None:
        """Give this user the key id that stands for all key ids unlike AWS's; over HTTP moto would choose one."""
        _iam().create_access_key(user).access_key_id = NON_AWS_KEY_ID

    def policies_of(self, principal: str) -> list[Any] | None:
        """The documents of all policies of a user, with its groups, or of a role; None when there is no such ARN."""
        iam = _iam()
        user = next((user for user in iam.users.values() if user.arn == principal), None)
        role = next((role for role in iam.roles.values() if role.arn == principal), None)
        holders = [user, *iam.get_groups_for_user(user.name)] if user else [role] if role else []
        inline = [document for holder in holders for document in holder.policies.values()]
        attached = [policy for holder in holders for policy in holder.managed_policies.values()]
        inline += [version.document for policy in attached for version in policy.versions if version.is_default]
        return [json.loads(document) for document in inline] if holders else None

    def request(  # noqa: PLR0913 - an HTTP request has this many parts
        self,
        service: str,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Response:
        """Make a request of the sandbox itself, without a socket; `path` is not percent-encoded.

        A 404 is returned like a success; any other error status raises `EmulatorError`.
        """
        environ = _wsgi_environ(service, query, headers or {}, body)
        environ |= {"REQUEST_METHOD": method, "PATH_INFO": path.encode().decode("latin-1")}
        environ["RAW_URI"] = quote(path) + (f"?{query}" if query else "")
        response = self.respond(environ)
        if response.status_code >= 300 and response.status_code != 404:
            raise EmulatorError(f"{service} {method} {path}: {response.status} {response.get_data(as_text=True)[:500]}")
        return response


def _iam() -> Any:
    from moto.iam.models import iam_backends  # slow: it holds the text of all of AWS's managed policies

    return iam_backends[ACCOUNT]["aws"]


def _wsgi_environ(service: str, query: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    scope = f"Credential=sandbox/20240101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    return {
        PRESERVED_HEADER_NAMES_ENVIRON_KEY: {environ_key_for_header(name): name for name in headers},
        "HTTP_HOST": "127.0.0.1",
        "HTTP_AUTHORIZATION": f"AWS4-HMAC-SHA256 {scope}",
        "SCRIPT_NAME": "",
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    } | {environ_key_for_header(name): value for name, value in headers.items()}


PARTIAL_FILE_PREFIX = ".unfinished-"


def replace_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file under a temporary name beside `path`, then rename it, so that it is complete or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=PARTIAL_FILE_PREFIX, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(chunks)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def replace_json(path: Path, document: Any) -> None:
    """Write a document as a JSON file, completely or not at all."""
    replace_file(path, [json.dumps(document).encode()])


SETTINGS_FOLDER = "settings"
PART_SIZE = 8 << 20
"""boto3's default part size, which decides the ETag of an object that was uploaded in parts."""
PERSISTED_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-checksum-",
    "x-amz-meta-",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-server-side-encryption",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
)


class ObjectStore:
    """The emulator's buckets as files in a folder; each object is one file, written completely or not at all."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self._folder = folder
        self._emulator = emulator
        self._locks = [threading.Lock() for _ in range(64)]

    def persist_request(self, method: str, path: str, query: str, body: bytes) -> None:
        """Write to disk what a successful S3 request changed; `body` is needed for requests on a bucket only."""
        bucket, _, key = path.lstrip("/").partition("/")
        arguments = dict(parse_qsl(query, keep_blank_values=True))
        if not bucket:
            return
        if key:
            if method != "PUT" or "uploadId" not in arguments:
                self.persist_object(bucket, key)
        elif method == "POST":
            for name in ET.fromstring(body).iterfind(".//{*}Key"):  # noqa: S314 - sent by the sandbox's one user
                self.persist_object(bucket, name.text or "")
        else:
            self._persist_bucket(method, bucket, next((n for n, v in arguments.items() if not v), ""), body)

    def _persist_bucket(self, method: str, bucket: str, setting: str, body: bytes) -> None:
        place = self._folder / bucket
        if setting and method == "PUT":
            replace_file(place / SETTINGS_FOLDER / setting, [body])
        elif setting:
            (place / SETTINGS_FOLDER / setting).unlink(missing_ok=True)
        elif method == "PUT":
            place.mkdir(parents=True, exist_ok=True)
        else:
            shutil.rmtree(place)

    def persist_object(self, bucket: str, key: str) -> None:
        """Write one object as the emulator has it now to its file, or delete the file if the object does not exist."""
        file = self._file(bucket, key)
        # The emulator is read under the lock: of two concurrent writers the later to read sees both writes.
        with self._locks[hash(file) % len(self._locks)]:
            headers = {"x-amz-checksum-mode": "ENABLED"}
            response = self._request("GET", bucket, key, headers=headers)
            if response.status_code == 404:
                file.unlink(missing_ok=True)
            else:
                head: dict[str, Any] = {"key": key, "etag": response.headers["ETag"]}
                head["headers"] = _persisted_headers(response.headers)
                head["tagging"] = self._tagging(bucket, key, response)
                replace_file(file, [json.dumps(head).encode(), b"\n", *response.response])

    def _tagging(self, bucket: str, key: str, response: Response) -> str | None:
        if "x-amz-tagging-count" not in response.headers:
            return None
        return self._request("GET", bucket, key, query="tagging").get_data(as_text=True)

    def restore(self) -> None:
        """Load everything on disk into the emulator; a file that cannot be read is reported and left as it is."""
        for place in sorted(p for p in self._folder.glob("*") if p.is_dir()):
            self._request("PUT", place.name, "")
            for setting in sorted((place / SETTINGS_FOLDER).glob("*")):
                self._request("PUT", place.name, "", query=setting.name, body=setting.read_bytes())
            for file in sorted(p for p in place.iterdir() if p.is_file()):
                if file.name.startswith(PARTIAL_FILE_PREFIX):
                    file.unlink()
                    continue
                try:
                    self._restore_object(place.name, file)
                except (ValueError, KeyError, TypeError) as error:
                    print(f"sandbox: skipped {file}, which is damaged: {error}", file=sys.stderr)  # noqa: T201

    def _restore_object(self, bucket: str, file: Path) -> None:
        with file.open("rb") as stream:
            head = json.loads(stream.readline())
            key, headers = head["key"], head["headers"]
            if "-" in head["etag"]:
                self._restore_parts(bucket, head, stream, file.stat().st_size - stream.tell())
            else:
                self._request("PUT", bucket, key, headers=headers, body=stream.read())
        if head["tagging"]:
            self._request("PUT", bucket, key, query="tagging", body=head["tagging"].encode())

    def _restore_parts(self, bucket: str, head: Mapping[str, Any], stream: BinaryIO, size: int) -> None:
        key, count = head["key"], int(head["etag"].strip('"').rpartition("-")[2])
        part_size = PART_SIZE if -(-size // PART_SIZE) == count else max(1, -(-size // count))
        response = self._request("POST", bucket, key, query="uploads", headers=head["headers"])
        upload = quote(ET.fromstring(response.get_data()).findtext("{*}UploadId") or "", safe="")  # noqa: S314 - moto's
        parts = ""
        for number, part in enumerate(_parts(stream, part_size), start=1):
            response = self._request("PUT", bucket, key, query=f"partNumber={number}&uploadId={upload}", body=part)
            etag = escape(response.headers["ETag"])
            parts += f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        self._request("POST", bucket, key, query=f"uploadId={upload}", body=body)

    def _file(self, bucket: str, key: str) -> Path:
        return self._folder / bucket / hashlib.sha256(key.encode()).hexdigest()

    def _request(self, method: str, bucket: str, key: str, **rest: Any) -> Response:
        return self._emulator.request("s3", method, f"/{bucket}/{key}" if key else f"/{bucket}", **rest)


def _persisted_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower().startswith(PERSISTED_HEADERS)}


def _parts(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while part := stream.read(size):
        yield part
