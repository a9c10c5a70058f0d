"""Puts the sandbox's parts together, and what a new one holds: a bucket, a role, a user, a sample table."""

import json
import socket
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import BaseWSGIServer, make_server

from sandbox import training_log
from sandbox.account import ADMINISTRATOR, BUCKET, KEY_ID, ROLE_ARN
from sandbox.emulator import Emulator
from sandbox.faults import Faults
from sandbox.front import Front
from sandbox.model_registry import ModelRegistry
from sandbox.object_store import ObjectStore
from sandbox.service_model import preload
from sandbox.trainer import Trainer
from sandbox.training_jobs import TrainingJobs

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def assemble(state_dir: Path, client: Callable[[str], Any]) -> tuple[Front, TrainingJobs, Trainer]:
    """The application over a folder, with its jobs and what runs them; `client` makes AWS clients of it."""
    emulator = Emulator()
    store = ObjectStore(state_dir / "s3", emulator)
    trainer = Trainer(client)
    faults = Faults()
    jobs = TrainingJobs(state_dir / "jobs", trainer.start, trainer.stop, faults)
    registry = ModelRegistry(state_dir / "registry")
    # Of IAM and STS whoever is asked first needs them.
    create_identities = cache(partial(_create_identities, emulator))
    seeds: dict[str, Callable[[], None]] = {
        "s3": partial(_seed_objects, emulator, store),
        "logs": partial(training_log.restore, emulator, state_dir / "jobs"),
        "iam": create_identities,
        "sts": create_identities,
        "sagemaker": preload,
    }
    return Front(emulator, store, jobs, registry, state_dir, seeds=seeds, faults=faults), jobs, trainer


def serve(front: Front, listening: socket.socket) -> BaseWSGIServer:
    """A threaded server on a socket that listens already."""
    return make_server("127.0.0.1", 0, front, threaded=True, request_handler=_QuietHandler, fd=listening.fileno())


class _QuietHandler(MotoRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: a training job alone makes hundreds of requests."""


def _seed_objects(emulator: Emulator, store: ObjectStore) -> None:
    store.restore()
    if emulator.request("s3", "HEAD", f"/{BUCKET}").status_code == 404:
        emulator.request("s3", "PUT", f"/{BUCKET}")
        store.follow("PUT", f"/{BUCKET}", "", b"")
    from sandbox.samples import EMPLOYEES_KEY, employees_csv  # the table is made only when missing

    if emulator.request("s3", "HEAD", f"/{BUCKET}/{EMPLOYEES_KEY}").status_code == 404:
        headers = {"Content-Type": "text/csv"}
        emulator.request("s3", "PUT", f"/{BUCKET}/{EMPLOYEES_KEY}", headers=headers, body=employees_csv())
        store.keep(BUCKET, EMPLOYEES_KEY)


def _create_identities(emulator: Emulator) -> None:
    name, trust, everything = ROLE_ARN.rpartition("/")[2], json.dumps(TRUST), json.dumps(ADMINISTRATOR)
    _ask_iam(emulator, "CreateRole", RoleName=name, AssumeRolePolicyDocument=trust)
    _ask_iam(emulator, "CreateUser", UserName=KEY_ID)
    _ask_iam(emulator, "PutUserPolicy", UserName=KEY_ID, PolicyName="administrator", PolicyDocument=everything)
    emulator.give_keys(KEY_ID)


def _ask_iam(emulator: Emulator, action: str, **parameters: str) -> None:
    form = urlencode({"Action": action, "Version": "2010-05-08"} | parameters)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    emulator.request("iam", "POST", "/", headers=headers, body=form.encode())
