"""Errors from outside this project (operating system, network, Prefect), described in one sentence for users.

Errors of AWS and of the input have classes of their own, AwsError and LinearLearnerError, whose messages are complete.
This module imports only the standard library: the command line describes errors before httpx or Prefect are imported.
"""

import errno
import os
import re
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from tasks.environment import cache_folder

DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
PERMANENT: Final = DISK_FULL | {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP, errno.EMFILE, errno.ENXIO, errno.ENODEV),
}
"""Numbers of errors of this machine's own files, which a retry does not change."""
_OS_ERROR_IN_TEXT: Final = re.compile(r"\(os error (\d+)\)")
"""How polars, which is written in Rust, reports an error of the operating system."""


class ExternalError(Exception):
    """An error of this machine, the network or Prefect; the message says what happened, where, and what to do."""

    retryable = False


def describe_error(error: BaseException) -> str | None:
    """Describe an error from outside this project in one sentence with its place and remedy; None for other errors."""
    if hasattr(error, "retryable") and not isinstance(error, ExternalError):
        return None  # an error of this project, whatever caused it
    for cause in _causes(error):
        if isinstance(cause, ExternalError):
            return str(cause)
        found = _describe_http_error(cause) or _describe_os_error(cause) or _describe_prefect_error(cause)
        if found:
            return found
    return None


def describe_unexpected(error: BaseException) -> str:
    """Return class and message of an error on one line, and where in this project or its packages it was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" in {Path(frame[0].filename).name}, line {frame[0].lineno}" if frame else ""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}{where}{f': {message}' if message else ''}"


def is_temporary(error: BaseException) -> bool:
    """Return whether an error of the operating system may not occur again; False for all other errors."""
    for cause in _causes(error):
        if isinstance(cause, ConnectionError | TimeoutError):
            return True
        number = os_error_number(cause)
        if number is not None or isinstance(cause, OSError):
            return number not in PERMANENT
    return False


def os_error_number(error: BaseException) -> int | None:
    """Return the number of an error of the operating system, also of one that polars reports; None for other errors."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    # polars raises OSError without a number, or one of its own classes.
    from_polars = isinstance(error, OSError) or type(error).__module__.startswith("polars")
    found = _OS_ERROR_IN_TEXT.search(str(error)) if from_polars else None
    return int(found[1]) if found else None


@contextmanager
def translate_external_errors() -> Iterator[None]:
    """Raise an ExternalError with the description instead of an error from outside this project."""
    try:
        yield
    except ExternalError:
        raise
    except Exception as error:
        if (message := describe_error(error)) is None:
            raise
        raise ExternalError(message) from error


def describe_file_error(number: int, path: Path, needed: int | None = None, remedy: str = "") -> str:
    """Describe an error of writing or reading `path`.

    Args:
        number: Number of the error, such as errno.ENOSPC.
        path: The file or folder.
        needed: Number of bytes to write, if known.
        remedy: How to choose another folder; by default, the variable that sets this one, if there is one.
    """
    remedy = remedy or _remedy(path)
    if number in {errno.ENOSPC, errno.EDQUOT}:
        what = "The disk quota" if number == errno.EDQUOT else "The disk space"
        return f"{what} of {path} does not suffice: {_describe_space(path, needed)}. Free space, or {remedy}."
    if number == errno.EFBIG:
        return f"A file in {path} would exceed the largest size that this process may write. Raise it with `ulimit -f`."
    if number == errno.EMFILE:
        return f"{path} cannot be opened: this process has too many open files. Raise the limit with `ulimit -n`."
    reason = os.strerror(number)
    denied = number in {errno.EACCES, errno.EPERM, errno.EROFS}
    return f"{path} cannot be used: {reason}. {'Change its permissions' if denied else 'Check the path'}, or {remedy}."


def free_bytes(path: Path) -> int:
    """Return the free bytes of the file system of `path`, which need not exist yet."""
    existing = next(one for one in (path, *path.absolute().parents) if one.exists())
    return shutil.disk_usage(existing).free


def format_bytes(number: int) -> str:
    """Format a number of bytes with a unit, such as 3.8 MB."""
    for factor, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number} bytes"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes; of a group, the first error."""
    seen = set[int]()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.exceptions[0] if isinstance(current, BaseExceptionGroup) else current.__cause__


