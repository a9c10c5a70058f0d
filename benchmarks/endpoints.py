"""Updates of endpoints under load, and killed ones: what serves afterwards, and whether anything is left over.

`python -m benchmarks.endpoints [kills 50] [load 20] [wrong 5] [SEED]`; without arguments all three,
which take about an hour. The runs of `flows.deploy` share a sandbox, a Prefect server and a home directory.

- kills: the flow is killed with SIGKILL at random moments of an update. The endpoint must come to rest with one of the
  two configurations, and answer as its model; the same command, run again, must end with the new one, and nothing else
  may be left. The table has the state of the endpoint at the moment of the kill.
- load: updates while 4 connections send requests; none may fail or get an answer of neither model.
- wrong: the new instances give wrong answers, and the flow is killed during a canary of 10 %; no more than this share
  of the answers may be wrong, and the endpoint must return to the model before.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.new_home import new_home
from flows.cli.local_services import LocalPrefectServer
from sandbox import client, faults

WORKSPACE, GROUP, ENDPOINT = "endpoints", "linear-learner-pay", "linear-learner-pay"
SPEED = 60.0
"""A minute of SageMaker's time takes a second, as long as two checks are apart."""
PATIENCE = 240.0
ROWS: list[dict[str, Any]] = [{"age": 31, "city": "Bonn"}, {"age": None, "city": "Ulm"}, {"age": 58, "city": "Paris"}]
BODY = json.dumps({"instances": ROWS}).encode()


class Session:
    """A sandbox with two approved models, and the endpoint that serves one of them."""

    def __init__(self, home: Path, url: str, seed: int) -> None:
        self.home, self.url, self.random = home, url, random.Random(seed)  # noqa: S311 - no secrets
        self.workspace = client.make_workspace(url)
        self.workspace.save(WORKSPACE)
        self.sagemaker: Any = self.workspace.client("sagemaker")
        self.runtime: Any = self.workspace.client("sagemaker-runtime")
        self.expected: dict[int, list[float]] = {}
        self.errors: list[str] = []

    def train(self) -> None:
        """Train and approve two models of a table with text and missing cells."""
        lines = ["age,city,pay"]
        for number in range(400):
            age, city = self.random.randint(20, 60), self.random.choice(["Bonn", "Köln", "Ulm"])
            pay = 3 * age + 20 * len(city) + self.random.gauss(0, 2)
            lines.append(f"{'' if number % 40 == 0 else age},{city},{pay:.3f}")
        (self.home / "people.csv").write_text("\n".join(lines))
        for version, l1 in ((1, "0"), (2, "1")):
            code, output = self.run(
                *("flows.train", "--csv", "people.csv", "--target", "pay", "--registry.group", GROUP),
                *("--hyperparameters.epochs", "5", "--hyperparameters.l1", l1),
            )
            assert code == 0, output
            self.run("flows.models", "approve", GROUP, str(version), "--although-rejected")
            self.expected[version] = self._score_offline(version)

    def _score_offline(self, version: int) -> list[float]:
        from linear_learner.predictor import Predictor

        self.run("flows.models", "download", GROUP, str(version), "--out", f"v{version}")
        return [
            float(one) for one in Predictor.read(self.home / f"v{version}" / "model.tar.gz").predict(ROWS)["prediction"]
        ]

    def run(self, module: str, *arguments: str) -> tuple[int, str]:
        process = self.start(module, *arguments)
        output, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, output

    def start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments, "--workspace", WORKSPACE],
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def deploy(self, version: int | None, *arguments: str) -> tuple[str, ...]:
        model = GROUP if version is None else f"{GROUP}/{version}"
        return ("flows.deploy", "--model", model, "--traffic.minutes", "3", "--guard.max-changed", "1", *arguments)

    def ask(self) -> int:
        """The version whose model has answered; 0 if the answer is that of neither."""
        response = self.runtime.invoke_endpoint(EndpointName=ENDPOINT, ContentType="application/json", Body=BODY)
        scores = [one["score"] for one in json.loads(response["Body"].read())["predictions"]]
        for version, expected in self.expected.items():
            if all(abs(one - other) <= 1e-5 * abs(other) for one, other in zip(scores, expected, strict=True)):
                return version
        return 0

    def describe(self) -> dict[str, Any]:
        found: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=ENDPOINT)
        return found

    def settle(self) -> dict[str, Any]:
        """Wait until the endpoint is at rest; returns its description."""
        end = time.monotonic() + PATIENCE
        while True:
            found = self.describe()
            if found["EndpointStatus"] in {"InService", "Failed", "UpdateRollbackFailed"}:
                return found
            assert time.monotonic() < end, found
            time.sleep(0.2)

    def serving_version(self, description: dict[str, Any]) -> int:
        """The version of the package that the configuration serves."""
        config = self.sagemaker.describe_endpoint_config(EndpointConfigName=description["EndpointConfigName"])
        model = self.sagemaker.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
        tags = self.sagemaker.list_tags(ResourceArn=model["ModelArn"])["Tags"]
        arn = next(tag["Value"] for tag in tags if tag["Key"] == "linear-learner:package")
        return int(arn.rpartition("/")[2])

    def leftovers(self) -> dict[str, int]:
        """What exists besides the configuration and model that serve and the previous ones."""
        configs = self.sagemaker.list_endpoint_configs(MaxResults=100)["EndpointConfigs"]
        models = self.sagemaker.list_models(MaxResults=100)["Models"]
        cloudwatch: Any = self.workspace.client("cloudwatch")
        alarms = cloudwatch.describe_alarms(AlarmNamePrefix=ENDPOINT)["MetricAlarms"]
        return {
            "configurations": max(0, len(configs) - 2),
            "models": max(0, len(models) - 2),
            "alarms": sum("checks" in one["AlarmName"] or "wrong" in one["AlarmName"] for one in alarms),
        }


