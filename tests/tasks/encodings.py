"""Encodings for tests of single steps: those that the flow would use."""

from collections.abc import Sequence

from aws.workspace import Workspace
from linear_learner.schema import LabelSchema, NumberColumn, Schema
from tasks.check import find_treatments
from tasks.encode import Encoding, fit_schema
from tasks.load import Table
from tasks.parameters import Dataset, RequestedHyperparameters, RunParameters
from tasks.split import Rows


def encoding_of(workspace: Workspace, table: Table, rows: Rows, dataset: Dataset | None = None) -> Encoding:
    """The encoding of the table for a regressor, whose labels are not changed, without a Prefect run."""
    dataset = dataset or Dataset(source=table.source.uri, target=table.target)
    regressor = RequestedHyperparameters(predictor_type="regressor")
    parameters = RunParameters(dataset=dataset, split=rows.parameters, hyperparameters=regressor)
    checked = find_treatments(table, rows, parameters)
    return Encoding(table_schema=fit_schema(workspace, table, rows, checked, dataset), made_of={})


def numeric_schema(target: str, columns: Sequence[str]) -> Schema:
    """The schema of complete numbers and a regressor's target."""
    numbers = tuple(NumberColumn(name=name) for name in columns if name != target)
    return Schema(label=LabelSchema(name=target), columns=numbers)
