"""All checks of a table, for this algorithm and these hyperparameters, before a training job is started."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Final

from linear_learner.hyperparameters import Hyperparameters
from tasks.data.profile import Profile
from tasks.data.rules.cells import find_cell_problems
from tasks.data.rules.features import find_feature_problems
from tasks.data.rules.finding import MAX_NAMES, Finding, error, join_words, quote, warning
from tasks.data.rules.labels import find_label_problems

MIN_TRAINING_ROWS: Final = 10
MIN_SCORING_ROWS: Final = 30
"""With fewer rows, the random error of a metric is larger than most differences between models."""
MAX_ERRORS: Final = 20
_TABLE = "the table"


def find_problems(
    profile: Profile, rows: Mapping[str, int], hyperparameters: Hyperparameters, ignored: Collection[str] = ()
) -> tuple[Finding, ...]:
    """All problems of a table, errors first.

    `rows` are the rows of each channel, one of which is `train`. `ignored` columns are not checked. Problems of the
    hyperparameters alone are reported by their validators and by `warnings()`.
    """
    target = next(column for column in profile.columns if column.name == profile.target)
    features = [column for column in profile.columns if column.name not in {profile.target, *ignored}]
    found = [
        *_find_header_problems([column.name for column in profile.columns]),
        *_find_width_problems(len(features), profile.target, hyperparameters.feature_dim),
        *find_cell_problems(features, target),
        *find_label_problems(profile, target, rows, hyperparameters),
        *_find_channel_problems(rows),
        *find_feature_problems(features, target, profile.rows),
    ]
    return tuple(sorted(found, key=lambda finding: finding.level))  # "error" sorts before "warning"


def error_message(source: str, errors: Sequence[Finding]) -> str:
    """The name of the table and its errors, one per line, at most MAX_ERRORS."""
    if len(errors) == 1:
        return f"{source} cannot be trained on: {errors[0]}"
    lines = [f"- {one}" for one in errors[:MAX_ERRORS]]
    if len(errors) > MAX_ERRORS:
        lines.append(f"- and {len(errors) - MAX_ERRORS} more errors.")
    return "\n".join([f"{source} cannot be trained on:", *lines])


def _find_header_problems(names: Sequence[str]) -> Iterator[Finding]:
    if all(_is_number(name) for name in names) and not _are_positions(names):
        shown = join_words([quote(name) for name in names[:MAX_NAMES]])
        what = f"the first line looks like data, not like a header: {shown}"
        yield error(_TABLE, what, "Put a line with the column names before it.")


def _are_positions(names: Sequence[str]) -> bool:
    """Whether the names are 0, 1, 2, …, as pandas numbers columns without names; some numbers may be missing."""
    positions = [int(name) if name.isdecimal() else -1 for name in names]
    return all(one < two for one, two in pairwise([-1, *positions])) and positions[-1] <= 2 * len(names)


def _is_number(name: str) -> bool:
    with suppress(ValueError):
        float(name)
        return True
    return False


def _find_width_problems(width: int, target: str, feature_dim: int | None) -> Iterator[Finding]:
    if not width:
        what = f"there is no feature besides the target {quote(target)}"
        yield error(_TABLE, what, "Add a feature column, or ignore fewer columns.")
    elif feature_dim not in {None, width}:
        what = f"it is {feature_dim}, but the table has {width} feature columns"
        remedy = f"Set it to {width}, or leave it empty to derive it from the data."
        yield error("hyperparameter feature_dim", what, remedy)


def _find_channel_problems(rows: Mapping[str, int]) -> Iterator[Finding]:
    remedy = "Add rows to the table, or give this channel a larger share of them."
    for name, count in rows.items():
        if not count:
            yield error(f"channel {name}", "it has no rows", remedy)
        elif name == "train" and count < MIN_TRAINING_ROWS:
            what = f"it has {count} rows, but training requires at least {MIN_TRAINING_ROWS}"
            yield error(f"channel {name}", what, remedy)
        elif name != "train" and count < MIN_SCORING_ROWS:
            what = f"it has {count} rows, and metrics on fewer than {MIN_SCORING_ROWS} are unreliable"
            yield warning(f"channel {name}", what, remedy)
