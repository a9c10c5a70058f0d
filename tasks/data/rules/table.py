"""All checks of a table, for this algorithm and these hyperparameters, before a training job is started."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from linear_learner.hyperparameters import Hyperparameters
from tasks.data.column_plan import ColumnPlan
from tasks.data.profile import Profile
from tasks.data.rules.cells import find_cell_problems, find_target_problems
from tasks.data.rules.features import find_feature_problems, find_table_problems
from tasks.data.rules.finding import Finding, error, quote, warning
from tasks.data.rules.labels import find_label_problems

MIN_TRAINING_ROWS: Final = 10
MIN_SCORING_ROWS: Final = 30
"""With fewer rows, the random error of a metric is larger than most differences between models."""
MAX_ERRORS: Final = 20
_TABLE = "the table"


def find_problems(
    profile: Profile,
    plan: Sequence[ColumnPlan],
    rows: Mapping[str, int],
    hyperparameters: Hyperparameters,
    *,
    drop_unlabelled: bool = False,
) -> tuple[Finding, ...]:
    """All problems of a table, errors first.

    `plan` says what becomes of each column; ignored columns are not checked. `rows` are the rows of each channel, one
    of which is `train`. The predictor type of the hyperparameters is not auto. Problems of the hyperparameters alone
    are reported by their validators and by `warnings()`.
    """
    target = next(column for column in profile.columns if column.name == profile.target)
    treatments = {column.name: column.treatment for column in plan}
    numbers, refused, categories = (
        [column for column in profile.columns if treatments[column.name] in treated]
        for treated in ({"number", "fill"}, {"refuse"}, {"category", "date"})
    )
    found = [
        *_find_width_problems(len(numbers) + len(categories) + len(refused), profile.target),
        *_find_dimension_problems(plan, hyperparameters.feature_dim),
        *find_cell_problems(numbers, refused),
        *find_target_problems(target, drop_unlabelled=drop_unlabelled),
        *find_label_problems(profile, target, rows, hyperparameters),
        *_find_channel_problems(rows),
        *find_table_problems(profile, plan),
        *find_feature_problems(numbers, target, profile.rows, categories),
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


def _find_width_problems(width: int, target: str) -> Iterator[Finding]:
    if not width:
        what = f"there is no feature besides the target {quote(target)}"
        yield error(_TABLE, what, "Add a feature column, or ignore fewer columns.")


def _find_dimension_problems(plan: Sequence[ColumnPlan], feature_dim: int | None) -> Iterator[Finding]:
    """Compare feature_dim with the number of features, which is known before encoding for complete numbers only."""
    features = [column.treatment for column in plan if column.treatment not in {"target", "ignored", "leave out"}]
    if feature_dim not in {None, len(features)} and features and {*features} == {"number"}:
        what = f"it is {feature_dim}, but the table has {len(features)} feature columns"
        remedy = f"Set it to {len(features)}, or leave it empty to derive it from the data."
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
