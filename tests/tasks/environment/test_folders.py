"""Files are written completely or not at all; folders that cannot be written to are found before they are needed."""

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from linear_learner.errors import DataError
from tasks.data.reader import spill_chunks
from tasks.data.shuffle import scatter
from tasks.data.writer import write_rows
from tasks.environment.errors import ExternalError
from tasks.environment.folders import (
    abandoned_folders,
    check_folders,
    explain_disk_errors,
    lock_folder,
    require_space,
    write_atomically,
    write_text,
)
from tests.tasks.encodings import numeric_schema


@pytest.fixture
def small_files() -> Iterator[None]:
    """Limit the size of files, which fails as a full disk does, after some bytes were written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


FRAME = pl.DataFrame({"pay": [float(number) for number in range(20_000)], "age": range(20_000)})
SCHEMA = numeric_schema("pay", FRAME.columns)


def test_a_file_that_was_written_completely_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_text(path, "old")
    write_text(path, "Grüße")
    assert path.read_text(encoding="utf-8") == "Grüße"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [DataError("x"), KeyboardInterrupt(), SystemExit(130)])
def test_an_error_leaves_the_old_file_and_no_temporary_one(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")

    def write() -> None:
        with write_atomically(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("run.json", "old")]


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("file_format", ["csv", "recordio"])
def test_a_channel_that_does_not_fit_leaves_no_piece(tmp_path: Path, file_format: str) -> None:
    with pytest.raises(ExternalError, match=str(tmp_path)):
        write_rows([FRAME], SCHEMA, tmp_path / "train", file_format)  # type: ignore[arg-type] # a format
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_files")
def test_chunks_that_do_not_fit_leave_no_piece(tmp_path: Path) -> None:
    with pytest.raises(ExternalError, match=str(tmp_path)):
        list(spill_chunks([FRAME], tmp_path / "chunks"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_files")
def test_rows_to_shuffle_that_do_not_fit_are_reported_with_the_folder(tmp_path: Path) -> None:
    positions = pl.arange(0, FRAME.height, eager=True).cast(pl.UInt32).to_numpy()
    with pytest.raises(ExternalError, match=str(tmp_path)), explain_disk_errors(tmp_path):
        scatter([FRAME], positions, (0, FRAME.height), FRAME.schema, tmp_path)


def test_missing_space_is_reported_with_needed_and_free_bytes(tmp_path: Path) -> None:
    require_space(tmp_path / "missing", 1)
    with pytest.raises(ExternalError, match=r"1000000000\.0 GB are needed and .* are free"):
        require_space(tmp_path / "missing", 10**18)


def test_a_full_disk_is_not_retried(tmp_path: Path) -> None:
    with pytest.raises(ExternalError) as caught, explain_disk_errors(tmp_path, 3_800_000):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not caught.value.retryable
    assert "3.8 MB are needed" in str(caught.value)


@pytest.mark.parametrize("place", ["file", "file/models", "dangling/models", "/proc/models"])
def test_every_folder_that_cannot_be_written_to_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "missing" / "folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    models, cache = map(str, check_folders(str(tmp_path / place)))
    assert str(tmp_path / place) in models
    assert "model_dir" in models
    assert str(tmp_path / "file") in cache
    assert "XDG_CACHE_HOME" in cache


def test_folders_that_can_be_created_pass_and_are_not_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a" / "cache"))
    assert check_folders(str(tmp_path / "b" / "models")) == []
    assert list(tmp_path.iterdir()) == []


def test_the_home_of_an_unknown_user_is_reported() -> None:
    with pytest.raises(ExternalError, match="~nobody-knows/models"):
        check_folders("~nobody-knows/models")


def test_folders_of_dead_processes_are_abandoned_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "living") as living:
        (living / "part").touch()
        (tmp_path / "dead" / "files").mkdir(parents=True)
        found = [path for path in abandoned_folders([*tmp_path.iterdir(), tmp_path / "missing"]) if path.is_dir()]
        assert found == [tmp_path / "dead" / "files"]
        assert [path.name for path in tmp_path.iterdir()] == ["living"]
        assert (living / "part").exists()
