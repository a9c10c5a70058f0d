"""Read the log of a training job from CloudWatch Logs, in looks that are limited in calls and time."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from aws.errors import NotFound, Unavailable, translate_errors
from aws.workspace import Workspace

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
MAX_LOOK_PAGES, MAX_LOOK_SECONDS = 20, 10.0
"""Limits of one look at the log of a running job; the next look continues where it ended."""
MAX_LOG_PAGES, MAX_LOG_SECONDS = 1000, 120.0
"""Limits of reading a whole log; a page has up to 1 MB or 10 000 lines."""
MAX_STREAM_PAGES = 5
"""Pages of the list of streams, 50 streams each; a job has one stream per instance and spot interruption."""
MAX_EMPTY_PAGES = 10
"""Consecutive pages without lines after which a look at a stream ends; CloudWatch may return some before the end."""


def read_log_lines(workspace: Workspace, job: str) -> Iterator[str]:
    """Yield the log lines of a job's first host, as all hosts log the same; none if there is no log.

    Raises Unavailable when the log does not end within MAX_LOG_PAGES and MAX_LOG_SECONDS.
    """
    log = JobLog(workspace.with_short_timeouts(), job)
    for stream, text in log.new_lines(MAX_LOG_PAGES, MAX_LOG_SECONDS):
        if stream.startswith(f"{job}/algo-1-"):
            yield text
    if log.has_more:
        raise Unavailable(f"The log of {job} did not end within {MAX_LOG_PAGES} pages or {MAX_LOG_SECONDS:.0f} s.")


@dataclass
class JobLog:
    """The log streams of a job; each look continues where the previous one ended."""

    workspace: Workspace
    job: str
    has_more: bool = False
    """Whether the last look ended at a limit, before the end of the log."""
    _tokens: dict[str, str] = field(default_factory=dict)

    def new_lines(
        self, max_pages: int = MAX_LOOK_PAGES, max_seconds: float = MAX_LOOK_SECONDS
    ) -> Iterator[tuple[str, str]]:
        """Yield stream and text of each line that is new since the previous look, one page of each stream in turn."""
        end, pages, self.has_more = time.monotonic() + max_seconds, 0, True
        # The log group is created with the account's first job, and a stream some time after its job has started.
        with suppress(NotFound), translate_errors(f"reading the log of {self.job}"):
            empty_pages = dict.fromkeys(self._find_streams(), 0)
            while empty_pages:
                for stream in list(empty_pages):
                    if pages == max_pages or time.monotonic() > end:
                        return
                    pages += 1
                    lines, is_last = self._read_page(stream)
                    empty_pages[stream] = 0 if lines else empty_pages[stream] + 1
                    if is_last or empty_pages[stream] == MAX_EMPTY_PAGES:
                        del empty_pages[stream]
                    for text in lines:
                        yield stream, text
        self.has_more = False

    def _find_streams(self) -> list[str]:
        pages = self.workspace.client("logs").get_paginator("describe_log_streams")
        found = pages.paginate(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{self.job}/")
        return sorted(
            stream["logStreamName"] for page in islice(found, MAX_STREAM_PAGES) for stream in page["logStreams"]
        )

    def _read_page(self, stream: str) -> tuple[list[str], bool]:
        """Return the lines of the next page of a stream, and whether it is the last one so far."""
        token = {"nextToken": self._tokens[stream]} if stream in self._tokens else {}
        page = self.workspace.client("logs").get_log_events(
            logGroupName=LOG_GROUP,
            logStreamName=stream,
            startFromHead=True,
            **token,  # type: ignore[arg-type]
        )
        # CloudWatch returns the same token again when there are no new events.
        is_last = page["nextForwardToken"] == self._tokens.get(stream)
        self._tokens[stream] = page["nextForwardToken"]
        return [event["message"] for event in page["events"]], is_last
