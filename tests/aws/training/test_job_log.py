"""Whatever CloudWatch Logs answers, following ends with the real status of the job, after a limited number of calls."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aws.errors import Unavailable
from aws.training import following, job_log
from aws.training.following import follow
from aws.training.job_log import JobLog, read_log_lines
from aws.workspace import Workspace
from sandbox.client import make_workspace
from tests.aws.training.test_following import RecordingObserver

Answer = tuple[int, Any]
"""Status and document of a response; a document that is not valid is part of the test."""
JOB, POLLS = "a-job", 4
DENIED: Answer = (400, {"__type": "AccessDeniedException", "message": "no"})


class ScriptedAws(ThreadingHTTPServer):
    """AWS over HTTP: calls to CloudWatch Logs get the answers of a script, and the job ends after POLLS calls."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.start_script([], "Completed")

    def start_script(self, answers: list[Answer], status: str) -> None:
        """`answers` are given in turn, and the last one for ever."""
        self.answers, self.status, self.calls = list(answers), status, Counter[str]()

    def answer(self, action: str) -> Answer:
        self.calls[action] += 1
        if action == "DescribeTrainingJob":
            return 200, self._describe()
        if action == "DescribeLogStreams" and not (self.answers and self.answers[0][0] < 0):
            return 200, {"logStreams": [{"logStreamName": f"{JOB}/algo-1-1"}]}
        status, document = self.answers.pop(0) if len(self.answers) > 1 else (self.answers or [DENIED])[0]
        return abs(status), document

    def _describe(self) -> dict[str, Any]:
        ended = self.calls["DescribeTrainingJob"] >= POLLS
        transitions = ["Starting", "Training", *([self.status] if ended else [])]
        return {
            "TrainingJobName": JOB,
            "TrainingJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{JOB}",
            "TrainingJobStatus": self.status if ended else "InProgress",
            "SecondaryStatusTransitions": [{"Status": one, "StartTime": 0} for one in transitions],
        }


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedAws
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, document = self.server.answer(self.headers["X-Amz-Target"].rpartition(".")[2])
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def aws() -> Iterator[ScriptedAws]:
    with ScriptedAws() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def scripted(aws: ScriptedAws) -> Workspace:
    return make_workspace(f"http://127.0.0.1:{aws.server_port}")


EVENTS = st.lists(
    st.builds(
        lambda time, message: {"timestamp": time, "ingestionTime": time, "message": message},
        st.integers(0, 2**45),
        st.text(max_size=20)
        | st.sampled_from(["x" * 100_000, "#progress_metric: host=algo-1, completed 50 % of epochs"]),
    ),
    max_size=3,
)
PAGES = st.tuples(
    st.just(200),
    st.builds(lambda events, token: {"events": events * 2, "nextForwardToken": token}, EVENTS, st.sampled_from("abc")),
)
ERRORS = st.tuples(
    st.sampled_from([400, 403, 404, 429, 500, 503, -400, -500]),
    st.sampled_from(
        [
            {"__type": name, "message": "no"}
            for name in (
                "AccessDeniedException",
                "ThrottlingException",
                "ResourceNotFoundException",
                "KMS.DisabledException",
            )
        ]
        + [{}, b"", b"<html>"]
    ),
)
MALFORMED = st.tuples(
    st.sampled_from([200, -200]), st.sampled_from([{}, b"", b"{", b"[]", {"events": None}, {"logStreams": []}])
)
MAX_CALLS = 4 * (job_log.MAX_LOOK_PAGES + job_log.MAX_STREAM_PAGES) * 2
"""Two attempts of every call of every look: one per poll, and some at the end."""


@settings(max_examples=8)
@given(
    st.lists(PAGES | ERRORS | MALFORMED, min_size=1, max_size=12), st.sampled_from(["Completed", "Failed", "Stopped"])
)
@example([(200, {"events": [], "nextForwardToken": str(number)}) for number in range(500)], "Completed")
@example(
    [(200, {"events": [{"message": "x" * 1000}] * 100, "nextForwardToken": str(n)}) for n in range(500)], "Completed"
)
@example([(-200, {"logStreams": [], "nextToken": str(number)}) for number in range(500)], "Completed")
def test_any_answers_of_the_log_leave_the_status_of_the_job_to_decide(
    aws: ScriptedAws, scripted: Workspace, answers: list[Answer], status: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "LATE_LOG_SECONDS", 0.02)
        patch.setattr(following, "FIRST_PAUSE_SECONDS", 0.001)
        aws.start_script(answers, status)
        observer = RecordingObserver()
        assert follow(scripted, JOB, "run", observer)["TrainingJobStatus"] == status
    assert aws.calls["DescribeTrainingJob"] == POLLS
    assert aws.calls["GetLogEvents"] + aws.calls["DescribeLogStreams"] <= MAX_CALLS
    assert observer.phases == ["Starting", "Training", status]
    assert len(observer.warnings) <= 1


def test_a_look_is_limited_and_the_next_one_continues(aws: ScriptedAws, scripted: Workspace) -> None:
    pages = [(200, {"events": [{"message": str(number)}], "nextForwardToken": str(number)}) for number in range(30)]
    aws.start_script([*pages, pages[-1]], "Completed")
    log = JobLog(scripted, JOB)
    first = [text for _, text in log.new_lines()]
    assert (len(first), log.has_more) == (job_log.MAX_LOOK_PAGES, True)
    second = [text for _, text in log.new_lines()]
    assert ([*first, *second][:30], log.has_more) == ([str(number) for number in range(30)], False)


def test_a_log_without_an_end_is_unavailable(
    aws: ScriptedAws, scripted: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_log, "MAX_LOG_PAGES", 50)
    pages = [(200, {"events": [{"message": "x"}], "nextForwardToken": str(number)}) for number in range(60)]
    aws.start_script(pages, "Completed")
    with pytest.raises(Unavailable, match=r"The log of a-job did not end within 50 pages"):
        list(read_log_lines(scripted, JOB))
    assert aws.calls["GetLogEvents"] == 50
