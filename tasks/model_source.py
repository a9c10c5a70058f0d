"""Find the model that RUN, PACKAGE or FOLDER names, with its schema, and fetch it.

RUN is the `run.json` of a run, PACKAGE a version in the Model Registry, FOLDER a place with a `model.tar.gz`. Locations
are `s3://` URIs or absolute paths of this machine.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from aws.errors import AwsError, NotFound
from aws.registry import (
    MODEL_SHA256_KEY,
    PENDING,
    SCHEMA_KEY,
    SCHEMA_SHA256_KEY,
    Package,
    PackageVersion,
    approval_command,
    describe_package,
    list_groups,
    list_versions,
)
from aws.s3_uri import normalize_uri
from aws.storage import StoredObject, download_object, read_object, sha256_of, stat_object
from aws.workspace import Workspace
from linear_learner.errors import ArtifactError
from linear_learner.formats.artifact import read_model
from linear_learner.model import LinearModel
from linear_learner.predictor import ARCHIVE, find_difference
from linear_learner.schema import Schema
from tasks.caching.policy import Result
from tasks.data.source import FILE_SCHEME, file_uri_to_path
from tasks.environment.folders import explain_disk_errors
from tasks.record import RunRecord

MAX_NAMES = 5
"""The most versions and folders that an error lists."""
_GROUP = r"[A-Za-z0-9](?:-*[A-Za-z0-9]){0,62}"
_PACKAGE = re.compile(rf"(?P<group>{_GROUP})(?:/(?P<version>[0-9]{{1,9}}))?")
_PACKAGE_ARN = re.compile(rf"arn:[a-z\-]+:sagemaker:[a-z0-9\-]+:[0-9]{{12}}:model-package/{_GROUP}/[0-9]{{1,9}}")
_NO_FOLDER = ", and no such folder"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ModelSource(Result):
    """A model, where it is, and what is known of its columns."""

    location: str
    """S3 URI or absolute path of its model.tar.gz."""
    identity: str
    """A text that changes with the content of model.tar.gz."""
    sha256: str | None
    """The recorded checksum, or that of a file on this machine; None for an object without a recorded one."""
    table_schema: Schema | None
    """None for a model of another source, or of a version that wrote none: its features are known by position."""
    features: tuple[str, ...] | None = None
    """The recorded names of the features of a model without schema; None if there is no record."""
    package: Package | None = None

    def __str__(self) -> str:
        package = self.package
        return f"version {package.version} of {package.group}, {self.location}" if package else self.location


class _Recorded(NamedTuple):
    """What a `run.json` or the metadata of a package says about a model and its schema."""

    model_sha256: str | None = None
    schema_locations: Sequence[str] = ()
    """Where the schema may be; the first one that exists is read."""
    schema_sha256: str | None = None
    """None: there need not be a schema."""
    features: tuple[str, ...] | None = None


def find_model(workspace: Workspace, where: str, *, allow_unapproved: bool) -> ModelSource:
    """Return the model that `where` names; an existing path is never taken for a package.

    Args:
        workspace: Where the registry and the bucket are.
        where: The ARN of a model package, a group (its newest Approved package) or `GROUP/VERSION`; a `run.json`; or a
            folder with a `model.tar.gz`. Files and folders are S3 URIs or paths.
        allow_unapproved: Whether the package need not be Approved; of a group without an Approved package, the newest
            one that waits for approval is used.

    Raises NotFound for what does not exist, and ArtifactError for a package that is not Approved, for a file that is
    not what it should be, and for a checksum that does not match.
    """
    if where.startswith("arn:"):
        return _use_package(workspace, _read_package(workspace, where), allow_unapproved=allow_unapproved)
    location = _to_location(where)
    match = _PACKAGE.fullmatch(where)
    if match and not location.startswith("s3://") and not Path(location).exists():
        if match["version"]:
            package = find_version(workspace, match["group"], int(match["version"]), _NO_FOLDER)
        else:
            package = _find_usable(workspace, match["group"], allow_unapproved=allow_unapproved)
        return _use_package(workspace, package, allow_unapproved=allow_unapproved)
    if location.endswith(".json"):
        return _find_run(workspace, location)
    return _find_in_folder(workspace, location.removesuffix(f"/{ARCHIVE}"))


def find_package_model(workspace: Workspace, package: Package) -> ModelSource:
    """Return the model of a package, whatever its status.

    The package's metadata has the checksums; for packages without them, the `run.json` beside the model is asked.
    """
    model = package.model_uri
    if not model.startswith("s3://"):
        raise ArtifactError(f"{_title(package)} has no model in S3. Give another version, or a folder with a model.")
    known = package.metadata
    folder = _parent(model)
    if _SHA256.fullmatch(known.get(SCHEMA_SHA256_KEY, "")):
        where = known.get(SCHEMA_KEY, "")
        schema = where if where.startswith("s3://") else f"{folder}/{Schema.FILE_NAME}"
        recorded = _Recorded(known.get(MODEL_SHA256_KEY), [schema], known[SCHEMA_SHA256_KEY])
    else:
        recorded = _recorded_in(_read_run_beside(workspace, folder), folder)
    return _to_source(workspace, model, recorded).model_copy(update={"package": package})


def fetch_model(workspace: Workspace, source: ModelSource, folder: Path) -> tuple[LinearModel, Schema | None]:
    """Return the model, with the names of its features where they are known, and its schema.

    A model in S3 is downloaded into `folder`; one on this machine is read where it is. Raises ArtifactError when it has
    another checksum than the recorded one, is not a Linear Learner model, or has other features than the schema.
    """
    path, location, schema = Path(source.location), source.location, source.table_schema
    if location.startswith("s3://"):
        path, stored = folder / ARCHIVE, stat_object(workspace, location)
        with explain_disk_errors(folder, stored.size):
            download_object(workspace, stored, path)
        if source.sha256 is None and stored.identity != source.identity:
            raise ArtifactError(f"{location} was changed after it was found. Run again to use the new model.")
    if source.sha256 is not None and sha256_of(path) != source.sha256:
        raise ArtifactError(_describe_change(location))
    try:
        model = read_model(path)
    except ArtifactError as error:
        raise ArtifactError(f"{location} is not a model of Linear Learner: {error}") from error
    if schema is None:
        known = source.features if len(source.features or ()) == len(model.weights) else None
        return replace(model, feature_names=known), None
    if difference := find_difference(model, schema):
        raise ArtifactError(
            f"The {Schema.FILE_NAME} of {location} {difference}: they are not of the same run. Give a folder in which "
            "both files are of one run."
        )
    return replace(model, feature_names=schema.features), schema


def _to_location(where: str) -> str:
    """Return the S3 URI or the absolute path that `where` means, without a slash at the end."""
    if where.lower().startswith(FILE_SCHEME):
        return str(file_uri_to_path(where))
    uri = normalize_uri(where)
    if uri.startswith("s3://"):
        return uri.rstrip("/")
    try:
        return str(Path(where).expanduser().absolute())
    except RuntimeError as error:
        raise NotFound(f"{where} names the home of a user that does not exist. Give another path.") from error


def _parent(location: str) -> str:
    return location.rpartition("/")[0]


def _read_package(workspace: Workspace, arn: str) -> Package:
    if not _PACKAGE_ARN.fullmatch(arn):
        raise ArtifactError(
            f"{arn} is not the ARN of a model package, which ends with model-package/GROUP/VERSION. Give such an ARN, "
            "or GROUP or GROUP/VERSION."
        )
    try:
        return describe_package(workspace, arn)
    except NotFound as error:
        raise NotFound(f"There is no model package {arn}. Check its group, version, account and region.") from error


def find_versions(workspace: Workspace, group: str, alternative: str = "") -> list[PackageVersion]:
    """Return the versions of a group, newest first; raises NotFound, with similar names, when there are none.

    `alternative` is the error's text about what else the name could mean.
    """
    try:
        found = list_versions(workspace, group)
    except NotFound as error:
        raise NotFound(
            f"There is no model package group {group!r}{alternative}.{_suggest_group(workspace, group)}"
        ) from error
    if not found:
        raise NotFound(f"The model package group {group!r} has no versions. Train a model, or give another group.")
    return found


def _suggest_group(workspace: Workspace, group: str) -> str:
    try:
        close = get_close_matches(group, list_groups(workspace), n=1)
    except AwsError:  # such as a missing permission: the suggestion is optional
        close = []
    return f" Did you mean {close[0]!r}?" if close else " Check the name and the workspace's region."


def find_version(workspace: Workspace, group: str, version: int, alternative: str = "") -> Package:
    """Return a version of a group; raises NotFound, with the versions or similar names, when it does not exist."""
    versions = find_versions(workspace, group, alternative)
    found = next((one for one in versions if one.version == version), None)
    if found is None:
        raise NotFound(f"The model package group {group!r} has no version {version}: it has {_join(versions)}.")
    return describe_package(workspace, found.arn)


def _find_usable(workspace: Workspace, group: str, *, allow_unapproved: bool) -> Package:
    """Return the newest Approved package of a group or, where that is allowed, the newest that waits for approval."""
    versions = find_versions(workspace, group, _NO_FOLDER)
    approved = [one for one in versions if one.status == "Approved"]
    waiting = [one for one in versions if one.status == PENDING]
    if chosen := approved or (waiting if allow_unapproved else []):
        return describe_package(workspace, chosen[0].arn)
    if not waiting:
        raise ArtifactError(
            f"No version of {group!r} is Approved, and none waits for approval: all are Rejected. Train a better "
            f"model, or give a version, such as {group}/{versions[0].version}, with --allow-unapproved."
        )
    raise ArtifactError(
        f"No version of {group!r} is Approved, but waiting for approval: {_join(waiting)}. Approve one with "
        f"`{approval_command(group, waiting[0].version)}`, or give {group}/{waiting[0].version} with "
        "--allow-unapproved."
    )


def _join(versions: Sequence[PackageVersion]) -> str:
    numbers = ", ".join(str(one.version) for one in versions[:MAX_NAMES])
    return f"version{'s' * (len(versions) > 1)} {numbers}{', …' * (len(versions) > MAX_NAMES)}"


def _title(package: Package) -> str:
    return f"Version {package.version} of {package.group!r}"


def _use_package(workspace: Workspace, package: Package, *, allow_unapproved: bool) -> ModelSource:
    if package.status != "Approved" and not allow_unapproved:
        state = "waits for approval" if package.status == PENDING else "is Rejected"
        raise ArtifactError(
            f"{_title(package)} {state}, and only an Approved version is used. Approve it with "
            f"`{approval_command(package.group, package.version)}`, or allow it with --allow-unapproved."
        )
    return find_package_model(workspace, package)


def _find_in_folder(workspace: Workspace, folder: str) -> ModelSource:
    """Return the model in a folder, which need not have a `run.json`."""
    record = _read_run_beside(workspace, folder)
    return _to_source(workspace, f"{folder}/{ARCHIVE}", _recorded_in(record, folder))


def _find_run(workspace: Workspace, run: str) -> ModelSource:
    """Return the model of a `run.json`, which is beside it or else where the record says."""
    content = _read(workspace, run)
    if content is None:
        raise NotFound(f"There is no file {run}. Give the {RunRecord.FILE_NAME} of a run, or a folder with a model.")
    record, folder = RunRecord.parse(content, run), _parent(run)
    beside = f"{folder}/{ARCHIVE}"
    model = beside if _exists(workspace, beside) else str(record.model.get("uri", beside))
    return _to_source(workspace, model, _recorded_in(record, folder))


def find_record(workspace: Workspace, package: Package) -> RunRecord | None:
    """Return the `run.json` beside the model of a package; None if there is none or it cannot be read."""
    return _read_run_beside(workspace, _parent(package.model_uri)) if package.model_uri else None


def read_record(workspace: Workspace, source: ModelSource) -> bytes | None:
    """Return the content of the `run.json` beside a model; None if there is none.

    Raises ArtifactError when it is the record of another model.
    """
    where = f"{_parent(source.location)}/{RunRecord.FILE_NAME}"
    content = _read_optional(workspace, where)
    if content is None:
        return None
    if source.sha256 and RunRecord.parse(content, where).model.get("sha256") not in {source.sha256, None}:
        raise ArtifactError(_describe_change(where))
    return content


def _read_run_beside(workspace: Workspace, folder: str) -> RunRecord | None:
    where = f"{folder}/{RunRecord.FILE_NAME}"
    content = _read_optional(workspace, where)
    return None if content is None else RunRecord.parse(content, where)


def _recorded_in(record: RunRecord | None, folder: str) -> _Recorded:
    """Return what a run.json says. Without one, a schema beside the model is used; an older one has no schema."""
    beside = f"{folder}/{Schema.FILE_NAME}"
    if record is None:
        return _Recorded(schema_locations=[beside])
    checksum, schema = record.model.get("sha256"), record.table_schema
    if not schema:
        return _Recorded(checksum, features=record.features)
    return _Recorded(checksum, [beside, schema.get("uri", beside)], schema.get("sha256"), record.features)


def _to_source(workspace: Workspace, model: str, recorded: _Recorded) -> ModelSource:
    stored = _stat_model(workspace, model)
    if recorded.model_sha256 and stored.sha256 not in {recorded.model_sha256, None}:
        raise ArtifactError(_describe_change(model))
    schema = _read_schema(workspace, recorded)
    return ModelSource(
        location=model,
        identity=stored.identity,
        sha256=recorded.model_sha256 or stored.sha256,
        table_schema=schema,
        features=None if schema else recorded.features,
    )


def _stat_model(workspace: Workspace, model: str) -> StoredObject:
    """Return the properties of model.tar.gz; for one on this machine, the checksum is its identity."""
    if model.startswith("s3://"):
        try:
            return stat_object(workspace, model)
        except NotFound as error:
            raise NotFound(f"There is no object {model}. Give the folder that has a {ARCHIVE}.") from error
    path = Path(model)
    if not path.is_file():
        raise NotFound(f"There is no {ARCHIVE} in {path.parent}.{_list_models(path.parent)}")
    checksum = sha256_of(path)
    return StoredObject(uri=model, size=path.stat().st_size, etag=checksum, sha256=checksum)


def _list_models(folder: Path) -> str:
    found = sorted(path.parent for path in folder.glob(f"*/{ARCHIVE}"))[:MAX_NAMES]
    if found:
        return f" Give one of its folders that have one: {', '.join(map(str, found))}."
    return " Give a folder with a model, the run.json of a run, or a model package."


def _read_schema(workspace: Workspace, recorded: _Recorded) -> Schema | None:
    expected = recorded.schema_sha256
    for location in recorded.schema_locations:
        content = _read(workspace, location) if expected else _read_optional(workspace, location)
        if content is None:
            continue
        if expected and sha256(content).hexdigest() != expected:
            raise ArtifactError(_describe_change(location))
        return Schema.parse(content, location)
    if expected:
        raise NotFound(
            f"There is no object or file {' or '.join(dict.fromkeys(recorded.schema_locations))}, the schema of the "
            "model. Restore it: without it the columns of a table cannot be matched."
        )
    return None


def _read(workspace: Workspace, location: str) -> bytes | None:
    """Return the content of a small object or file; None if it does not exist."""
    try:
        return read_object(workspace, location)[0] if location.startswith("s3://") else Path(location).read_bytes()
    except (NotFound, FileNotFoundError, NotADirectoryError):
        return None


def _read_optional(workspace: Workspace, location: str) -> bytes | None:
    """As `_read`, for what need not exist: without the permission to list a bucket, S3 denies what is missing."""
    try:
        return _read(workspace, location)
    except AwsError as error:
        if error.retryable:
            raise
        return None


def _exists(workspace: Workspace, location: str) -> bool:
    if not location.startswith("s3://"):
        return Path(location).is_file()
    try:
        stat_object(workspace, location)
    except NotFound:
        return False
    return True


def _describe_change(location: str) -> str:
    return (
        f"{location} is not the file that was recorded: its SHA-256 differs. Restore it, or give the model of "
        "another run."
    )
