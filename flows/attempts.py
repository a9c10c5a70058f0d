"""One training, in as many attempts as AWS needs: where it had no instances, or failed by itself, there is another."""

from prefect.logging import get_run_logger

from aws.compute import Compute
from aws.errors import TrainingFailed
from aws.submission import IfExists, Submission
from aws.workspace import Workspace
from linear_learner.hyperparameters import Hyperparameters
from tasks.fit import fit
from tasks.monitor import FinishedJob, monitor
from tasks.upload import Uploaded

MOST_FAULTS = 3
"""Attempts that may end in a fault of AWS's own before the run does; each may have cost something."""


def fit_and_monitor(
    where: Workspace, uploaded: Uploaded, hyperparameters: Hyperparameters, compute: Compute, if_exists: IfExists
) -> tuple[Submission, FinishedJob]:
    """The finished job. What an attempt cost is taken off the budget of the next; another kind of failure is raised."""
    first_offer, faults = 0, 0
    while True:
        fitted = fit(where, uploaded, hyperparameters, compute, if_exists, first_offer)
        submission = fitted.submission
        try:
            return submission, monitor(where, submission, stop_when_diverging=compute.stop_when_diverging)
        except TrainingFailed as error:
            if error.ending is None or error.ending.again != "now":
                raise
            faults += error.ending.kind == "internal"
            budget = None if compute.max_cost_usd is None else compute.max_cost_usd - error.usd
            if faults == MOST_FAULTS or (budget is not None and budget <= 0):
                raise
            get_run_logger().warning("%s Trying again.", error)
            # After a fault the same kind of instances will do.
            first_offer = fitted.offer.step + (error.ending.kind != "internal")
            compute = compute.model_copy(update={"max_cost_usd": budget})
