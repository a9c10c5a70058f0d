"""Compare the answers of two containers to the same requests, on this machine."""

import json
from collections.abc import Sequence
from math import isclose
from typing import Any, NamedTuple

import numpy as np

from linear_learner.serving.inference_container import Answer
from tasks.caching.policy import Result
from tasks.data.numbers import format_count, format_share
from tasks.serving.requests import Request
from tasks.serving.served_model import LocalContainer

RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-5, 1e-7
"""Largest differences of two scores of the same model: it computes in float32."""
DECISIVE_MOVE = 0.1
"""A number that moves by more than this share of the standard deviation of the present ones is another decision."""
MAX_LISTED = 10


class Prediction(NamedTuple):
    """The scores of one row, and its class; None for a regressor."""

    scores: tuple[float, ...]
    label: float | None


class Difference(Result):
    """A row for which two models differ: its number from 1 and both predictions, as texts."""

    row: int
    before: str
    after: str
    size: float


class Comparison(Result):
    """How a candidate's answers differ from those of the model that is served."""

    source: str
    """The rows that were compared, such as `1,000 rows of the test set`."""
    rows: int = 0
    changed: int = 0
    mean_shift: float = 0.0
    """Mean difference of the scores; of several classes, the mean absolute difference."""
    unanswered: int = 0
    """Rows that only the model that is served answers."""
    largest: tuple[Difference, ...] = ()
    objection: str | None = None
    """Why the two cannot be compared."""

    @property
    def share(self) -> float:
        """The share of rows with another decision, or without an answer of the candidate."""
        return (self.changed + self.unanswered) / self.rows if self.rows else 0.0

    def __str__(self) -> str:
        if self.objection:
            return f"not compared: {self.objection}"
        text = f"{format_share(self.share)} of decisions change over {self.source}"
        return text + (f"; {format_count('row', self.unanswered)} not answered" if self.unanswered else "")


def read_predictions(answer: Answer) -> list[Prediction]:
    """Return the predictions of a JSON answer; none of an error."""
    if answer.status != 200:
        return []
    found: list[dict[str, Any]] = json.loads(answer.body)["predictions"]
    return [Prediction(_to_tuple(one["score"]), one.get("predicted_label")) for one in found]


def _to_tuple(score: Any) -> tuple[float, ...]:
    return tuple(score) if isinstance(score, list) else (score,)


def are_equal(one: Answer, other: Answer) -> bool:
    """Whether two answers have the same status and, within the tolerances, the same predictions."""
    if one.status != 200 or other.status != 200:
        return one.status == other.status
    try:
        pairs = list(zip(read_predictions(one), read_predictions(other), strict=True))
    except (ValueError, LookupError, TypeError):
        return False
    return all(
        left.label == right.label
        and len(left.scores) == len(right.scores)
        and all(map(_is_close, left.scores, right.scores))
        for left, right in pairs
    )


def _is_close(one: float, other: float) -> bool:
    return isclose(one, other, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)


def compare(
    source: str, requests: Sequence[tuple[Request, Request]], incumbent: LocalContainer, candidate: LocalContainer
) -> Comparison:
    """Compare the answers to pairs of requests: the one for the model that is served, and the candidate's.

    Rows that the model that is served does not answer are left out.
    """
    pairs: list[tuple[Prediction, Prediction]] = []
    unanswered = 0
    for present, new in requests:
        before = read_predictions(incumbent.container.invoke(*present))
        after = read_predictions(candidate.container.invoke(*new))
        if len(after) == len(before):
            pairs += zip(before, after, strict=True)
        else:
            unanswered += len(before)
    if not pairs and not unanswered:
        return Comparison(source=source, objection=f"the model that is served answers none of {source}.")
    return _summarise(source, pairs, unanswered)


def _summarise(source: str, pairs: Sequence[tuple[Prediction, Prediction]], unanswered: int) -> Comparison:
    if not pairs:
        return Comparison(source=source, rows=unanswered, unanswered=unanswered)
    before, after = ([pair[side] for pair in pairs] for side in (0, 1))
    if {len(one.scores) for one in before} != {len(one.scores) for one in after}:
        reason = "the models have another number of classes or are of another type."
        return Comparison(source=source, rows=len(pairs) + unanswered, objection=reason)
    old, new = (np.array([one.scores for one in side], np.float64) for side in (before, after))
    shift = new - old
    sizes = np.abs(shift).max(axis=1)
    if before[0].label is None:
        moved = sizes > max(DECISIVE_MOVE * float(old.std()), 1e-12)
    else:
        moved = np.array([one.label != other.label for one, other in pairs])
    order = [int(row) for row in np.argsort(-sizes, kind="stable")[:MAX_LISTED] if sizes[row] > 0]
    return Comparison(
        source=source,
        rows=len(pairs) + unanswered,
        changed=int(moved.sum()),
        mean_shift=float(np.abs(shift).mean() if shift.shape[1] > 1 else shift.mean()),
        unanswered=unanswered,
        largest=tuple(
            Difference(row=row + 1, before=_show(before[row]), after=_show(after[row]), size=float(sizes[row]))
            for row in order
        ),
    )


def _show(prediction: Prediction) -> str:
    scores = ", ".join(f"{score:.6g}" for score in prediction.scores[:5])
    shown = scores + ", …" * (len(prediction.scores) > 5)
    return shown if prediction.label is None else f"class {prediction.label:g} ({shown})"
