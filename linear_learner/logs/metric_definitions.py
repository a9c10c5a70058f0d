"""The 37 metrics that SageMaker extracts from a Linear Learner job's log, with the regular expressions of AWS."""

from collections.abc import Mapping
from typing import Final

_EVERY_CHANNEL: Final = (
    ("mse", "mse <loss>"),
    ("absolute_loss", "absolute_loss <loss>"),
    ("binary_classification_accuracy", "binary_classification_accuracy <score>"),
    ("binary_f_beta", r"binary_f_\S+ <score>"),
    ("precision", "precision <score>"),
    ("recall", "recall <score>"),
)
_HELD_OUT_CHANNELS: Final = (
    ("multiclass_accuracy", "multiclass_accuracy <score>"),
    ("multiclass_top_k_accuracy", r"multiclass_top_k_accuracy_\S+ <score>"),
    ("dcg", "dcg <score>"),
    ("macro_recall", "macro_recall <score>"),
    ("macro_precision", "macro_precision <score>"),
    ("macro_f_beta", r"macro_f_\S+ <score>"),
)
_TABLE: Final = (
    ("train", _EVERY_CHANNEL),
    ("validation", _EVERY_CHANNEL + _HELD_OUT_CHANNELS),
    ("test", (*_EVERY_CHANNEL, *_HELD_OUT_CHANNELS, ("objective_loss", r"\S+_objective <loss>"))),
)

METRIC_DEFINITIONS: Final[Mapping[str, str]] = (
    {
        f"{channel}:{name}": rf"#quality_metric: host=\S+, {channel} {pattern}=(\S+)"
        for channel, metrics in _TABLE
        for name, pattern in metrics
    }
    | {
        f"{channel}:objective_loss{suffix}": rf"#quality_metric: host=\S+, {epoch}{channel} \S+_objective <loss>=(\S+)"
        for channel in ("train", "validation")
        for suffix, epoch in (("", r"epoch=\S+, "), (":final", ""))
    }
    | {
        "train:progress": r"#progress_metric: host=\S+, completed (\S+) %",
        "train:throughput": r"#throughput_metric: host=\S+, train throughput=(\S+) records/second",
    }
)
"""Metric name to regular expression, from a real DescribeTrainingJob response; `train:objective_loss` and
`validation:objective_loss` are those of model 0, not of the best model (observed in real logs)."""
