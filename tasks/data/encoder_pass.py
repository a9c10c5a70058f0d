"""The pass over the training rows of a table's files on which the schema is fitted."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aws.workspace import Workspace
from tasks.data.column_plan import ColumnPlan
from tasks.data.encoder import EncoderStatistics, fit_frames
from tasks.data.parallel import prefetch
from tasks.data.reader import TableFile, read_spilled_chunks, spill_chunks, spill_folder
from tasks.data.source import TablePart
from tasks.parameters import Reading


def fit_file(  # noqa: PLR0913, PLR0917 - a file, how it is read, and what is measured
    workspace: Workspace,
    part: TablePart,
    training: NDArray[np.bool_],
    columns: Sequence[str],
    plan: Sequence[ColumnPlan],
    reading: Reading,
) -> EncoderStatistics:
    """Measure the training rows of a file; `training` (rows,) is true for them.

    The chunks that the measurement of the table stored are read again; if there are none, as the measurement was
    reused, they are stored for the next step.
    """
    folder = spill_folder(part, columns, reading)
    stored = read_spilled_chunks(folder)
    frames = stored or spill_chunks(TableFile.of(workspace, part, reading).chunks(columns), folder, part.size)
    return fit_frames(prefetch(frames, f"encoding {part.uri}"), training, plan)
