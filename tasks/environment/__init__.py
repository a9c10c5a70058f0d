"""The environment of a run: folders and disks of this machine, the network, Prefect's server, and their errors."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder on this machine for files that can be created again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "train-linear-learner"
