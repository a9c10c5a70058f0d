"""The steps from load to format for a file on this machine, without a flow or a server."""

from pathlib import Path
from typing import NamedTuple

from aws.workspace import Workspace
from linear_learner.errors import DataError
from linear_learner.formats.channels import read_channel
from linear_learner.model import Examples
from linear_learner.schema import Schema
from sandbox.client import make_workspace
from tasks.check import CheckedData, find_treatments
from tasks.data.rules.table import error_message
from tasks.encode import Encoding, fit_schema
from tasks.format import format_channels
from tasks.load import Table, find, load
from tasks.parameters import Dataset, RunParameters, Split
from tasks.split import Rows, split_rows

WORKSPACE: Workspace = make_workspace("http://127.0.0.1:9")  # no table here is in S3


class Prepared(NamedTuple):
    """What the steps until encode make of a table."""

    table: Table
    rows: Rows
    checked: CheckedData
    table_schema: Schema

    @property
    def treatments(self) -> dict[str, str]:
        return {column.name: column.treatment for column in self.checked.plan}

    @property
    def warnings(self) -> list[str]:
        return [str(finding) for finding in self.checked.findings if finding.level == "warning"]

    def write_channels(self, folder: Path) -> dict[str, Examples]:
        """Write the files of the channels to `folder`, and read them as the container does."""
        encoding = Encoding(table_schema=self.table_schema, made_of={})
        formatted = format_channels.fn(WORKSPACE, self.table, self.rows, encoding)
        channels = {}
        for file in formatted.files:
            place = folder / file.sha256
            place.mkdir(exist_ok=True)
            formatted.path(file).rename(place / "file")
            channels[file.channel] = read_channel(place, formatted.content_type, folder)
        return channels


def prepare_table(source: str, target: str, split: Split = Split(), **options: object) -> Prepared:  # noqa: B008 - frozen
    """Run the steps until encode; raises DataError with all errors of the table."""
    dataset = Dataset.model_validate({"source": source, "target": target, **options})
    table = load.fn(WORKSPACE, find.fn(WORKSPACE, dataset), dataset)
    rows = split_rows.fn(WORKSPACE, table, split, drop_unlabelled=dataset.drop_unlabelled)
    checked = find_treatments(table, rows, RunParameters(dataset=dataset, split=split))
    if errors := [finding for finding in checked.findings if finding.level == "error"]:
        raise DataError(error_message(source, errors))
    return Prepared(table, rows, checked, fit_schema(WORKSPACE, table, rows, checked, dataset))
