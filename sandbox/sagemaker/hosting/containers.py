"""The containers behind endpoints: they load a model from S3 and answer requests in this process."""

import tarfile
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from linear_learner.errors import LinearLearnerError
from linear_learner.formats.artifact import MAX_BYTES, read_model
from linear_learner.schema import Schema
from linear_learner.serving.inference_container import InferenceContainer
from sandbox.sagemaker.api_model import Document
from sandbox.sagemaker.hosting.models import model_data_uri
from sandbox.sagemaker.training_container import IMAGE_PATTERN

UNHEALTHY_MESSAGE = (
    "The primary container for production variant {} did not pass the ping health check. Please check CloudWatch logs "
    "for this endpoint."
)


class ContainerError(Exception):
    """A container does not start; the message is the FailureReason of its endpoint."""


class Containers:
    """Loads each model once; `client` returns the boto3 client of a service of the sandbox."""

    def __init__(self, client: Callable[[str], Any]) -> None:
        self._client = client
        self._loaded: dict[tuple[str, float], InferenceContainer] = {}
        self._lock = threading.Lock()

    def get(self, model: Document, variant: str) -> InferenceContainer:
        """The running container of a model; raises ContainerError if its data is missing or is no model."""
        # The time tells a model from an earlier one of the same name, which was deleted.
        key = model["ModelName"], model["CreationTime"]
        if key not in self._loaded:
            with self._lock:
                if key not in self._loaded:
                    self._loaded[key] = self._load(model["PrimaryContainer"], variant)
        return self._loaded[key]

    def _load(self, container: Document, variant: str) -> InferenceContainer:
        uri = model_data_uri(container) or ""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        with tempfile.TemporaryDirectory(prefix="sandbox-model-") as name:
            archive = Path(name) / "model.tar.gz"
            try:
                archive.write_bytes(self._client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
            except ClientError:
                raise ContainerError(
                    f'Failed to download model data for container "container_1" from URL: "{uri}". Please ensure that '
                    "there is an object located at the URL and that the role passed to CreateModel has permissions to "
                    "download the model."
                ) from None
            try:
                # AWS's own image knows encoded features only; any other image is taken for this project's.
                is_built_in = IMAGE_PATTERN.fullmatch(container["Image"])
                return InferenceContainer(read_model(archive), None if is_built_in else _read_schema(archive))
            except LinearLearnerError:
                raise ContainerError(UNHEALTHY_MESSAGE.format(variant)) from None


def _read_schema(archive: Path) -> Schema | None:
    """The schema.json in a model.tar.gz from which a model was read; None if there is none."""
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            if Path(member.name).name == Schema.FILE_NAME and member.isfile() and member.size <= MAX_BYTES:
                file = tar.extractfile(member)
                return Schema.parse(file.read(), archive.name) if file else None
    return None
