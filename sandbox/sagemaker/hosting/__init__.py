"""The sandbox's hosting: models, endpoint configurations, endpoints that answer requests, and their metrics."""

import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox.cloudwatch.service import CloudWatch
from sandbox.faults import Faults
from sandbox.sagemaker.hosting.capture import DataCapture
from sandbox.sagemaker.hosting.containers import Containers
from sandbox.sagemaker.hosting.endpoints import Endpoints
from sandbox.sagemaker.hosting.invocations import Invocations
from sandbox.sagemaker.hosting.models import EndpointConfigs, Models

MAX_CHECK_SECONDS = 0.2
MIN_CHECK_SECONDS = 0.05
CHECKS_PER_MINUTE = 5.0
"""How often alarms are evaluated in a minute of the service, within the two limits."""


class Hosting:
    """Everything behind an endpoint; an hour of the service takes 3600 / `speed` seconds."""

    def __init__(
        self, folder: Path, client: Callable[[str], Any], faults: Faults, cloudwatch: CloudWatch, speed: float
    ) -> None:
        """`client` returns the boto3 client of a service with which endpoints call this sandbox."""
        self._cloudwatch = cloudwatch
        self._check_seconds = max(MIN_CHECK_SECONDS, min(MAX_CHECK_SECONDS, 60 / speed / CHECKS_PER_MINUTE))
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._check_alarms, name="sandbox-hosting", daemon=True)
        models = Models(folder / "models")
        configs = EndpointConfigs(folder / "configs", models)
        containers = Containers(client)
        self.endpoints = Endpoints(folder / "endpoints", models, configs, containers, faults, cloudwatch, speed)
        self.parts = (models, configs, self.endpoints)
        self._capture = DataCapture(client)
        self.invocations = Invocations(self.endpoints, containers, self._capture, cloudwatch)

    def start(self) -> None:
        """Begin to evaluate alarms and to write captured data."""
        self._cloudwatch.restore()
        self._thread.start()
        self._capture.start()

    def _check_alarms(self) -> None:
        while not self._closed.wait(self._check_seconds):
            try:
                self._cloudwatch.evaluate_alarms()
                self.endpoints.stop_deployments(self._check_seconds)
            except Exception:  # noqa: BLE001 - an error must not end the thread, or no alarm would stop an update
                traceback.print_exc(file=sys.stderr)

    def close(self) -> None:
        """Write what was captured, and end the threads of this object."""
        self._capture.close()
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()
