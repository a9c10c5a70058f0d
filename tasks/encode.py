"""Encode: determine how the columns of the table become features, from the training rows alone."""

from prefect import task
from prefect.logging import get_run_logger

from aws.workspace import Workspace
from linear_learner.schema import LabelSchema, Schema
from tasks.caching.explain_rerun import Fact, flatten
from tasks.caching.policy import RETRIES, Inputs, Result, cached, fingerprint
from tasks.check import CheckedData
from tasks.data.column_plan import FITTED
from tasks.data.parallel import map_files
from tasks.load import Table
from tasks.parameters import Dataset
from tasks.split import Rows

VERSION = 1
"""Part of the cache key; raised when columns are encoded in another way."""


class Encoding(Result):
    """The columns of the table and the features that are made of them."""

    table_schema: Schema
    made_of: dict[str, Fact]

    @property
    def facts(self) -> dict[str, Fact]:
        """Facts that change with the features."""
        return {"encoding.identity": fingerprint(self.table_schema)}

    def __str__(self) -> str:
        return f"encoding, {len(self.table_schema.features)} features"


def _facts(inputs: Inputs) -> dict[str, Fact]:
    checked: CheckedData = inputs["checked"]
    return {
        **inputs["table"].made_of,
        **flatten({"split": inputs["rows"].parameters}),
        "columns.treatment": fingerprint(*checked.plan),
        "columns.classes": fingerprint(checked.label.classes),
        "dataset.max_categories": inputs["dataset"].max_categories,
        "version.encode": VERSION,
    }


@task(name="encode", task_run_name="encode {table.rows} rows", **cached("encode", _facts), **RETRIES)
def encode(workspace: Workspace, table: Table, rows: Rows, checked: CheckedData, dataset: Dataset) -> Encoding:
    """Find the categories, medians and dates of the training rows; a table of complete numbers is not read again."""
    schema = fit_schema(workspace, table, rows, checked, dataset)
    if not schema.is_identity:
        get_run_logger().info("%d columns become %d features", len(schema.columns), len(schema.features))
    facts = _facts({"table": table, "rows": rows, "checked": checked, "dataset": dataset})
    return Encoding(table_schema=schema, made_of=facts)


def fit_schema(workspace: Workspace, table: Table, rows: Rows, checked: CheckedData, dataset: Dataset) -> Schema:
    """Return the schema of the table's columns and labels, fitted on the training rows."""
    import numpy as np

    from tasks.data.conversion import MISSING_VALUES
    from tasks.data.encoder import EncoderStatistics, make_schema, merge
    from tasks.data.encoder_pass import fit_file

    statistics = EncoderStatistics(rows.train, {})
    if any(column.treatment in FITTED for column in checked.plan):
        training = np.zeros(table.rows, np.bool_)
        training[rows.row_numbers(workspace, table)["train"]] = True
        masks = np.split(training, np.cumsum(table.part_rows[:-1]))
        options = {"columns": table.columns, "plan": checked.plan, "reading": table.reading}
        statistics = merge(map_files(workspace, fit_file, table.parts, masks, **options))
    label = LabelSchema(name=table.target, classes=checked.label.classes)
    missing = tuple(value for value in (*MISSING_VALUES, *dataset.missing) if value)
    return make_schema(statistics, checked.plan, label, max_categories=dataset.max_categories, missing_values=missing)
