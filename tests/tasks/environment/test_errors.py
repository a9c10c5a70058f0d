"""Errors of the operating system, the network and Prefect are described with place and remedy, without secrets."""

import errno
import os
import pickle
from pathlib import Path

import httpx
import polars as pl
import pytest
from prefect.exceptions import CancelledRun, PrefectHTTPStatusError

from aws.errors import Unavailable
from linear_learner.errors import DataError
from tasks.environment.errors import ExternalError, describe_error, is_temporary, translate_external_errors

REQUEST = httpx.Request("POST", "http://user:hidden@prefect.example:4200/api/flow_runs?token=hidden")
URL = "http://prefect.example:4200/api/flow_runs"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def os_error(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), path)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def status_error(status: int) -> Exception:
    response = httpx.Response(status, request=REQUEST, json={"detail": "hidden"})
    return PrefectHTTPStatusError.from_httpx_error(httpx.HTTPStatusError("", request=REQUEST, response=response))


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (os_error(errno.ENOSPC, "/nowhere/x"), ["disk space of /nowhere/x", "are free", "Free space"]),
        (os_error(errno.EDQUOT, "/nowhere/x"), ["disk quota of /nowhere/x"]),
        (os_error(errno.EFBIG, "/nowhere/x"), ["/nowhere/x", "ulimit -f"]),
        (os_error(errno.EMFILE, "/nowhere/x"), ["/nowhere/x", "too many open files", "ulimit -n"]),
        (os_error(errno.EACCES, "/nowhere/x"), ["/nowhere/x", "Permission denied", "Change its permissions"]),
        (os_error(errno.EROFS, "/caches/train-linear-learner/x"), ["Read-only file system", "set XDG_CACHE_HOME"]),
        (os_error(errno.ENOTDIR, "/nowhere/x"), ["/nowhere/x", "Not a directory"]),
        (os_error(errno.EIO), ["Input/output error"]),
        (os_error(errno.ENOSPC), ["No space left on device", "Free space"]),
        (pl.exceptions.ComputeError("No space left on device (os error 28)"), ["No space left on device"]),
        (caused(RuntimeError("x"), os_error(errno.EROFS, "/nowhere/x")), ["/nowhere/x", "Read-only file system"]),
        (ExceptionGroup("x", [os_error(errno.EROFS, "/nowhere/x")]), ["/nowhere/x", "Read-only file system"]),
        (ConnectionResetError(errno.ECONNRESET, "reset"), ["connection failed", "reset"]),
        (httpx.ConnectError("[Errno 111] Connection refused", request=REQUEST), [URL, "refused", "PREFECT_API_URL"]),
        (httpx.ReadTimeout("", request=REQUEST), [URL, "ReadTimeout"]),
        (httpx.ProxyError("403 Forbidden", request=REQUEST), [URL, "403 Forbidden"]),
        (caused(RuntimeError("Failed to reach API"), httpx.ConnectError("x", request=REQUEST)), [URL]),
        (status_error(401), [URL, "POST with 401 Unauthorized", "PREFECT_API_KEY"]),
        (status_error(404), [URL, "404 Not Found", "PREFECT_API_URL"]),
        (status_error(503), [URL, "503 Service Unavailable", "server's log"]),
    ],
    ids=lambda case: repr(case)[:60],
)
def test_an_error_is_described_with_place_and_remedy(
    error: Exception, parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    message = describe_error(error)
    assert message
    assert [part for part in parts if part not in message] == []
    assert "hidden" not in message
    assert "\n" not in message


def test_the_proxy_of_a_url_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://user:hidden@proxy.example:3128")
    error = httpx.ConnectError("refused", request=REQUEST)
    message = str(describe_error(error))
    assert "through the proxy http://proxy.example:3128" in message
    assert "NO_PROXY" in message
    assert "hidden" not in message
    monkeypatch.setenv("no_proxy", "prefect.example")
    assert "proxy" not in str(describe_error(error))


@pytest.mark.parametrize(
    "error", [DataError("x"), caused(Unavailable("x"), os_error(errno.ENOSPC)), KeyError("x"), CancelledRun("x")]
)
def test_own_and_unexpected_errors_are_raised_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, translate_external_errors():
        raise error
    assert caught.value is error


def test_an_external_error_is_raised_with_its_description_and_cause() -> None:
    with pytest.raises(ExternalError, match="/nowhere/x cannot be used") as caught, translate_external_errors():
        raise os_error(errno.EROFS, "/nowhere/x")
    assert isinstance(caught.value.__cause__, OSError)
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - as between the processes of Dask
    assert (str(copy), copy.retryable) == (str(caught.value), False)


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        *(
            (os_error(getattr(errno, name)), False)
            for name in ("ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "ENOENT")
        ),
        (pl.exceptions.ComputeError("No space left on device (os error 28)"), False),
        (OSError("No space left on device (os error 28)"), False),
        (FileNotFoundError("No such file or directory (os error 2): /x"), False),
        (caused(RuntimeError("x"), os_error(errno.ENOSPC)), False),
        (pl.exceptions.ComputeError("not a number"), False),
        (KeyError("x"), False),
        (ConnectionResetError("x"), True),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), True),
        (TimeoutError("x"), True),
        (os_error(errno.ESTALE), True),
        (os_error(errno.EHOSTUNREACH), True),
    ],
    ids=lambda case: repr(case)[:60],
)
def test_only_errors_that_may_pass_are_temporary(error: Exception, temporary: bool) -> None:
    assert is_temporary(error) is temporary


def test_the_folder_of_a_temporary_file_is_set_by_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert "set TMPDIR" in str(describe_error(os_error(errno.EROFS, str(tmp_path))))
