"""From a clone to the same model by worker, command line and `serve`: the README's commands, Prefect's UI in a browser,
a real server, real workers and the sandbox.

Slow steps are done once; the tests depend on their order.
"""

import gzip
import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import reduce
from hashlib import sha256
from operator import getitem
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from sandbox import client, faults
from sandbox.account import BUCKET, REGION, ROLE_ARN
from tests.deployments.browser import Browser, expected_fields, open_browser, path_to
from tests.deployments.conftest import ROOT, Production, readme_commands

pytestmark = pytest.mark.e2e

PYTHON = ".venv/bin/python"
SERVE = """\
from flows.train import train_linear_learner

if __name__ == "__main__":
    train_linear_learner.serve(name="served")
"""
GROUP = "linear-learner-bonus-transformed-data"
SECRET, MARKER = token_hex(20), token_hex(20)  # random: a constant would be in a file of the clone
STEPS = (
    "table",
    "split",
    "encoding",
    "formatted channels",
    "uploaded channels",
    "training job",
    "training log",
    "evaluation",
)


def clone(folder: Path) -> Path:
    """A checkout as of `git clone`, including uncommitted files."""
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():  # a deleted file is listed until it is committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@contextmanager
def deploy(installation: Production) -> Iterator[None]:
    """Run the README's commands in order; those with their own terminal run until the context ends."""
    with ExitStack() as stack:
        for words, keeps_running in readme_commands():
            if not keeps_running:
                installation.run(*words)
                continue
            log = f"{words[2] if words[1] == '-m' else words[1]}.log"
            stack.enter_context(installation.running(*words, log=log))
            if "sandbox" in words:  # it waits for the server
                installation.wait_for_output(log, "Registered with Prefect")
            if "deployments.worker" in words:
                installation.wait_for_output(log, "started!")
        yield


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """A clone in which `make run` has trained, deployed with the README's commands."""
    checkout = clone(tmp_path_factory.mktemp("clone"))
    if (ROOT / ".venv" / "ready").exists():  # already installed and tested by `make`
        (checkout / ".venv").symlink_to(ROOT / ".venv")
    installation = Production(tmp_path_factory.mktemp("home"), checkout=checkout, programs=checkout / ".venv" / "bin")
    command = (ROOT / "README.md").read_text().split("```sh\n")[1].split("#")[0].split()
    assert command == ["make", "run"]
    output = installation.run(*command, seconds=400, PREFECT_API_URL="", PREFECT_SERVER_API_PORT="")
    assert "31,500 rows to train, 9,045 to validate, 4,455 to test" in output
    assert "training job  linear-learner-" in output
    with deploy(installation):
        yield installation


