"""The flow on a machine with unusable folders, before anything is paid for and after it was paid for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from aws.storage import read_object
from aws.workspace import Workspace
from flows.train import train_linear_learner
from tasks.environment.errors import ExternalError
from tasks.record import RunRecord

Jobs = Callable[[], list[str]]


def failure_artifact(run: Any) -> str:
    with get_client(sync_client=True) as client:
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        return "\n".join(str(one.data) for one in client.read_artifacts(artifact_filter=of_run) if one.key == "failure")


def test_unusable_folders_and_an_unusable_workspace_are_reported_at_once_before_anything_is_stored(
    parameters: dict[str, Any], workspace: Workspace, jobs: Jobs, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine / "file"))
    other = workspace.model_copy(update={"role_arn": "arn:aws:iam::123456789012:role/missing"})
    other.save("folders", overwrite=True)
    chosen = {**parameters, "workspace": "folders", "model_dir": str(machine / "file" / "models")}
    state = train_linear_learner(**chosen, return_state=True)
    error = state.result(raise_on_failure=False)
    assert isinstance(error, ExternalError)
    models, cache, role = str(error).splitlines()
    assert f"{machine}/file/models" in models
    assert f"{machine}/file/train-linear-learner" in cache
    assert "There is no role" in role
    assert models in str(state.message)
    assert models.split(":")[0] in failure_artifact(state.state_details.flow_run_id).replace("\\", "")
    assert jobs() == []


def test_after_the_job_an_unusable_model_folder_ends_a_run_but_what_is_only_bookkeeping_does_not(
    parameters: dict[str, Any], workspace: Workspace, machine: Path, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    first = train_linear_learner(**parameters)
    (machine / "other").mkdir()
    (machine / "other" / first.job.name).touch()  # passes the check of the folder
    with pytest.raises(ExternalError) as caught:
        train_linear_learner(**{**parameters, "model_dir": str(machine / "other")})
    assert f"Training job {first.job.name} is complete" in str(caught.value)
    assert f"{machine}/other/{first.job.name}" in str(caught.value)
    caplog.clear()
    folder = first.model.path.parent
    for name in ("report.html", "run.json"):
        (folder / name).unlink()
        (folder / name).mkdir()  # a folder in the way
    again = train_linear_learner(**parameters)
    assert again.submission.how == "reused"
    assert len(jobs()) == 1
    warnings = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    (record,) = (one for one in warnings if "run.json" in one)
    assert again.recorded.uri in record
    (page,) = (one for one in warnings if "report.html" in one)
    assert "model-report" in page
    assert RunRecord.parse(read_object(workspace, again.recorded.uri)[0], "run.json").training_job == again.job.name
    assert sorted(path.name for path in folder.iterdir()) == ["model.tar.gz", "report.html", "run.json", "schema.json"]
