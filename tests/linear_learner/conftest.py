"""Fixtures for tests that compare with real jobs."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real jobs, artifacts and records; tests are skipped without it."""
    if not (folder := os.environ.get("LINEAR_LEARNER_CORPUS")):
        pytest.skip("LINEAR_LEARNER_CORPUS does not name a folder of real jobs")
    return Path(folder)