def kill_updates(session: Session, count: int) -> None:
    """Kill updates at random moments, and let the next run complete them."""
    begun = time.monotonic()
    code, output = session.run(*session.deploy(1))
    assert code == 0, output
    code, output = session.run(*session.deploy(2))
    assert code == 0, output
    duration = (time.monotonic() - begun) / 2
    table: Counter[tuple[str, str]] = Counter()
    for number in range(count):
        old, new = (2, 1) if number % 2 == 0 else (1, 2)
        process = session.start(*session.deploy(new))
        time.sleep(session.random.uniform(0, 1.2 * duration))
        moment = "ended" if process.poll() is not None else session.describe()["EndpointStatus"]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        served = session.serving_version(session.settle())
        answers = {session.ask() for _ in range(20)}
        if served not in {old, new} or answers != {served}:
            session.errors.append(f"kill {number} ({moment}): version {served} serves, answers of {answers}")
        code, output = session.run(*session.deploy(new))
        after, answers = session.serving_version(session.settle()), {session.ask() for _ in range(20)}
        left = {name: found for name, found in session.leftovers().items() if found}
        if code or after != new or answers != {new} or left:
            session.errors.append(
                f"kill {number} ({moment}): code {code}, version {after}, {answers}, {left}\n{output[-2000:]}"
            )
        table[moment, "old" if served == old else "new"] += 1
        print(f"kill {number}: {moment}, then version {served}, then {after}", flush=True)
    print(f"\n{'endpoint at the kill':<24}{'kills':>8}{'old serves':>12}{'new serves':>12}")
    for moment in dict.fromkeys(moment for moment, _ in table):
        old_serves, new_serves = table[moment, "old"], table[moment, "new"]
        print(f"{moment:<24}{old_serves + new_serves:>8}{old_serves:>12}{new_serves:>12}")


