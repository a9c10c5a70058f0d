"""What the steps up to the model came to, for those that judge it."""

from aws.submission import Submission
from tasks.download import ModelFile
from tasks.load import Table
from tasks.monitor import FinishedJob
from tasks.reuse import Result
from tasks.split import Rows
from tasks.upload import Uploaded


class Trained(Result):
    """A model, and all that it was made of."""

    table: Table
    rows: Rows
    uploaded: Uploaded
    submission: Submission
    job: FinishedJob
    model: ModelFile
