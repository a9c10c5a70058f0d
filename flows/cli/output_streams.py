"""The log of a command line on standard error: lines that cannot be written are dropped and never end a run.

Examples are `python -m flows.train 2>&1 | head`, a closed terminal, and a log file on a full disk.
"""

import io
import signal
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _LogFile(io.FileIO):
    """A file of which write errors are ignored. Without it, an error in a log line could stop the training job."""

    def write(self, data: "ReadableBuffer", /) -> int:
        size = memoryview(data).nbytes
        try:
            written = super().write(data)
        except OSError:
            return size
        return size if written is None else written  # None: the reader of a non-blocking pipe is too slow


def continue_without_output() -> None:
    """Drop log lines that cannot be written; call this before Prefect is imported, as its log keeps sys.stderr."""
    # Sent when the terminal is closed. The training job continues in that case, so the run that follows it does, too.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.stderr = _protect(sys.stderr)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as on stderr, for characters that the encoding lacks


def _protect(stream: TextIO) -> TextIO:
    try:
        file = _LogFile(stream.fileno(), "wb", closefd=False)
    except (AttributeError, OSError):  # None, as the process was started with a closed stream, or not a file
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(file), encoding=stream.encoding, errors="backslashreplace", line_buffering=True
    )
