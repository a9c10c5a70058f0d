"""Check an endpoint with requests whose answers are known from the same models on this machine."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

import numpy as np

from aws.endpoints.alarms import put_check
from aws.endpoints.invocation import CHECK_ID, invoke
from aws.errors import AwsError, EndpointError
from aws.workspace import Workspace
from linear_learner.errors import LinearLearnerError
from linear_learner.formats.inference import JSON
from linear_learner.serving.inference_container import Answer
from tasks.serving.comparison import are_equal
from tasks.serving.requests import Request, Row, make_request, make_rows
from tasks.serving.served_model import Candidate, LocalContainer

MAX_CHECK_REQUESTS = 20
FRESH_ANSWERS = 3
"""Checks in a row that only the new model passes, before an update counts as successful."""


class Check(NamedTuple):
    """A request, and the answers of the candidate and of the model that it replaces."""

    request: Request
    after: Answer
    before: Answer | None


def make_checks(rows: Sequence[Row], candidate: Candidate, incumbent: LocalContainer | None) -> list[Check]:
    """Return a check of each row, at most MAX_CHECK_REQUESTS; rows that the candidate cannot answer are left out.

    Without rows, of a model of another program, numbers are generated: a correct endpoint answers them as well.
    """
    local = candidate.local
    if not rows:
        features = len(local.container.model.weights)
        rows = make_rows(np.random.default_rng(0).normal(size=(5, features)).astype(np.float32), local.table_schema)
    found = []
    for row in rows[:MAX_CHECK_REQUESTS]:
        request = make_request([row], local)
        answer = local.container.invoke(*request)
        if answer.status == 200:
            found.append(Check(request, answer, incumbent.container.invoke(*request) if incumbent else None))
    return found


class Checker:
    """Sends one check after the other to an endpoint, and reports each to CloudWatch."""

    def __init__(self, workspace: Workspace, endpoint: str, checks: Sequence[Check]) -> None:
        self._workspace = workspace.with_client_options({"read_timeout": 20, "retries": {"total_max_attempts": 1}})
        self.endpoint = endpoint
        self._checks = cycle(checks)
        self.counts: Counter[str] = Counter()
        """Number of answers of the `new` and the `old` model, of `wrong` ones, and of requests that were `not sent`."""
        self.last_problem = ""

    def send(self) -> str:
        """Send a check; returns which model gave the answer, or what was wrong: a key of `counts`.

        No error is raised: without a check for two minutes, the alarm on missing checks rolls the update back.
        """
        check = next(self._checks)
        try:
            found = self._classify(check, self._invoke(check.request))
            put_check(self._workspace, self.endpoint, wrong=found == "wrong")
        except (AwsError, LinearLearnerError) as error:
            found, self.last_problem = "not sent", str(error)
        self.counts[found] += 1
        return found

    def confirm(self, answers: int = FRESH_ANSWERS) -> bool:
        """Whether this many answers in a row are those of the new model."""
        return all(self.send() in {"new", "both"} for _ in range(answers))

    def _invoke(self, request: Request) -> Answer:
        try:
            body = invoke(self._workspace, self.endpoint, request.body, request.content_type, CHECK_ID)
            return Answer(200, JSON, body)
        except EndpointError as error:  # an answer of the container
            return Answer(error.status, "text/plain", str(error).encode())

    def _classify(self, check: Check, answer: Answer) -> str:
        is_new = are_equal(answer, check.after)
        is_old = check.before is not None and are_equal(answer, check.before)
        if is_new or is_old:
            return "both" if is_new and is_old else "new" if is_new else "old"
        self.last_problem = f"the answer {answer.status} {answer.body[:200]!r} is that of neither model"
        return "wrong"


def describe_checks(counts: Mapping[str, int]) -> str:
    """Return `120 checks: 100 answered by the old model, 20 by the new one`."""
    texts = {
        "old": "answered as the model before",
        "new": "as the new model",
        "both": "as both models",
        "wrong": "wrong",
        "not sent": "not sent",
    }
    return ", ".join(f"{counts[name]} {text}" for name, text in texts.items() if counts.get(name)) or "none"
