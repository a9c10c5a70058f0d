"""Models as they are served: the archive and image that an endpoint gets, and the same container on this machine."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from aws.endpoints.specification import ServedModel
from aws.errors import InvalidRequest, NotFound
from aws.storage import download_object, sha256_of, stat_object, upload_file
from aws.training.request import image_uri
from aws.workspace import Workspace
from linear_learner.errors import ArtifactError
from linear_learner.formats.artifact import pack_model, read_model, read_packed_file
from linear_learner.predictor import ARCHIVE
from linear_learner.schema import Schema
from linear_learner.serving.inference_container import InferenceContainer
from tasks.caching import work_folder
from tasks.caching.policy import fingerprint
from tasks.environment.folders import explain_disk_errors, lock_folder
from tasks.model_source import ModelSource, fetch_model


@dataclass(frozen=True)
class LocalContainer:
    """The container of a model on this machine; it answers as the endpoint does.

    `by_name`: it takes rows by column name. Otherwise `table_schema`, if there is one, gives the columns of the
    features that it takes by position.
    """

    container: InferenceContainer
    table_schema: Schema | None
    by_name: bool


@dataclass(frozen=True)
class Candidate:
    """A model to be served, with its container on this machine."""

    source: ModelSource
    served: ServedModel
    local: LocalContainer
    archive: bytes | None
    """What has to be uploaded as `served.model_uri`; None if the endpoint gets an archive that is in S3."""


def prepare_candidate(workspace: Workspace, source: ModelSource) -> Candidate:
    """Fetch a model, verify its checksums, and make the archive to be served.

    A model whose features are the table's columns is served by AWS's image from its own archive. Any other model needs
    its schema in the archive, and the image that applies it: raises InvalidRequest when the workspace has none.
    """
    is_stored = source.location.startswith("s3://")
    with lock_folder(work_folder(f"serve-{fingerprint(source.identity)}")) as folder, explain_disk_errors(folder):
        model, schema = fetch_model(workspace, source, folder)
        original = folder / ARCHIVE if is_stored else Path(source.location)
        by_name = schema is not None and not schema.is_identity
        archive = None if is_stored and not by_name else _pack(original, schema if by_name else None, folder)
        checksum = (source.sha256 or sha256_of(original)) if archive is None else sha256(archive).hexdigest()
    package = source.package
    served = ServedModel(
        image=_choose_image(workspace, source, by_name=by_name),
        model_uri=source.location if archive is None else workspace.uri("serving", checksum, ARCHIVE),
        sha256=checksum,
        package_arn=package.arn if package else None,
        training_job=package.training_job if package else None,
    )
    container = InferenceContainer(model, schema if by_name else None)
    return Candidate(source, served, LocalContainer(container, schema, by_name), archive)


def _pack(original: Path, schema: Schema | None, folder: Path) -> bytes:
    """Return an archive of the model and its schema; the same content gives the same bytes."""
    content = original.read_bytes()
    if not content.startswith(b"PK"):  # a model.tar.gz, not the model_algo-1 of one
        content = read_packed_file(original) or b""
    packed = folder / f"served-{ARCHIVE}"
    pack_model(content, packed, {Schema.FILE_NAME: schema.to_json().encode()} if schema else {})
    return packed.read_bytes()


def _choose_image(workspace: Workspace, source: ModelSource, *, by_name: bool) -> str:
    if not by_name:
        return image_uri(workspace.region)
    if workspace.serving_image is None:
        raise InvalidRequest(
            f"{source} encodes text, dates or missing cells, which AWS's own image cannot do. Build the image of "
            "deployments/Dockerfile, target serve, push it to ECR, and set its URI as the serving image of the "
            "workspace: `python -m deployments.blocks --serving-image URI`."
        )
    return workspace.serving_image


def upload_archive(workspace: Workspace, candidate: Candidate) -> None:
    """Upload the archive of a candidate, unless it is in S3 already."""
    if candidate.archive is not None:
        with lock_folder(work_folder(f"upload-{candidate.served.sha256[:20]}")) as folder, explain_disk_errors(folder):
            path = folder / ARCHIVE
            path.write_bytes(candidate.archive)
            upload_file(workspace, path, candidate.served.model_uri, candidate.served.sha256)


def load_served(workspace: Workspace, served: ServedModel) -> LocalContainer:
    """Return the container of a model that is served; raises ArtifactError when its archive was changed or removed."""
    with lock_folder(work_folder(f"served-{fingerprint(served.model_uri)}")) as folder:
        path = folder / ARCHIVE
        try:
            with explain_disk_errors(folder):
                download_object(workspace, stat_object(workspace, served.model_uri), path)
        except NotFound as error:
            raise ArtifactError(f"The model that is served is no longer at {served.model_uri}. {error}") from error
        if served.sha256 and sha256_of(path) != served.sha256:
            raise ArtifactError(f"{served.model_uri} is not the model that is served: its SHA-256 differs.")
        schema = read_packed_file(path, Schema.FILE_NAME)
        table_schema = Schema.parse(schema, f"{served.model_uri}, {Schema.FILE_NAME}") if schema else None
        return LocalContainer(InferenceContainer(read_model(path), table_schema), table_schema, schema is not None)
