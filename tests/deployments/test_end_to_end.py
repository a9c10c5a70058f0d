"""One story, from a clone to a model that three ways of running agree on: the README's commands, Prefect's UI in a
browser, a real server and real workers, the sandbox.

What is slow is done once, in the order in which the tests stand.
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
from tests.deployments.browser import Browser, browsing, fields_of, path_to
from tests.deployments.conftest import ROOT, Production, readme_commands

pytestmark = pytest.mark.e2e

PYTHON = ".venv/bin/python"
SERVE = """\
from flows.train import train_linear_learner

if __name__ == "__main__":
    train_linear_learner.serve(name="served")
"""
SECRET, PLANTED = token_hex(20), token_hex(20)  # in no file of the clone, as what stands here is
STEPS = (
    "table",
    "split",
    "formatted channels",
    "uploaded channels",
    "training job",
    "training log",
    "evaluation",
)


def clone(folder: Path) -> Path:
    """A checkout as `git clone` makes it, with what is not committed yet."""
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():  # a file that is deleted and not committed is listed, too
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@contextmanager
def put_up(there: Production) -> Iterator[None]:
    """The README's commands in their order, those with a terminal of their own until the context ends."""
    with ExitStack() as stack:
        for words, stays in readme_commands():
            if not stays:
                there.run(*words)
                continue
            log = f"{words[2] if words[1] == '-m' else words[1]}.log"
            stack.enter_context(there.running(*words, log=log))
            if "sandbox" in words:  # which waits for the server
                there.says(log, "Registered with Prefect")
            if "deployments.worker" in words:
                there.says(log, "started!")
        yield


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """A clone in which `make run` has trained, and which then was put up as the README says."""
    checkout = clone(tmp_path_factory.mktemp("clone"))
    if (ROOT / ".venv" / "ready").exists():  # installed by `make` already: a second time would show nothing new
        (checkout / ".venv").symlink_to(ROOT / ".venv")
    there = Production(tmp_path_factory.mktemp("home"), checkout=checkout, programs=checkout / ".venv" / "bin")
    command = (ROOT / "README.md").read_text().split("```sh\n")[1].split("#")[0].split()
    assert command == ["make", "run"]
    said = there.run(*command, seconds=400, PREFECT_API_URL="", PREFECT_SERVER_API_PORT="")
    assert "training job  linear-learner-" in said
    with put_up(there):
        yield there


