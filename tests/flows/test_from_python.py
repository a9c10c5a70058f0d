"""The flow as a function: in a script, under a running event loop, as in a notebook, and as a subflow."""

import asyncio
import socket
from typing import Any

import pandas as pd
import pytest
from prefect import flow

from aws.errors import Unavailable
from aws.workspace import Workspace
from flows.train import train_linear_learner
from sandbox import client
from tasks.report import TrainingRun

FRAME = pd.DataFrame({"score": [0.0, 0.5], "age": [20, 50]})


@flow
def pay_of(parameters: dict[str, Any]) -> tuple[float, list[float]]:
    run = train_linear_learner(**parameters)
    return run.metrics["rmse"], run.predict(FRAME)["prediction"].tolist()


def test_the_result_is_used_in_a_script_in_a_notebook_and_by_a_flow_that_calls_it(parameters: dict[str, Any]) -> None:
    async def cell() -> TrainingRun:
        return train_linear_learner(**parameters)

    run = train_linear_learner(**parameters)
    rmse, pay = pay_of(parameters)
    assert pay == pytest.approx([60, 155], abs=5)
    assert rmse == run.metrics["rmse"] == asyncio.run(cell()).metrics["rmse"]


def test_a_run_is_shown_in_few_words_and_in_a_notebook_as_a_table(run: TrainingRun) -> None:
    assert repr(run) == f"<TrainingRun {run.job.name}: {run.verdict.headline}>"
    html = run._repr_html_()
    assert "<table>" in html
    assert f"{run.metrics['rmse']:.6g}" in html
    assert html.count("<tr>") == len(run.metrics)


def test_a_sandbox_that_is_not_running_is_named_at_once_with_the_command_that_starts_it(
    workspace: Workspace, parameters: dict[str, Any]
) -> None:
    del workspace
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client.make_workspace(f"http://127.0.0.1:{port}").save("stopped", overwrite=True)
    with pytest.raises(Unavailable, match=rf"sandbox at http://127.0.0.1:{port}.*Start it with `python -m sandbox`"):
        train_linear_learner(**{**parameters, "workspace": "stopped"})
