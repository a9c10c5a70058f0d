"""Write files completely or not at all, and check the folders of a run before anything is uploaded or paid for."""

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree

from tasks.environment import cache_folder
from tasks.environment.errors import DISK_FULL, ExternalError, describe_file_error, free_bytes, os_error_number

PROBE_BYTES = 4096
"""Bytes that `check_folders` writes: one block of most file systems."""


@contextmanager
def write_atomically(path: Path, needed: int | None = None) -> Iterator[Path]:
    """Yield a temporary path, for a file or a folder, that replaces the file `path` at the end.

    After an error `path` is unchanged and the temporary file is removed. Raises ExternalError with the folder and its
    free space when the disk is full; `needed` is the number of bytes to write, if known.
    """
    # Another run may be writing the same file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with explain_disk_errors(path.parent, needed):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            remove(temporary)
            yield temporary
            temporary.replace(path)
        except BaseException:
            remove(temporary)
            raise


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, completely or not at all."""
    content = text.encode()
    with write_atomically(path, len(content)) as temporary:
        temporary.write_bytes(content)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists and can be removed."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """An empty folder for the block, removed at the end; so are the files that a killed process has left in it."""
    with explain_disk_errors(path.parent):
        remove(path)
        path.mkdir(parents=True)
        try:
            yield path
        finally:
            remove(path)


@contextmanager
def lock_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder below `path`; other processes that lock `path` wait until the block has ended."""
    with explain_disk_errors(path.parent):
        lock = _lock(path)
    try:
        with temporary_folder(path / "files") as folder:  # a download locks the folder of its file itself
            yield folder
    finally:
        remove(path)
        os.close(lock)


def abandoned_folders(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the folders that killed processes have left in these folders of `lock_folder`, and remove them afterwards.

    Folders that a living process has locked are left out.
    """
    for path in paths:
        with suppress(OSError):  # it is locked, or its process has just removed it
            lock = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield path / "files"
                remove(path)
            finally:
                os.close(lock)


def _lock(path: Path) -> int:
    """The file descriptor of the locked folder; closing it unlocks the folder."""
    while True:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):  # the process before has removed the folder
            if path.stat().st_ino == os.fstat(lock).st_ino:
                return lock
        os.close(lock)


@contextmanager
def explain_disk_errors(folder: Path, needed: int | None = None) -> Iterator[None]:
    """Raise an ExternalError, with the folder and its free space, when a disk is full or a file cannot be written.

    The operating system names no file when writing fails, only when opening fails.
    """
    try:
        yield
    except Exception as error:
        number, name = os_error_number(error), getattr(error, "filename", None)
        if number in DISK_FULL:
            raise ExternalError(describe_file_error(number, folder, needed)) from error
        if number in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST} and name:
            raise ExternalError(describe_file_error(number, Path(os.fsdecode(name)))) from error
        raise


def require_space(folder: Path, needed: int) -> None:
    """Raise an ExternalError when the file system of `folder` has fewer than `needed` free bytes."""
    if free_bytes(folder) < needed:
        raise ExternalError(describe_file_error(errno.ENOSPC, folder, needed))


def model_folder(model_dir: str) -> Path:
    """Return the absolute path of the folder for models; raises ExternalError when it names an unknown user's home."""
    try:
        return Path(model_dir).expanduser().absolute()
    except RuntimeError as error:
        raise ExternalError(f"The model folder {model_dir} names the home of a user that does not exist.") from error


def check_folders(model_dir: str) -> list[ExternalError]:
    """Check the folders that a run writes to; returns an error for each that cannot be written to, and creates none."""
    found = []
    remedies = {
        "choose another folder with model_dir": model_folder(model_dir),
        "set XDG_CACHE_HOME to another folder": cache_folder(),
    }
    for remedy, folder in remedies.items():
        try:
            _write_probe(folder)
        except OSError as error:
            message = describe_file_error(error.errno or errno.EIO, Path(str(error.filename)), remedy=remedy)
            found.append(ExternalError(f"No files can be written to {folder}: {message}"))
    return found


def _write_probe(folder: Path) -> None:
    """Write a temporary file to the folder, or to the nearest existing one that it would be created in."""
    existing = folder.absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    if not existing.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(existing))
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(PROBE_BYTES))
    except OSError as error:  # it names no file, or the temporary one
        raise OSError(error.errno, os.strerror(error.errno or errno.EIO), str(existing)) from error