def _describe_space(path: Path, needed: int | None) -> str:
    try:
        free = f"{format_bytes(free_bytes(path))} are free"
    except OSError:
        free = "the free space is unknown"
    return f"{format_bytes(needed)} are needed and {free}" if needed else free


def _remedy(path: Path) -> str:
    """Return how to choose another folder than `path`, by the variable that sets it."""
    folders = {
        "XDG_CACHE_HOME": cache_folder().parent,
        "PREFECT_HOME": Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect"),
    }
    for variable, folder in folders.items():
        if path.absolute().is_relative_to(folder.absolute()):
            return f"set {variable} to another folder"
    temporary = Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 - the default of the module tempfile
    is_temporary_file = path == temporary or path.is_relative_to(temporary / path.name)
    return "set TMPDIR to another folder" if is_temporary_file else "choose another folder"


def _describe_os_error(error: BaseException) -> str | None:
    number = os_error_number(error)
    path = next((name for name in (getattr(error, "filename", None), getattr(error, "filename2", None)) if name), None)
    if isinstance(error, ConnectionError | TimeoutError):
        return f"A connection failed: {error or type(error).__name__}. Check the network, and run again."
    if number is None or number < 0:
        return f"{type(error).__name__}: {error}." if isinstance(error, OSError) else None
    if isinstance(path, str | bytes | os.PathLike):
        return describe_file_error(number, Path(os.fsdecode(path)))
    reason = os.strerror(number)
    if number in DISK_FULL:
        return f"{reason}. Free space on the disk that this machine writes to, and run again."
    return f"The operating system reports: {reason}. Remove the cause, and run again."


def _describe_http_error(error: BaseException) -> str | None:
    # Only Prefect's client uses httpx; where it was not imported, no such error can have occurred.
    httpx: Any = sys.modules.get("httpx")
    if httpx is None or not isinstance(error, httpx.HTTPError | httpx.InvalidURL):
        return None
    # `request` raises an error when it is not set.
    request = getattr(error, "_request", None)
    url = str(request.url) if request else os.environ.get("PREFECT_API_URL", "")
    where = f" at {_without_secrets(url)}" if url else ""
    if isinstance(error, httpx.HTTPStatusError):
        response = error.response
        status, detail = f"{response.status_code} {response.reason_phrase}", _status_remedy(response.status_code)
        return f"Prefect's server{where} answered {request.method if request else 'a request'} with {status}. {detail}"
    reason = str(error).strip() or type(error).__name__
    proxy = _proxy_of(url)
    through = f" through the proxy {proxy}" if proxy else ""
    hint = "; if the server needs no proxy, name its host in NO_PROXY" if proxy else ""
    return (
        f"Prefect's server{where} cannot be reached{through}: {reason.rstrip('.')}. "
        f"Check that it is running and that PREFECT_API_URL is correct{hint}."
    )


def _status_remedy(status: int) -> str:
    if status in {401, 403}:
        return "Check PREFECT_API_KEY or PREFECT_API_AUTH_STRING."
    if status == 407:
        return "Check the user and the password of the proxy."
    if status >= 500:
        return "Read the server's log, and run again when it works."
    return "Check that PREFECT_API_URL is the URL of Prefect's API and that server and client have the same version."


def _describe_prefect_error(error: BaseException) -> str | None:
    """Describe an invalid setting, or an error of Prefect's own classes."""
    title = getattr(error, "title", "")
    if type(error).__name__ == "ValidationError" and isinstance(title, str) and title.endswith("Settings"):
        first: Any = getattr(error, "errors", list)()[0]
        return f"A setting of Prefect is not valid: {'.'.join(map(str, first['loc']))}: {first['msg']}. Correct it."
    if type(error).__module__ == "prefect.exceptions" and type(error).__name__ != "CancelledRun":
        return f"Prefect failed with {type(error).__name__}: {' '.join(str(error).split()).rstrip('.')}."
    return None


def _proxy_of(url: str) -> str | None:
    """Return the proxy that the environment sets for a URL, without user and password."""
    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return None if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]) else _without_secrets(proxy)


def _without_secrets(url: str) -> str:
    """Return a URL without user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
