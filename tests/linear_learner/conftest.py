"""Real jobs to compare with."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real jobs, artifacts and records; without it the test is skipped."""
    if not (folder := os.environ.get("LINEAR_LEARNER_CORPUS")):
        pytest.skip("LINEAR_LEARNER_CORPUS does not name a folder of real jobs")
    return Path(folder)
