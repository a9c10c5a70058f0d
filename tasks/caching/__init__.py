"""Which results of earlier runs a step reuses, where they are stored, and why a step runs again.

This module itself names the folders of this machine for files that may be lost at any time.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from shutil import rmtree

MAX_AGE_SECONDS = 7 * 24 * 3600
"""How long the files of an interrupted run are left for the next one."""


def cache_folder() -> Path:
    """Folder on this machine for what may be lost."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "train-linear-learner"


def remove_old_work_folders() -> None:
    """Remove the files of tables that were given up days ago: a killed run's, or those that could not be trained on."""
    for folder in (cache_folder() / "work").glob("*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > MAX_AGE_SECONDS:
                rmtree(folder)


def work_folder(identity: str) -> Path:
    """Folder on this machine for the files of one prepared table; removed once they are in S3."""
    return cache_folder() / "work" / identity
