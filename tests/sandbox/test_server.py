"""Sandbox servers as processes: discovery, start, shutdown, kill and restart."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from botocore.exceptions import ClientError

from sandbox import faults, sandbox
from sandbox.account import BUCKET
from sandbox.client import default_state_dir, find_endpoint, mark_in_use, start_server, wait_for_endpoint
from sandbox.server import Sandbox, SandboxError

Restart = Callable[[], Any]
Connect = Callable[[str], Any]


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[Any]]]:
    started: list[subprocess.Popen[Any]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def training_processes(folder: str) -> list[int]:
    """The ids of the processes that train jobs below a folder."""
    # Without -ww the lines may be as short as a terminal's, which cuts the folder off.
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if folder in line and "linear_learner" in line]


def status(url: str) -> Any:
    with urlopen(f"{url}/_sandbox") as response:  # noqa: S310 - http
        return json.load(response)


def children(pid: int) -> list[str]:
    listed = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=False)
    return listed.stdout.split()


def test_a_sandbox_is_started_found_and_exits_when_no_process_uses_it(
    state_dir: Path, connect: Connect, processes: Any
) -> None:
    assert find_endpoint(state_dir) is None
    with mark_in_use(state_dir):
        processes.append(start_server(state_dir))
        url = wait_for_endpoint(state_dir)
        assert connect(url).s3.list_buckets()["Buckets"][0]["Name"] == BUCKET
    assert processes[0].wait(10) == 0
    assert find_endpoint(state_dir) is None
    assert not (state_dir / "endpoint.json").exists()
    assert (state_dir / "server.log").read_text() == ""


def test_a_sandbox_runs_until_its_last_client_has_exited_even_if_killed(state_dir: Path, processes: Any) -> None:
    client = "import sys, time; from pathlib import Path; from sandbox.client import mark_in_use\n"
    client += "file = mark_in_use(Path(sys.argv[1])); print('marked', flush=True); time.sleep(60)"
    for _ in range(2):
        arguments = [sys.executable, "-c", client, str(state_dir)]
        processes.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True))
        assert processes[-1].stdout.readline() == "marked\n"
    server = start_server(state_dir)
    processes.append(server)
    wait_for_endpoint(state_dir)
    processes[0].kill()
    time.sleep(0.6)
    assert server.poll() is None
    processes[1].kill()
    assert server.wait(10) == 0


def test_two_simultaneous_clients_share_one_server(state_dir: Path, processes: Any) -> None:
    with mark_in_use(state_dir), mark_in_use(state_dir):
        processes += [start_server(state_dir), start_server(state_dir)]
        url = wait_for_endpoint(state_dir)
        wait_until(lambda: any(process.poll() is not None for process in processes))
        assert sorted(str(process.poll()) for process in processes) == ["0", "None"]
        assert find_endpoint(state_dir) == url
    wait_until(lambda: all(process.poll() == 0 for process in processes))
    assert (state_dir / "server.log").read_text() == ""


def test_waiting_for_an_endpoint_fails_with_the_path_of_the_servers_log(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match=r"did not respond within 0\.1 s.*/server\.log"):
        wait_for_endpoint(tmp_path, 0.1)


def test_an_endpoint_file_without_a_server_is_ignored(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        (tmp_path / "endpoint.json").write_text(json.dumps({"endpoint_url": url, "pid": 1}))
        assert find_endpoint(tmp_path) is None
    for content in ("", "[]", "{}", '{"endpoint_url": 5}', '{"endpoint_url": "http://127.0.0.1:x"}'):
        (tmp_path / "endpoint.json").write_text(content)
        assert find_endpoint(tmp_path) is None


def test_the_server_of_another_folder_is_ignored(restart: Restart, tmp_path: Path) -> None:
    user = restart()
    assert find_endpoint(user.sandbox.state_dir) == user.sandbox.endpoint_url
    (tmp_path / "endpoint.json").write_text(json.dumps({"endpoint_url": user.sandbox.endpoint_url, "pid": 1}))
    assert find_endpoint(tmp_path) is None


def test_the_default_folder_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_state_dir() == Path("/caches/train-linear-learner/sandbox")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_state_dir() == Path.home() / ".cache" / "train-linear-learner" / "sandbox"


def test_discovery_imports_the_standard_library_only() -> None:
    program = "import sys, sandbox, sandbox.client; print(*{n.partition('.')[0] for n in sys.modules})"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    packages = {name for name in output.split() if name not in sys.stdlib_module_names and not name.startswith("_")}
    assert not {"moto", "boto3", "botocore", "werkzeug", "prefect", "numpy", "pydantic"} & packages


def test_a_folder_in_use_is_an_error_with_its_endpoint(state_dir: Path, processes: Any) -> None:
    with mark_in_use(state_dir):
        processes.append(start_server(state_dir))
        url = wait_for_endpoint(state_dir)
        with pytest.raises(SandboxError, match=rf"in use by the sandbox at {url}"):
            Sandbox(state_dir).start()


def test_a_process_runs_one_sandbox_at_a_time(restart: Restart, tmp_path: Path) -> None:
    user = restart()
    with pytest.raises(SandboxError, match="stop it first"):
        Sandbox(tmp_path).start()
    assert user.s3.list_buckets()["Buckets"]


def test_a_port_in_use_is_an_error_and_the_folder_stays_usable(state_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(SandboxError, match=f"port {port} of 127.0.0.1 cannot be used"):
            Sandbox(state_dir, port).start()
    server = Sandbox(state_dir, port)
    server.start()
    assert server.endpoint_url == f"http://127.0.0.1:{port}"
    server.stop()


def test_completed_writes_survive_a_killed_server(
    state_dir: Path, restart: Restart, connect: Connect, processes: Any
) -> None:
    with mark_in_use(state_dir):
        processes.append(start_server(state_dir))
        user = connect(wait_for_endpoint(state_dir))
        for number in range(20):
            user.s3.put_object(Bucket=BUCKET, Key=f"saved/{number}", Body=str(number).encode())
        processes[0].kill()
        processes[0].wait()
    user = restart()
    assert [user.read(f"saved/{number}") for number in range(20)] == [str(n).encode() for n in range(20)]


def test_a_job_of_a_killed_server_starts_again(
    state_dir: Path, restart: Restart, connect: Connect, processes: Any
) -> None:
    folder = state_dir / "jobs" / "restarted"
    with mark_in_use(state_dir):
        processes.append(start_server(state_dir))
        user = connect(wait_for_endpoint(state_dir))
        hyperparameters = user.request("")["HyperParameters"] | {"epochs": "25", "early_stopping_patience": "50"}
        rows = user.channel(f"s3://{BUCKET}/many/")
        user.start(
            "restarted", InputDataConfig=rows, HyperParameters=hyperparameters, Tags=[{"Key": "a", "Value": "b"}]
        )
        wait_until(lambda: list(folder.glob("algo-1-*.jsonl")))
        (orphan,) = training_processes("jobs/restarted/")
        os.kill(orphan, signal.SIGSTOP)  # otherwise it would end with its next log line
        processes[0].kill()
        processes[0].wait()
    killed = json.loads((folder / "job.json").read_text())["document"]
    assert killed["SecondaryStatus"] == "Training"
    user = restart()
    assert orphan not in training_processes("jobs/restarted/")
    job = user.wait("restarted")
    assert job["TrainingJobStatus"] == "Completed"
    assert job["CreationTime"].timestamp() == pytest.approx(killed["CreationTime"])
    assert [t["Status"] for t in job["SecondaryStatusTransitions"]].count("Training") == 1
    assert sum("Best model found" in line for line in user.log("restarted")) == 1
    assert user.sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"] == [{"Key": "a", "Value": "b"}]
    wait_until(lambda: not list(folder.glob("container-*")))


def test_a_job_that_was_stopping_when_the_server_exited_is_stopped(restart: Restart, state_dir: Path) -> None:
    user = restart()
    user.train("halted")
    record = state_dir / "jobs" / "halted" / "job.json"
    job = json.loads(record.read_text())
    job["document"] |= {"TrainingJobStatus": "Stopping", "SecondaryStatus": "Stopping"}
    record.write_text(json.dumps(job))
    assert restart().wait("halted", "Stopped")["SecondaryStatus"] == "Stopped"


def test_jobs_logs_and_tags_survive_a_restart(restart: Restart) -> None:
    user = restart()
    job = user.train("saved", Tags=[{"Key": "team", "Value": "blue"}])
    log = user.log("saved")
    user = restart()
    assert user.describe("saved") == job
    assert user.log("saved") == log
    assert user.sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"] == [{"Key": "team", "Value": "blue"}]
    with pytest.raises(user.sagemaker.exceptions.ResourceInUse):
        user.start("saved")


def test_the_model_registry_survives_a_restart(restart: Restart) -> None:
    def create_package(**fields: Any) -> Any:
        return user.sagemaker.create_model_package(ModelPackageGroupName="saved", **fields)["ModelPackageArn"]

    user, tags = restart(), [{"Key": "team", "Value": "blue"}]
    group = user.sagemaker.create_model_package_group(ModelPackageGroupName="saved", Tags=tags)["ModelPackageGroupArn"]
    first = {"ClientToken": "first", "CustomerMetadataProperties": {"a": "1"}}
    arn = create_package(**first)
    user.sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    user.sagemaker.delete_model_package(ModelPackageName=create_package())
    package = user.sagemaker.describe_model_package(ModelPackageName=arn)
    user = restart()
    restored = user.sagemaker.describe_model_package(ModelPackageName=arn)
    assert {**restored, "ResponseMetadata": {}} == {**package, "ResponseMetadata": {}}
    assert restored["ModelApprovalStatus"] == "Approved"
    assert user.sagemaker.list_tags(ResourceArn=group)["Tags"] == tags
    assert (create_package(**first), create_package()) == (arn, arn.removesuffix("1") + "3")


def test_a_damaged_record_is_reported_and_the_other_jobs_are_loaded(
    restart: Restart, state_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    restart().train("sound")
    damaged = state_dir / "jobs" / "damaged" / "job.json"
    damaged.parent.mkdir()
    damaged.write_text("{")
    assert restart().describe("sound")["TrainingJobName"] == "sound"
    assert str(damaged) in capsys.readouterr().err


def test_stopping_ends_processes_and_threads_and_the_next_sandbox_restarts_the_jobs(
    restart: Restart, state_dir: Path
) -> None:
    threads = set(threading.enumerate())
    user = restart()
    for name in ("one", "two", "three"):
        user.start_endless(name)
    user.wait("one", "Training")
    user.sandbox.stop()
    assert not training_processes(str(state_dir))
    assert not [thread for thread in set(threading.enumerate()) - threads if not thread.daemon]
    assert find_endpoint(state_dir) is None
    user.sandbox.start()
    user = restart()
    assert {user.wait(name, "InProgress")["TrainingJobStatus"] for name in ("one", "two", "three")} == {"InProgress"}


def test_the_context_manager_yields_a_usable_workspace_and_removes_its_state() -> None:
    with sandbox() as workspace:
        url = workspace.client("s3").meta.endpoint_url
        assert workspace.client("s3").list_objects_v2(Bucket=workspace.bucket.bucket_name)["KeyCount"] == 1
        assert workspace.role_arn == "arn:aws:iam::123456789012:role/linear-learner-training"
        assert workspace.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []
        folder = Path(status(url)["state_dir"])
        assert folder.is_dir()
    assert not folder.exists()


def test_iam_has_the_role_and_sts_the_account(restart: Restart) -> None:
    client = restart().client
    role = client("iam").get_role(RoleName="linear-learner-training")["Role"]
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert role["Arn"] == "arn:aws:iam::123456789012:role/linear-learner-training"
    assert client("sts").get_caller_identity()["Account"] == "123456789012"


def test_the_user_exists_in_sts_and_iam(restart: Restart) -> None:
    client = restart().client
    assert client("sts").get_caller_identity()["Arn"] == "arn:aws:iam::123456789012:user/sandbox"
    assert client("iam").get_user(UserName="sandbox")["User"]["Arn"] == "arn:aws:iam::123456789012:user/sandbox"


def test_a_call_that_moto_does_not_emulate_is_a_not_implemented_error(restart: Restart) -> None:
    arguments = {"PolicySourceArn": "arn:aws:iam::123456789012:user/sandbox", "ActionNames": ["s3:GetObject"]}
    with pytest.raises(ClientError, match=r"NotImplemented.*simulate_principal_policy action has not been implemented"):
        restart().client("iam").simulate_principal_policy(**arguments)


def test_kms_describes_its_keys(restart: Restart) -> None:
    kms = restart().client("kms")
    key = kms.create_key()["KeyMetadata"]
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["Arn"] == key["Arn"]
    kms.disable_key(KeyId=key["KeyId"])
    assert kms.describe_key(KeyId=key["Arn"])["KeyMetadata"]["KeyState"] == "Disabled"
    with pytest.raises(kms.exceptions.NotFoundException):
        kms.describe_key(KeyId="alias/missing")


def test_the_status_counts_the_jobs(restart: Restart, state_dir: Path) -> None:
    user = restart()
    user.start_endless("busy")
    user.train("failed", InputDataConfig=user.channel("s3://missing/x"))
    response = status(user.sandbox.endpoint_url)
    assert response["sandbox"] == "linear-learner"
    assert response["state_dir"] == str(state_dir)
    assert response["jobs"] == {"InProgress": 1, "Failed": 1}


def test_a_late_log_is_published_by_the_next_server_and_faults_are_lost(restart: Restart) -> None:
    user = restart()
    assert user.logs.describe_log_groups()["logGroups"] == []
    names = {"late-log": {"seconds": 3600}, "missing-log": {}, "slow-job": {"seconds": 3600}}
    for kind, fields in names.items():
        faults.inject(user.sandbox.endpoint_url, kind=kind, **fields)
        user.start(kind)
        user.wait(kind, "Completed", "Training")
    user.wait("late-log")
    assert user.train("usual")["TrainingJobStatus"] == "Completed"
    assert [user.log(name) for name in ("late-log", "missing-log")] == [[], []]
    faults.inject(user.sandbox.endpoint_url, kind="internal-error", times=9)
    user = restart()
    assert user.wait("slow-job")["TrainingJobStatus"] == "Completed"
    assert user.log("late-log")
    assert user.log("missing-log") == []
    assert user.log("usual")


def test_motos_own_api_is_disabled(restart: Restart) -> None:
    url = restart().sandbox.endpoint_url
    with pytest.raises(HTTPError, match="404"):
        urlopen(f"{url}/moto-api/reset", data=b"")  # noqa: S310 - http


def serve_without_prefect(state_dir: Path, processes: Any) -> Any:
    environment = os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(state_dir / "prefect")}
    command = [sys.executable, "-m", "sandbox", "--state-dir", str(state_dir)]
    processes.append(
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    )
    return processes[-1]


def test_the_command_line_prints_how_to_continue_and_stops_on_sigint(state_dir: Path, processes: Any) -> None:
    process = serve_without_prefect(state_dir, processes)
    output = [process.stdout.readline() for _ in range(10)]
    assert wait_for_endpoint(state_dir) in output[0]
    assert all(any(word in line for line in output) for word in (BUCKET, "us-east-1", "flows.train", "role/"))
    pids = wait_until(lambda: children(process.pid))
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert process.communicate()[1] == ""
    assert not [pid for pid in pids if Path("/proc", pid).exists()]


def test_the_command_line_runs_without_prefect_and_stops_on_sigterm(state_dir: Path, processes: Any) -> None:
    process = serve_without_prefect(state_dir, processes)
    last = next(line for line in process.stdout if "not registered" in line)
    assert last.startswith("The sandbox runs but is not registered with Prefect: ")
    assert find_endpoint(state_dir)
    process.terminate()
    assert process.wait(10) == 0
    assert process.communicate()[1] == ""


def test_the_command_line_reports_a_folder_in_use(restart: Restart, state_dir: Path) -> None:
    url = restart().sandbox.endpoint_url
    command = [sys.executable, "-m", "sandbox", "--state-dir", str(state_dir)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == (
        f"sandbox: {state_dir} is in use by the sandbox at {url}; use it or choose another --state-dir\n"
    )
