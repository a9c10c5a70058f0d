"""The files of a table (an S3 object, an S3 prefix or a local path) and the identity of their content."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from shutil import rmtree
from urllib.parse import unquote

from pydantic import BaseModel

from aws.errors import NotFound
from aws.storage import StoredObject, download_object, list_objects, stat_object
from aws.workspace import Workspace
from linear_learner.errors import DataError
from tasks.caching import work_folder
from tasks.environment.folders import explain_disk_errors, require_space

FILE_SCHEME = "file://"
HIVE_MISSING_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""What Hive and Spark write in the name of a partition folder for a missing value."""

Partition = tuple[tuple[str, str | None], ...]


class TablePart(StoredObject, frozen=True):
    """A file of a table: an object in S3, or a file on this machine."""

    partition: Partition = ()
    """The names and values of its `name=value` folders below the source, as Hive and Spark write them."""


class Source(BaseModel, frozen=True):
    """The files of one table, in the order of their rows."""

    uri: str
    parts: tuple[TablePart, ...]

    @property
    def identity(self) -> str:
        """A text that changes when the content, the order or the partitions of the parts change."""
        if len(self.parts) == 1 and not self.parts[0].partition:
            return self.parts[0].identity
        listing = "\n".join(f"{part.uri.removeprefix(self.uri)} {part.identity}" for part in self.parts)
        return f"{len(self.parts)} parts {hashlib.sha256(listing.encode()).hexdigest()[:32]}"

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)


def find_table(workspace: Workspace, source: str) -> Source:
    """The table at `source`; raises NotFound when there is no file.

    `source` is an `s3://` URI or a key in the workspace's bucket, and a prefix if it ends with a slash; or a file or
    folder on this machine, as `file://` URI or absolute path.
    """
    if source.startswith("/"):
        return _find_local_table(Path(source))
    if source.lower().startswith(FILE_SCHEME):
        return _find_local_table(file_uri_to_path(source))
    uri = workspace.locate(source)
    try:
        return _find_stored_table(workspace, uri)
    except NotFound as error:
        if "://" in source:
            raise
        path = Path(source).absolute()
        here = f"On the machine that runs this step there is no file {path} either."
        if path.exists():
            here = f"Give {FILE_SCHEME}{path} for that file of the machine that runs this step."
        raise NotFound(f"{error} {here}") from error


def _find_stored_table(workspace: Workspace, uri: str) -> Source:
    if not uri.endswith("/"):
        return Source(uri=uri, parts=(TablePart(**dict(stat_object(workspace, uri))),))
    found = {part.uri.removeprefix(uri): part for part in list_objects(workspace, uri) if part.size}
    parts = tuple(
        TablePart(**dict(part), partition=parse_partition(path)) for path, part in found.items() if not _is_hidden(path)
    )
    if not parts:
        raise NotFound(f"There is no object under {uri}. Check the bucket's name, the prefix and the region.")
    return Source(uri=uri, parts=parts)


def file_uri_to_path(uri: str) -> Path:
    """Return the path of a `file://` URI with or without percent-encoding; raises DataError for another machine's."""
    host, slash, path = uri[len(FILE_SCHEME) :].partition("/")
    if host not in {"", "localhost"} or not slash:
        raise DataError(
            f"{uri} names a file on the machine {host!r}; only files of the machine that runs this step can be read. "
            "Write file:///path with three slashes and an absolute path, or use S3."
        )
    literal, decoded = Path(f"/{path}"), Path(f"/{unquote(path)}")
    # The recorded URIs, which people copy, are not encoded: a name may contain a percent sign.
    return literal if literal.exists() and not decoded.exists() else decoded


def make_local_copy(workspace: Workspace, part: StoredObject) -> Path:
    """The path of the part on this machine, downloaded if necessary; raises DataError when a local file changed."""
    if part.uri.startswith(FILE_SCHEME):
        path = Path(part.uri.removeprefix(FILE_SCHEME))
        if not path.is_file() or _stat_file(path).etag != part.etag:
            raise DataError(f"{path} was changed or removed while it was used. Run again to use the new file.")
        return path
    path = local_copy_folder(part) / "part"
    if not path.exists():
        require_space(path.parent, part.size)
        with explain_disk_errors(path.parent, part.size):
            download_object(workspace, part, path)
    return path


def require_space_for_copies(parts: Iterable[StoredObject]) -> None:
    """Raise an ExternalError when this machine's cache has no room for the local copies of these parts."""
    remote = [part for part in parts if not part.uri.startswith(FILE_SCHEME)]
    require_space(work_folder(""), sum(part.size for part in remote if not local_copy_folder(part).exists()))


def remove_local_copies(parts: Iterable[StoredObject]) -> None:
    """Remove the local copies of these parts and the chunks that were spilled from them."""
    for part in parts:
        rmtree(local_copy_folder(part), ignore_errors=True)


def local_copy_folder(part: StoredObject) -> Path:
    """The folder that holds a part's local copy; it may be removed at any time."""
    return work_folder(hashlib.sha256(part.identity.encode()).hexdigest()[:20])


def _find_local_table(path: Path) -> Source:
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]
    found = {file.relative_to(path).as_posix(): file for file in files}
    parts = tuple(_stat_file(file, parse_partition(name)) for name, file in found.items() if not _is_hidden(name))
    if not parts:
        raise NotFound(f"There is no file {path} on the machine that runs this step. Check the path, or use S3.")
    return Source(uri=f"{FILE_SCHEME}{path}", parts=parts)


def parse_partition(path: str) -> Partition:
    """The names and values of the `name=value` folders in the path of a file; None for a missing value."""
    found: dict[str, str | None] = {}
    for folder in path.split("/")[:-1]:
        name, equals, value = folder.partition("=")
        if name and equals:
            found[unquote(name)] = None if value == HIVE_MISSING_VALUE else unquote(value)
    return tuple(found.items())


def _stat_file(file: Path, partition: Partition = ()) -> TablePart:
    status = file.stat()
    if not status.st_size:
        raise DataError(f"{file} is empty. It needs a header line and rows.")
    # A file has no ETag. Its modification time changes with its content; if only the time changes, a step runs again.
    path = file.resolve()
    etag = f"{path}:{status.st_mtime_ns}"
    return TablePart(uri=f"{FILE_SCHEME}{path}", size=status.st_size, etag=etag, partition=partition)


def _is_hidden(path: str) -> bool:
    """Whether a file is a marker that Spark or Hive writes beside the parts, such as _SUCCESS.

    A folder such as `_year=2020` is a partition.
    """
    names = [name for name in path.split("/") if name != "."]
    return any(name.startswith(".") or (name.startswith("_") and "=" not in name) for name in names)
