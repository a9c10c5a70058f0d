"""A command reports every error in one sentence, and a closed or full standard output is not a traceback."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli.command import print_result, report_errors
from tasks.environment.errors import ExternalError


def failing(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


def test_an_error_of_the_environment_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_errors(failing(OSError(errno.EROFS, os.strerror(errno.EROFS), "/nowhere/x"))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("/nowhere/x cannot be used: Read-only file system.")


@pytest.mark.parametrize(
    ("error", "code"), [(SystemExit(130), 130), (SystemExit(143), 143), (KeyboardInterrupt(), 130)]
)
def test_an_interruption_is_one_sentence(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_errors(failing(error), "Interrupted. Nothing is left.") == code
    assert capsys.readouterr().err == "Interrupted. Nothing is left.\n"


def test_an_error_while_an_interruption_is_handled_is_the_interruption(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        try:
            raise SystemExit(143)
        finally:
            raise ConnectionResetError("the server is gone")

    assert report_errors(command) == 143
    assert capsys.readouterr().err == "Interrupted.\n"


def test_an_unexpected_error_is_one_sentence_that_names_the_file_with_the_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert report_errors(failing(KeyError("colour"))) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "Unexpected error" in line
    assert "KeyError" in line
    assert "continues to run" in line
    (saved,) = tmp_path.iterdir()
    assert str(saved) in line
    assert "Traceback" in saved.read_text()


def test_a_reader_that_closed_the_pipe_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        print_result("the summary")
        print_result("more")


def test_a_full_standard_output_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(ExternalError, match="standard output: No space left on device"):
            print_result("the summary")


def test_a_closed_standard_output_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    print_result("the summary")