@contextmanager
def steady_load(session: Session, connections: int = 4) -> Iterator[Counter[str]]:
    """Send requests in threads for the block, and count the answers by version, wrong ones, and failures."""
    counts: Counter[str] = Counter()
    stop = threading.Event()

    def send() -> None:
        while not stop.wait(0.02):
            try:
                counts[f"version {session.ask()}"] += 1
            except Exception as error:  # noqa: BLE001 - each failure counts
                counts[f"failed: {error}"] += 1

    threads = [threading.Thread(target=send) for _ in range(connections)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def update_under_load(session: Session, count: int) -> None:
    """Update the endpoint again and again while requests are sent."""
    session.run(*session.deploy(1, "--hosting.min-instances", "2"))
    shifts = (("all-at-once", "10"), ("canary", "10"), ("linear", "50"))
    with steady_load(session) as counts:
        for number in range(count):
            shift, percent = shifts[number % 3]
            options = ("--traffic.shift", shift, "--traffic.percent", percent)
            code, output = session.run(*session.deploy(2 - number % 2, *options))
            if code:
                session.errors.append(f"update {number}: code {code}\n{output[-2000:]}")
    print(f"\n{count} updates under load: {dict(counts)}")
    session.errors += [f"{name}: {times}" for name, times in counts.items() if not name.startswith("version ")]
    if counts["version 0"]:
        session.errors.append(f"{counts['version 0']} answers of neither model")


def kill_wrong_updates(session: Session, count: int) -> None:
    """Kill the flow while new instances with wrong answers get a canary of the requests."""
    session.run(*session.deploy(1, "--hosting.min-instances", "10"))
    for number in range(count):
        faults.inject(session.url, kind="wrong-answers")
        options = ("--traffic.shift", "canary", "--traffic.percent", "10", "--retry-rolled-back")
        process = session.start(*session.deploy(2, *options))
        with steady_load(session) as counts:
            while session.describe()["EndpointStatus"] == "InService":
                assert process.poll() is None, process.communicate()[0]
                time.sleep(0.05)
            counts.clear()
            time.sleep(session.random.uniform(0, 2))
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            served = session.serving_version(session.settle())
        share = counts["version 0"] / max(1, counts.total())
        print(f"wrong answers {number}: {share:.1%} of {counts.total()} answers, then version {served}", flush=True)
        if served != 1 or share > 0.15 or session.ask() != 1:
            session.errors.append(f"wrong answers {number}: share {share:.1%}, then version {served}")
    faults.clear(session.url)


@contextmanager
def start_session(seed: int) -> Iterator[Session]:
    """Start a sandbox and a Prefect server in a new home directory; stop them at the end of the block."""
    with new_home("endpoints-", SPEED) as (home, state_dir), closing(LocalPrefectServer()) as server:
        server.wait()
        os.environ["PREFECT_API_URL"] = server.api_url
        session = Session(home, client.wait_for_endpoint(state_dir), seed)
        session.train()
        yield session


PARTS = {
    "kills": (kill_updates, 50),
    "load": (update_under_load, 20),
    "wrong": (kill_wrong_updates, 5),
}


def main() -> int:
    words = sys.argv[1:]
    seed = int(words.pop()) if len(words) % 2 else 0
    chosen = dict(zip(words[::2], map(int, words[1::2]), strict=True)) or {
        name: count for name, (_, count) in PARTS.items()
    }
    with start_session(seed) as session:
        for name, count in chosen.items():
            PARTS[name][0](session, count)
        code, output = session.run("flows.undeploy", ENDPOINT)
        left = [
            *session.sagemaker.list_models()["Models"],
            *session.sagemaker.list_endpoint_configs()["EndpointConfigs"],
        ]
        if code or left:
            session.errors.append(f"undeploy: code {code}, left {left}\n{output}")
        print(*session.errors, f"{len(session.errors)} errors", sep="\n")
        return int(bool(session.errors))


if __name__ == "__main__":
    sys.exit(main())