@pytest.fixture(scope="module")
def browser(installation: Production, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Prefect's UI; with the environment variable SCREENSHOTS, screenshots are saved in that folder."""
    folder = Path(os.environ["SCREENSHOTS"]) if os.environ.get("SCREENSHOTS") else None
    with open_browser(installation.url, tmp_path_factory.mktemp("browser"), folder) as browser:
        yield browser
    assert not browser.blocked, "Prefect's UI requested other hosts"


def sagemaker(installation: Production) -> Any:
    assert installation.sandbox_url
    return client.make_workspace(installation.sandbox_url).client("sagemaker")


def log_of_completed(installation: Production, run: str) -> str:
    """Wait until a run is Completed and return its log."""
    flow_run = installation.wait_for_end(run)
    log = installation.log_of(run)
    assert flow_run["state"]["name"] == "Completed", f"{flow_run['state']['message']}\n{log}"
    of_flow = {"task_run_id": {"is_null_": True}}  # its last lines arrive some seconds after its state
    installation.wait_until(
        lambda: "Finished in state" in installation.log_of(run, **of_flow), message=lambda: installation.log_of(run)
    )
    return installation.log_of(run)


def job_in(log: str) -> str:
    return str(re.findall(r"training job +(linear-learner-[0-9a-f]{20})", log)[0])


def result_of(installation: Production, run: str) -> Any:
    """The result of a run, as Prefect stores it on the worker's machine."""
    path = installation.call_api("GET", f"/flow_runs/{run}")["state"]["data"]["storage_key"]
    return json.loads(Path(path).read_text())["data"]


def test_a_scheduled_run_reuses_the_model_of_make_run(installation: Production) -> None:
    nightly = installation.deployments()["nightly"]["id"]
    query = {"deployments": {"id": {"any_": [nightly]}}, "flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}}}
    (run, *_) = installation.wait_until(
        lambda: installation.call_api("POST", "/flow_runs/filter", **query),
        120,
        lambda: installation.output("deployments.worker.log"),
    )
    installation.delete_schedules()
    assert run["created_by"]["type"] == "SCHEDULE"
    assert "reused: training job" in log_of_completed(installation, run["id"])


def test_the_form_shows_all_parameters_and_trains_with_its_values(installation: Production, browser: Browser) -> None:
    deployment = installation.deployments()["ad-hoc"]
    schema = deployment["parameter_openapi_schema"]
    browser.open_run_form(deployment["id"])
    browser.save_screenshot("form", full_height=True)
    fields = browser.form_fields()
    assert fields == expected_fields(schema)
    assert all(one["description"] for group in fields for one in (group, *group["fields"]))
    assert "JSON" not in str([one["control"] for group in fields for one in (group, *group["fields"])])
    target, epochs, loss = (path_to(name, schema) for name in ("target", "epochs", "loss"))
    browser.field([*target.values()]).get_by_role("textbox").fill("bonus")
    browser.enter_number([*epochs.values()], "4")
    browser.select([*loss.values()], "huber_loss")
    browser.enter_run_name("Huber loss, 4 epochs")
    browser.save_screenshot("form-filled")
    run = browser.submit()
    log = log_of_completed(installation, run)
    flow_run = installation.call_api("GET", f"/flow_runs/{run}")
    parameters = flow_run["parameters"]
    assert [reduce(getitem, path, parameters) for path in (target, epochs, loss)] == ["bonus", 4, "huber_loss"]
    assert "started: training job" in log
    trained = sagemaker(installation).describe_training_job(TrainingJobName=job_in(log))["HyperParameters"]
    assert (trained["epochs"], trained["loss"]) == ("4", "huber_loss")
    verdict = flow_run["state"]["message"]
    assert flow_run["name"] == f"Huber loss, 4 epochs → {verdict}"
    assert re.fullmatch(r"(first model|promoted|rejected): MAE .*", verdict)
    visit_pages(installation, browser, run, verdict)


def visit_pages(installation: Production, browser: Browser, run: str, verdict: str) -> None:
    """Open the pages of the deployments, the runs, the run and its report.

    The verdict must be visible in the list and on the page of the run, the plots in the report.
    """
    browser.page.goto(f"{installation.url}/deployments")
    browser.page.get_by_text("nightly", exact=True).first.wait_for()
    browser.save_screenshot("deployments")
    browser.page.goto(f"{installation.url}/runs")
    browser.page.get_by_text(verdict).first.wait_for()
    browser.save_screenshot("runs")
    browser.open_run_page(run)
    browser.page.get_by_text(verdict).first.wait_for()
    browser.save_screenshot("run")
    browser.save_screenshot("run")
    artifacts = installation.call_api("POST", "/artifacts/filter", flow_runs={"id": {"any_": [run]}})
    (report,) = (one["id"] for one in artifacts if one["key"] == "model-report")
    browser.page.goto(f"{installation.url}/artifacts/artifact/{report}")
    browser.page.locator("img[src^='data:image/png']").first.wait_for()
    browser.save_screenshot("report", full_height=True)
    images = "[...document.querySelectorAll('article img')].map(one => one.complete && one.naturalWidth)"
    widths = browser.page.evaluate(images)
    assert widths
    assert all(widths)
    browser.close_page()


def open_form(installation: Production, browser: Browser, name: str) -> tuple[str, dict[str, Any]]:
    """Open the form of a deployment, which must show all of its parameters; returns its id and their schema."""
    deployment = installation.deployments()[name]
    schema = deployment["parameter_openapi_schema"]
    browser.open_run_form(deployment["id"])
    assert browser.form_fields() == expected_fields(schema)
    return deployment["id"], schema


def test_the_form_of_predict_writes_predictions_with_the_newest_model(
    installation: Production, browser: Browser
) -> None:
    _, schema = open_form(installation, browser, "predict")
    browser.switch_on([*path_to("allow_unapproved", schema).values()])
    browser.save_screenshot("form-predict")
    run = browser.submit()
    log_of_completed(installation, run)
    artifacts = installation.call_api("POST", "/artifacts/filter", flow_runs={"id": {"any_": [run]}})
    (summary,) = (one["data"] for one in artifacts if one["key"] == "predictions")
    assert "45,000" in summary
    s3 = client.make_workspace(str(installation.sandbox_url)).client("s3")
    written = s3.get_object(Bucket=BUCKET, Key="linear-learner/predictions/predictions.csv")["Body"].read()
    assert written.count(b"\n") == 45_001


def test_the_form_of_serve_creates_an_endpoint_and_an_approval_starts_the_deployment(
    installation: Production, browser: Browser
) -> None:
    deployment, schema = open_form(installation, browser, "serve")
    for name in ("create", "allow_unapproved"):
        browser.switch_on([*path_to(name, schema).values()])
    browser.save_screenshot("form-serve", full_height=True)
    created = browser.submit()
    log_of_completed(installation, created)
    endpoint = sagemaker(installation).describe_endpoint(EndpointName=GROUP)
    assert endpoint["EndpointStatus"] == "InService"
    browser.open_run_page(created)
    browser.save_screenshot("endpoint")
    browser.close_page()

    installation.run(PYTHON, "-m", "flows.models", "approve", GROUP, "1")
    query = {"deployments": {"id": {"any_": [deployment]}}, "flow_runs": {"id": {"not_any_": [created]}}}
    (run,) = installation.wait_until(lambda: installation.call_api("POST", "/flow_runs/filter", **query))
    assert run["created_by"]["type"] == "AUTOMATION"
    assert installation.wait_for_end(run["id"])["state"]["name"] == "Completed", installation.log_of(run["id"])


def test_worker_command_line_and_serve_return_the_same_model(installation: Production, browser: Browser) -> None:
    shutil.rmtree(installation.checkout / "models")
    (installation.checkout / "serve.py").write_text(SERVE)
    dataset = ("--source", "output/transformed_data.csv", "--target", "bonus")
    with installation.running(PYTHON, "serve.py", log="serve.log"):
        browser.open_run_form(installation.deployments()["ad-hoc"]["id"])
        by_worker = browser.submit()  # with the default values
        output = installation.run(PYTHON, "-m", "flows.train", "--workspace", "sandbox", *dataset)
        (model,) = (installation.checkout / "models").glob("*/model.tar.gz")
        digest = sha256(model.read_bytes()).hexdigest()
        model.unlink()
        installation.wait_for_output("serve.log", "being served")
        by_serve = installation.start("served")
        logs = [output, log_of_completed(installation, by_worker), log_of_completed(installation, by_serve)]
    assert all("reused: training job" in log for log in logs), logs
    # The form generates a name, which is replaced.
    name = installation.call_api("GET", f"/flow_runs/{by_worker}")["name"]
    assert name.startswith("bonus from transformed_data.csv, ad-hoc → ")
    assert len({job_in(log) for log in logs}) == 1
    assert {result_of(installation, run)["model"]["sha256"] for run in (by_worker, by_serve)} == {digest}
    assert sha256(model.read_bytes()).hexdigest() == digest, "`serve` downloads the model again"


def test_a_second_nightly_run_is_rejected_and_cancelling_the_first_stops_its_job(
    installation: Production, browser: Browser
) -> None:
    url = installation.sandbox_url
    assert url
    seed = path_to("random_state", installation.deployments()["nightly"]["parameter_openapi_schema"])
    assert len(seed) == 2
    group, name = seed
    faults.inject(url, kind="slow-job", seconds=600)
    nightly = installation.start("nightly", **{group: {name: 7}})
    job = installation.wait_until(
        lambda: sagemaker(installation).list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"],
        message=lambda: installation.log_of(nightly),
    )[0]["TrainingJobName"]
    rejected = installation.wait_for_end(installation.start("nightly"))
    assert rejected["state"]["name"] == "Cancelled"
    assert "concurrency limit" in rejected["state"]["message"]
    browser.cancel(nightly)
    assert installation.wait_for_end(nightly)["state"]["name"] == "Cancelled", installation.log_of(nightly)
    assert sagemaker(installation).describe_training_job(TrainingJobName=job)["TrainingJobStatus"] == "Stopped"
    browser.open_run_page(nightly)
    browser.save_screenshot("cancelled")
    browser.close_page()


def stored_contents(installation: Production, *machines: Path) -> Iterator[tuple[str, bytes]]:
    """All stored data of the runs, decompressed: files of these machines, objects, and tables of the database."""
    for folder in machines:
        for path in folder.rglob("*"):
            if path.is_file() and ".venv" not in path.parts:
                yield str(path), decompress(path.read_bytes())
    s3 = client.make_workspace(str(installation.sandbox_url)).client("s3")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for one in page["Contents"]:
            yield f"s3 {one['Key']}", decompress(s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read())
    with closing(sqlite3.connect(f"file:{installation.home}/.prefect/prefect.db?mode=ro", uri=True)) as database:
        for (table,) in database.execute("select name from sqlite_master where type = 'table'").fetchall():
            rows = database.execute(f'select * from "{table}"')  # noqa: S608 - a table name of the database
            yield f"table {table}", "\n".join(map(str, rows)).encode()


def decompress(content: bytes) -> bytes:
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def test_a_new_worker_reuses_every_step_and_stores_no_secret(installation: Production, tmp_path: Path) -> None:
    arguments = (
        "--endpoint-url",
        str(installation.sandbox_url),
        "--bucket",
        BUCKET,
        "--region",
        REGION,
        "--role-arn",
        ROLE_ARN,
    )
    keys: Any = {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": SECRET}
    worker = (PYTHON, "-m", "deployments.worker", "--pool", "other", "--type", "process")
    with installation.running(*worker, log="other.log", HOME=str(tmp_path)):
        installation.run(
            PYTHON, "-m", "deployments.blocks", "--name", "second", "--credentials", "keys", *arguments, **keys
        )
        installation.wait_for_output("other.log", "started!")  # and has created its pool
        installation.call_api(
            "PATCH", f"/deployments/{installation.deployments()['nightly']['id']}", work_pool_name="other"
        )
        run = installation.start("nightly", workspace="second", model_dir=f"models-{MARKER}")
        log = log_of_completed(installation, run)
    assert all(f"reused: {step}" in log for step in STEPS), log
    contents = dict(stored_contents(installation, installation.home, installation.checkout, tmp_path))
    marked = {name for name, content in contents.items() if MARKER.encode() in content}
    assert {str(installation.home / "other.log"), "table flow_run", "table log"} <= marked
    assert any(name.startswith("s3 linear-learner/results/") for name in marked)
    assert any(name.startswith(str(tmp_path / ".prefect" / "storage")) for name in marked)
    assert [name for name, content in contents.items() if SECRET.encode() in content] == []
