"""Where a table is: one object, a prefix with many, or a file of this machine; and what identifies its content."""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from aws.errors import NotFound
from aws.storage import StoredObject, fetch, look, under
from aws.workspace import Workspace
from linear_learner.errors import DataError
from tasks.caching.local_files import work_folder

LOCAL = "file://"


class Source(BaseModel):
    """The files of one table, in the order of their rows."""

    model_config = ConfigDict(frozen=True)

    uri: str
    parts: tuple[StoredObject, ...]

    @property
    def identity(self) -> str:
        """What changes when the content does, or the order of the parts."""
        if len(self.parts) == 1:
            return self.parts[0].identity
        said = "\n".join(f"{part.uri.removeprefix(self.uri)} {part.identity}" for part in self.parts)
        return f"{len(self.parts)} parts {hashlib.sha256(said.encode()).hexdigest()[:32]}"

    @property
    def size(self) -> int:
        """Bytes of all parts as they are stored."""
        return sum(part.size for part in self.parts)


def find(workspace: Workspace, source: str) -> Source:
    """The table at `source`; raises NotFound when nothing is there.

    `source` is an `s3://` URI or a key in the workspace's bucket, with a slash at its end when it is a prefix; or a
    file or folder of this machine, as `file://` URI or absolute path.
    """
    if source.startswith((LOCAL, "/")):
        return _local(Path(source.removeprefix(LOCAL)))
    uri = workspace.locate(source)
    if not uri.endswith("/"):
        return Source(uri=uri, parts=(look(workspace, uri),))
    parts = tuple(part for part in under(workspace, uri) if part.size and not _is_hidden(part.uri.removeprefix(uri)))
    if not parts:
        raise NotFound(f"There is no object under {uri}. Check the bucket's name, the prefix and the region.")
    return Source(uri=uri, parts=parts)


def local_copy(workspace: Workspace, part: StoredObject) -> Path:
    """The part as a file of this machine, downloaded unless it is here already."""
    if part.uri.startswith(LOCAL):
        path = Path(part.uri.removeprefix(LOCAL))
        if not path.is_file() or _described(path) != part:
            raise DataError(f"{path} was changed or removed while it was used. Run again to take the new one.")
        return path
    path = copy_folder(part) / "part"
    fetch(workspace, part, path)
    return path


def copy_folder(part: StoredObject) -> Path:
    """The folder that holds a part's local copy; it may be removed at any time."""
    return work_folder(hashlib.sha256(part.identity.encode()).hexdigest()[:20])


def _local(path: Path) -> Source:
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]
    parts = tuple(_described(file) for file in files if not _is_hidden(str(file.relative_to(path))))
    if not parts:
        raise NotFound(f"There is no file {path} on the machine that runs this step. Check the path, or use S3.")
    return Source(uri=f"{LOCAL}{path}", parts=parts)


def _described(file: Path) -> StoredObject:
    status = file.stat()
    if not status.st_size:
        raise DataError(f"{file} is empty. It needs a header line and rows of numbers, separated by commas.")
    # A file has no ETag; a change of content changes the time of modification, and at worst a step runs once more.
    whole = file.resolve()
    return StoredObject(uri=f"{LOCAL}{whole}", size=status.st_size, etag=f"{whole}:{status.st_mtime_ns}")


def _is_hidden(path: str) -> bool:
    """Markers that Spark and Hive leave among the parts, such as _SUCCESS."""
    return any(name.startswith((".", "_")) for name in path.split("/") if name != ".")
