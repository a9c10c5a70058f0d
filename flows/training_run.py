"""What one run came to, and what its report is about."""

from collections.abc import Sequence
from dataclasses import replace

from aws.registry import Package
from linear_learner.artifact import read_model
from tasks.evaluation.results import Evaluation, Verdict
from tasks.model_report.subject import Subject
from tasks.record import Recorded
from tasks.recount import Recounted
from tasks.register import Registered
from tasks.trained import Trained


class TrainingRun(Trained):
    """What each step of one run came to."""

    evaluation: Evaluation
    verdict: Verdict
    recorded: Recorded
    registered: Registered | None

    @property
    def cost(self) -> str:
        """In USD, in a line."""
        reused = self.submission.how == "reused"
        return f"0 USD; reuse saved {self.job.bill}" if reused else str(self.job.bill)

    def about(
        self,
        recounted: Recounted,
        champion: Package | None,
        warnings: Sequence[object],
        slice_by: str | None,
        workspace: str,
    ) -> Subject:
        """All that the report tells; `warnings` are those about the data, `workspace` is the block's name."""
        return Subject(
            target=self.table.target,
            source=self.table.source.uri,
            verdict=self.verdict,
            registered=str(self.registered) if self.registered else None,
            profile=self.table.profile,
            rows=self.rows.by_channel,
            split=self.rows.parameters,
            story=recounted.story,
            story_objection=recounted.objection,
            evaluation=self.evaluation,
            model=replace(read_model(self.model.path), feature_names=self.uploaded.features),
            job=self.job.name,
            submission=self.submission.how,
            cost=self.cost,
            warnings=[str(warning) for warning in warnings],
            reproduce=f"python -m flows.train --from-run {self.recorded.uri} --workspace {workspace}",
            champion=f"version {champion.version}, {champion.training_job or champion.model_uri}" if champion else None,
            slice_by=slice_by,
            same_test_rows=bool(champion and champion.metadata.get("sha256:test") == self.uploaded["test"].sha256),
        )
