"""Where scattered rows wait to be gathered: on this machine's disk, or in the bucket, where all workers reach them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import NamedTuple

from aws.storage import read_object, remove_all, write_file
from aws.workspace import Workspace


class Runs(NamedTuple):
    """A folder with one folder per file of the table, and in it one file per bucket; `shared` means in the bucket."""

    folder: str
    shared: bool

    @contextmanager
    def writing(self, workspace: Workspace, name: str) -> Iterator[Path]:
        """An empty folder for the buckets of one file of the table."""
        if not self.shared:
            folder = Path(self.folder, name)
            rmtree(folder, ignore_errors=True)  # of a try before
            folder.mkdir(parents=True)
            yield folder
            return
        with TemporaryDirectory() as own:
            yield Path(own)
            for file in Path(own).iterdir():
                write_file(workspace, file, workspace.uri(self.folder, name, file.name))

    def reading(self, workspace: Workspace, found: Mapping[str, Sequence[int]], bucket: int) -> Iterator[bytes]:
        """What each file of the table has of a bucket; `found` names the buckets that each has anything of."""
        for name, buckets in found.items():
            if bucket not in buckets:
                continue
            if self.shared:
                yield read_object(workspace, workspace.uri(self.folder, name, str(bucket)))[0]
            else:
                file = Path(self.folder, name, str(bucket))
                yield file.read_bytes()
                file.unlink()  # what is written instead needs as much room

    def clear(self, workspace: Workspace) -> None:
        """Remove everything."""
        if self.shared:
            remove_all(workspace, workspace.uri(self.folder) + "/")
        else:
            rmtree(self.folder, ignore_errors=True)
