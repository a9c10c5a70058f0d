"""Files that are either wholly there or not at all, whenever the process dies."""

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

UNFINISHED = ".unfinished-"


def replace_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file beside its place and rename it into it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(chunks)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def replace_json(path: Path, document: Any) -> None:
    """Write a document as one JSON file, or leave the old one."""
    replace_file(path, [json.dumps(document).encode()])
