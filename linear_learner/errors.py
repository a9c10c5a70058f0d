"""The errors of the package; all of them report invalid input.

LinearLearnerError
├── HyperparameterError   an invalid value or combination of values
├── DataError             invalid data: row, column, value
└── ArtifactError         a model archive or record file that is damaged or has another format

Every message states what is wrong, where, and what to do. A retry does not help.
"""


class LinearLearnerError(ValueError):
    """The input is invalid; the message is written for the user."""

    retryable = False


class HyperparameterError(LinearLearnerError):
    """A hyperparameter value, or a combination of values, that the algorithm refuses."""


class DataError(LinearLearnerError):
    """Data that cannot be used for training or scoring."""


class ArtifactError(LinearLearnerError):
    """A model archive or record file that is damaged, malicious or has another format."""
