"""Which results of earlier runs a step reuses, where they are stored, and why a step runs again.

This module has the work folders for temporary files on this machine.
"""

import time
from contextlib import suppress
from pathlib import Path
from shutil import rmtree

from tasks.environment import cache_folder

MAX_AGE_SECONDS = 7 * 24 * 3600
"""Age at which the files of an interrupted run are removed."""


def remove_old_work_folders() -> None:
    """Remove the work folders older than MAX_AGE_SECONDS, which runs that failed or were killed have left."""
    for folder in (cache_folder() / "work").glob("*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > MAX_AGE_SECONDS:
                rmtree(folder)


def work_folder(identity: str) -> Path:
    """Return the folder for the files of one prepared table; it is removed once they are in S3."""
    return cache_folder() / "work" / identity
