"""What passes between S3 and a job's folder: the image's name, the channels in, the model out; in SageMaker's words."""

import gzip
import re
import tarfile
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from sandbox.account import REGION
from sandbox.training_job import TrainingJob

IMAGE = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/linear-learner([:@][\w.:-]+)?")


class JobError(Exception):
    """The job has failed; the message is its FailureReason."""


def check_image(image: str | None) -> None:
    """Refuse an image that is not Linear Learner's, in whatever registry account and region."""
    if not IMAGE.fullmatch(image or ""):
        raise JobError(
            "ClientError: Cannot pull algorithm container. The sandbox runs linear-learner only, as in "
            f"382416733822.dkr.ecr.us-east-1.amazonaws.com/linear-learner:1; the job's training image is {image}"
        )


def download_channel(s3: Any, job: TrainingJob, channel: dict[str, Any], folder: Path) -> None:
    """Put every object under the channel's prefix into a folder, by its name below the prefix's last slash."""
    source = channel["DataSource"].get("S3DataSource")
    if not source or source["S3DataType"] != "S3Prefix":
        raise JobError(
            f"ClientError: Channel {channel['ChannelName']}: the sandbox reads an S3DataSource of type S3Prefix only"
        )
    bucket, prefix = _split(source["S3Uri"])
    keys = [key for key in _keys(s3, bucket, prefix) if not key.endswith("/")]
    if not keys:
        raise JobError(_nothing_found(source["S3Uri"], bucket, job["RoleArn"]))
    for key in keys:
        target = folder / key[prefix.rfind("/") + 1 :]
        if ".." in target.parts or not target.is_relative_to(folder):
            raise JobError(f"ClientError: Data download failed: the key {key!r} leads out of the channel's folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, key, str(target))


def _keys(s3: Any, bucket: str, prefix: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    try:
        return [item["Key"] for page in pages for item in page.get("Contents", [])]
    except s3.exceptions.NoSuchBucket:
        return []


def _nothing_found(uri: str, bucket: str, role: str) -> str:
    return (
        f'ClientError: No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the '
        f"bucket exists in the selected region ({REGION}), that objects exist under that S3 prefix, and that the role "
        f'"{role}" has "s3:ListBucket" permissions on bucket "{bucket}".'
    )


def upload_model(s3: Any, job: TrainingJob, model: Path) -> str:
    """Archive a folder as the job's `model.tar.gz` in S3 and return its URI; equal folders give equal bytes."""
    uri = f"{job['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job.name}/output/model.tar.gz"
    bucket, key = _split(uri)
    archive = model.with_name("model.tar.gz")
    with archive.open("wb") as file:
        _archive(model, file)
    try:
        with archive.open("rb") as body:
            s3.put_object(Bucket=bucket, Key=key, Body=body)
    except ClientError as error:
        code, text = error.response["Error"]["Code"], error.response["Error"]["Message"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        raise JobError(f"ClientError: Artifact upload failed:Error 7: {code} ({status}): {text}") from error
    return uri


def _archive(folder: Path, file: IO[bytes]) -> None:
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            member = tarfile.TarInfo(str(path.relative_to(folder)))
            member.size = path.stat().st_size
            with path.open("rb") as content:
                archive.addfile(member, content)


def _split(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri, allow_fragments=False)
    return parts.netloc, uri.partition(f"{parts.netloc}/")[2]
