"""The files of a table (an S3 object, an S3 prefix or a local path) and the identity of their content."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

from aws.errors import NotFound
from aws.storage import StoredObject, download_object, list_objects, stat_object
from aws.workspace import Workspace
from linear_learner.errors import DataError
from tasks.caching import work_folder

FILE_SCHEME = "file://"


class Source(BaseModel, frozen=True):
    """The files of one table, in the order of their rows."""

    uri: str
    parts: tuple[StoredObject, ...]

    @property
    def identity(self) -> str:
        """A text that changes when the content or the order of the parts changes."""
        if len(self.parts) == 1:
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
    if source.startswith((FILE_SCHEME, "/")):
        return _find_local_table(Path(source.removeprefix(FILE_SCHEME)))
    uri = workspace.locate(source)
    if not uri.endswith("/"):
        return Source(uri=uri, parts=(stat_object(workspace, uri),))
    parts = tuple(
        part for part in list_objects(workspace, uri) if part.size and not _is_hidden(part.uri.removeprefix(uri))
    )
    if not parts:
        raise NotFound(f"There is no object under {uri}. Check the bucket's name, the prefix and the region.")
    return Source(uri=uri, parts=parts)


def make_local_copy(workspace: Workspace, part: StoredObject) -> Path:
    """The path of the part on this machine, downloaded if necessary; raises DataError when a local file changed."""
    if part.uri.startswith(FILE_SCHEME):
        path = Path(part.uri.removeprefix(FILE_SCHEME))
        if not path.is_file() or _stat_file(path) != part:
            raise DataError(f"{path} was changed or removed while it was used. Run again to use the new file.")
        return path
    path = local_copy_folder(part) / "part"
    if not path.exists():
        download_object(workspace, part, path)
    return path


def local_copy_folder(part: StoredObject) -> Path:
    """The folder that holds a part's local copy; it may be removed at any time."""
    return work_folder(hashlib.sha256(part.identity.encode()).hexdigest()[:20])


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` at the end; after an error `path` is not replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")  # another run may be writing the same file
    yield temporary
    temporary.replace(path)


def _find_local_table(path: Path) -> Source:
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]
    parts = tuple(_stat_file(file) for file in files if not _is_hidden(str(file.relative_to(path))))
    if not parts:
        raise NotFound(f"There is no file {path} on the machine that runs this step. Check the path, or use S3.")
    return Source(uri=f"{FILE_SCHEME}{path}", parts=parts)


def _stat_file(file: Path) -> StoredObject:
    status = file.stat()
    if not status.st_size:
        raise DataError(f"{file} is empty. It needs a header line and rows of numbers, separated by commas.")
    # A file has no ETag. Its modification time changes with its content; if only the time changes, a step runs again.
    path = file.resolve()
    return StoredObject(uri=f"{FILE_SCHEME}{path}", size=status.st_size, etag=f"{path}:{status.st_mtime_ns}")


def _is_hidden(path: str) -> bool:
    """Whether a file is a marker that Spark or Hive writes beside the parts, such as _SUCCESS."""
    return any(name.startswith((".", "_")) for name in path.split("/") if name != ".")