@pytest.fixture(scope="module")
def browser(there: Production, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    with browsing(there.url, folder) as browser:
        yield browser
    assert not browser.refused, "Prefect's UI wants to talk to others"


def sagemaker(there: Production) -> Any:
    assert there.sandbox_url
    return client.make_workspace(there.sandbox_url).client("sagemaker")


def completed(there: Production, run: str) -> str:
    """What a run has logged, which must be Completed."""
    ended = there.ended(run)
    assert ended["state"]["name"] == "Completed", there.log_of(run)
    own = {"task_run_id": {"is_null_": True}}  # its last words come some seconds after its state
    there.until(lambda: "Finished in state" in there.log_of(run, **own), otherwise=lambda: there.log_of(run))
    return there.log_of(run)


def job_in(log: str) -> str:
    return str(re.findall(r"training job +(linear-learner-[0-9a-f]{20})", log)[0])


def result_of(there: Production, run: str) -> Any:
    """What a run returned, as Prefect keeps it on the worker's machine."""
    retained = there.ask("GET", f"/flow_runs/{run}")["state"]["data"]["storage_key"]
    return json.loads(Path(retained).read_text())["data"]


def test_a_scheduled_run_starts_by_itself_and_reuses_what_make_run_has_trained(there: Production) -> None:
    nightly = there.deployments()["nightly"]["id"]
    wanted = {"deployments": {"id": {"any_": [nightly]}}, "flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}}}
    (run, *_) = there.until(
        lambda: there.ask("POST", "/flow_runs/filter", **wanted), 120, lambda: there.said("deployments.worker.log")
    )
    there.unscheduled()
    assert run["created_by"]["type"] == "SCHEDULE"
    assert "reused: training job" in completed(there, run["id"])


def test_the_form_shows_every_parameter_in_plain_words_and_trains_what_it_says(
    there: Production, browser: Browser
) -> None:
    deployment = there.deployments()["ad-hoc"]
    schema = deployment["parameter_openapi_schema"]
    browser.form(deployment["id"])
    browser.picture("form", high=True)
    shown = browser.shown()
    assert shown == fields_of(schema)
    assert all(one["description"] for group in shown for one in (group, *group["fields"]))
    assert "JSON" not in str([one["control"] for group in shown for one in (group, *group["fields"])])
    target, epochs, loss = (path_to(name, schema) for name in ("target", "epochs", "loss"))
    browser.field([*target.values()]).get_by_role("textbox").fill("bonus")
    browser.field([*epochs.values()]).get_by_role("spinbutton").fill("4")
    browser.choose([*loss.values()], "huber_loss")
    browser.picture("form-filled")
    run = browser.submit()
    log = completed(there, run)
    parameters = there.ask("GET", f"/flow_runs/{run}")["parameters"]
    assert [reduce(getitem, path, parameters) for path in (target, epochs, loss)] == ["bonus", 4, "huber_loss"]
    assert "started: training job" in log
    trained = sagemaker(there).describe_training_job(TrainingJobName=job_in(log))["HyperParameters"]
    assert (trained["epochs"], trained["loss"]) == ("4", "huber_loss")
    pictures_of(there, browser, run)


def pictures_of(there: Production, browser: Browser, run: str) -> None:
    """The deployments, the run and its report, whose plots must show."""
    browser.page.goto(f"{there.url}/deployments")
    browser.page.get_by_text("nightly", exact=True).first.wait_for()
    browser.picture("deployments")
    browser.run_page(run)
    browser.picture("run")
    artifacts = there.ask("POST", "/artifacts/filter", flow_runs={"id": {"any_": [run]}})
    (report,) = (one["id"] for one in artifacts if one["key"] == "model-report")
    browser.page.goto(f"{there.url}/artifacts/artifact/{report}")
    browser.page.locator("img[src^='data:image/png']").first.wait_for()
    browser.picture("report", high=True)
    images = "[...document.querySelectorAll('article img')].map(one => one.complete && one.naturalWidth)"
    widths = browser.page.evaluate(images)
    assert widths
    assert all(widths)


def test_worker_command_line_and_serve_give_the_same_model(there: Production, browser: Browser) -> None:
    shutil.rmtree(there.checkout / "models")
    (there.checkout / "serve.py").write_text(SERVE)
    dataset = ("--source", "output/transformed_data.csv", "--target", "bonus")
    with there.running(PYTHON, "serve.py", log="serve.log"):
        browser.form(there.deployments()["ad-hoc"]["id"])
        by_worker = browser.submit()  # without any edit
        said = there.run(PYTHON, "-m", "flows.train", "--workspace", "sandbox", *dataset)
        (model,) = (there.checkout / "models").glob("*/model.tar.gz")
        digest = sha256(model.read_bytes()).hexdigest()
        model.unlink()
        there.says("serve.log", "being served")
        by_serve = there.start("served")
        logs = [said, completed(there, by_worker), completed(there, by_serve)]
    assert all("reused: training job" in log for log in logs), logs
    assert len({job_in(log) for log in logs}) == 1
    assert {result_of(there, run)["model"]["sha256"] for run in (by_worker, by_serve)} == {digest}
    assert sha256(model.read_bytes()).hexdigest() == digest, "serving downloads it again"


def test_a_night_that_comes_too_early_is_refused_and_cancelling_the_other_stops_its_job(
    there: Production, browser: Browser
) -> None:
    url = there.sandbox_url
    assert url
    seed = path_to("random_state", there.deployments()["nightly"]["parameter_openapi_schema"])
    assert len(seed) == 2
    group, name = seed
    faults.inject(url, kind="slow-job", seconds=600)
    night = there.start("nightly", **{group: {name: 7}})
    job = there.until(
        lambda: sagemaker(there).list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"],
        otherwise=lambda: there.log_of(night),
    )[0]["TrainingJobName"]
    refused = there.ended(there.start("nightly"))
    assert refused["state"]["name"] == "Cancelled"
    assert "concurrency limit" in refused["state"]["message"]
    browser.cancel(night)
    assert there.ended(night)["state"]["name"] == "Cancelled", there.log_of(night)
    assert sagemaker(there).describe_training_job(TrainingJobName=job)["TrainingJobStatus"] == "Stopped"
    browser.run_page(night)
    browser.picture("cancelled")


def places(there: Production, *machines: Path) -> Iterator[tuple[str, bytes]]:
    """All that is left of the runs: files of these machines, packed ones too, objects, tables of the database."""
    for folder in machines:
        for path in folder.rglob("*"):
            if path.is_file() and ".venv" not in path.parts:
                yield str(path), unpacked(path.read_bytes())
    s3 = client.make_workspace(str(there.sandbox_url)).client("s3")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for one in page["Contents"]:
            yield f"s3 {one['Key']}", unpacked(s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read())
    with closing(sqlite3.connect(f"file:{there.home}/.prefect/prefect.db?mode=ro", uri=True)) as database:
        for (table,) in database.execute("select name from sqlite_master where type = 'table'").fetchall():
            rows = database.execute(f'select * from "{table}"')  # noqa: S608 - the database's own name
            yield f"table {table}", "\n".join(map(str, rows)).encode()


def unpacked(content: bytes) -> bytes:
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def test_a_new_worker_reuses_every_step_and_the_secret_of_its_workspace_is_nowhere(
    there: Production, tmp_path: Path
) -> None:
    where = ("--endpoint-url", str(there.sandbox_url), "--bucket", BUCKET, "--region", REGION, "--role-arn", ROLE_ARN)
    keys: Any = {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": SECRET}
    worker = (PYTHON, "-m", "deployments.worker", "--pool", "elsewhere", "--type", "process")
    with there.running(*worker, log="elsewhere.log", HOME=str(tmp_path)):
        there.run(PYTHON, "-m", "deployments.blocks", "--name", "second", "--credentials", "keys", *where, **keys)
        there.says("elsewhere.log", "started!")  # and has made its pool
        there.ask("PATCH", f"/deployments/{there.deployments()['nightly']['id']}", work_pool_name="elsewhere")
        run = there.start("nightly", workspace="second", model_dir=f"models-{PLANTED}")
        log = completed(there, run)
    assert all(f"reused: {step}" in log for step in STEPS), log
    left = dict(places(there, there.home, there.checkout, tmp_path))
    planted = {name for name, content in left.items() if PLANTED.encode() in content}
    assert {str(there.home / "elsewhere.log"), "table flow_run", "table log"} <= planted
    assert any(name.startswith("s3 linear-learner/results/") for name in planted)
    assert any(name.startswith(str(tmp_path / ".prefect" / "storage")) for name in planted)
    assert [name for name, content in left.items() if SECRET.encode() in content] == []
