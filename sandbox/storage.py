"""The objects of the sandbox's S3 as files on disk, each written whole or not at all."""

import hashlib
import json
import os
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

from werkzeug.wrappers import Response

from sandbox.emulator import Emulator

UNFINISHED = ".unfinished-"


def replace_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file beside its place and rename it into it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(chunks)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def replace_json(path: Path, document: Any) -> None:
    """Write a document as one JSON file, or leave the old one."""
    replace_file(path, [json.dumps(document).encode()])


SETTINGS = "settings"
PART_SIZE = 8 << 20
"""boto3's default part size: it decides the ETag of an object that was uploaded in parts."""
KEPT_HEADERS = (
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
    """The buckets of one folder, kept equal to the emulator's."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self._folder = folder
        self._emulator = emulator
        self._locks = [threading.Lock() for _ in range(64)]

    def follow(self, method: str, path: str, query: str, body: bytes) -> None:
        """Put on disk what a successful S3 request changed; `body` is needed for requests on a bucket only."""
        bucket, _, key = path.lstrip("/").partition("/")
        arguments = dict(parse_qsl(query, keep_blank_values=True))
        if not bucket:
            return
        if key:
            if method != "PUT" or "uploadId" not in arguments:
                self.keep(bucket, key)
        elif method == "POST":
            for name in ET.fromstring(body).iterfind(".//{*}Key"):  # noqa: S314 - sent by the sandbox's one user
                self.keep(bucket, name.text or "")
        else:
            self._follow_bucket(method, bucket, next((n for n, v in arguments.items() if not v), ""), body)

    def _follow_bucket(self, method: str, bucket: str, setting: str, body: bytes) -> None:
        place = self._folder / bucket
        if setting and method == "PUT":
            replace_file(place / SETTINGS / setting, [body])
        elif setting:
            (place / SETTINGS / setting).unlink(missing_ok=True)
        elif method == "PUT":
            place.mkdir(parents=True, exist_ok=True)
        else:
            shutil.rmtree(place)

    def keep(self, bucket: str, key: str) -> None:
        """Make the file of one object equal to what the emulator has now, whoever wrote last."""
        file = self._file(bucket, key)
        # The emulator is read under the lock: of two writers' reads, the later one sees both writes.
        with self._locks[hash(file) % len(self._locks)]:
            headers = {"x-amz-checksum-mode": "ENABLED"}
            answer = self._request("GET", bucket, key, headers=headers)
            if answer.status_code == 404:
                file.unlink(missing_ok=True)
            else:
                head: dict[str, Any] = {"key": key, "etag": answer.headers["ETag"], "headers": _stored(answer.headers)}
                head["tagging"] = self._tagging(bucket, key, answer)
                replace_file(file, [json.dumps(head).encode(), b"\n", *answer.response])

    def _tagging(self, bucket: str, key: str, answer: Response) -> str | None:
        if "x-amz-tagging-count" not in answer.headers:
            return None
        return self._request("GET", bucket, key, query="tagging").get_data(as_text=True)

    def restore(self) -> None:
        """Put everything on disk back into the emulator; a file that cannot be read is reported and left alone."""
        for place in sorted(p for p in self._folder.glob("*") if p.is_dir()):
            self._request("PUT", place.name, "")
            for setting in sorted((place / SETTINGS).glob("*")):
                self._request("PUT", place.name, "", query=setting.name, body=setting.read_bytes())
            for file in sorted(p for p in place.iterdir() if p.is_file()):
                if file.name.startswith(UNFINISHED):
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
        answer = self._request("POST", bucket, key, query="uploads", headers=head["headers"])
        upload = quote(ET.fromstring(answer.get_data()).findtext("{*}UploadId") or "", safe="")  # noqa: S314 - moto's
        parts = ""
        for number, part in enumerate(_parts(stream, part_size), start=1):
            answer = self._request("PUT", bucket, key, query=f"partNumber={number}&uploadId={upload}", body=part)
            etag = escape(answer.headers["ETag"])
            parts += f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        self._request("POST", bucket, key, query=f"uploadId={upload}", body=body)

    def _file(self, bucket: str, key: str) -> Path:
        return self._folder / bucket / hashlib.sha256(key.encode()).hexdigest()

    def _request(self, method: str, bucket: str, key: str, **rest: Any) -> Response:
        return self._emulator.request("s3", method, f"/{bucket}/{key}" if key else f"/{bucket}", **rest)


def _stored(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower().startswith(KEPT_HEADERS)}


def _parts(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while part := stream.read(size):
        yield part
