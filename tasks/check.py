"""Check: say all that is wrong with the data, before anything is uploaded or paid."""

from collections.abc import Mapping
from contextlib import suppress

import httpx
from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from linear_learner.errors import DataError
from linear_learner.hyperparameters import Hyperparameters
from tasks.data.profile import Profile
from tasks.data.profile_report import data_report
from tasks.data.rules.table import Finding, judge, refusal

ARTIFACT_KEY = "data-profile"
"""The same for every run, so that Prefect keeps their history together."""


@task(name="check", task_run_name="check {profile.rows} rows", cache_policy=NO_CACHE, persist_result=False)
def check(
    profile: Profile,
    rows: Mapping[str, int],
    hyperparameters: Hyperparameters,
    source: str,
    ignored: tuple[str, ...] = (),
) -> tuple[Finding, ...]:
    """Judge the table `source` and show its profile; returns the warnings, raises DataError with all errors.

    `rows` are those of each channel; `ignored` names columns that are no features.
    """
    findings = judge(profile, rows, hyperparameters, ignored)
    with suppress(httpx.HTTPError):  # what is wrong is said below, too
        report = data_report(profile, findings, ignored)
        create_markdown_artifact(report, key=ARTIFACT_KEY, description=f"Data of {source}")
    for finding in findings:
        if finding.level == "warning":
            get_run_logger().warning("%s", finding)
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        raise DataError(refusal(source, errors))
    return findings
