"""The deployments as the README puts them up: a real server, a real worker, the sandbox, and the commands it gives."""

import sys
from pathlib import Path
from typing import Any


def test_the_readmes_commands_put_up_deployments_that_a_worker_runs(production: Any) -> None:
    prefect = str(Path(sys.executable).with_name("prefect"))
    listed = production.run(prefect, "deployment", "ls")
    assert all(name in listed for name in ("nightly", "ad-hoc", "reaper"))
    with production.running(*production.worker_command, log="worker.log"):
        for name in ("ad-hoc", "nightly"):
            run = production.run(prefect, "deployment", "run", f"train-linear-learner/{name}", "--watch")
            assert "Completed" in run, run + production.said("worker.log")[-5000:]
    said = production.said("worker.log")
    assert "started: training job linear-learner-" in said
    assert "reused: training job linear-learner-" in said, "the second deployment has the same input"
