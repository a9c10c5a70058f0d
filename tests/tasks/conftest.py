"""Tables to prepare, and a machine to prepare them on."""

import random
from collections.abc import Callable

import pytest

from tasks.parameters import Dataset

MakeTable = Callable[..., Dataset]


@pytest.fixture
def make_table(put_object: Callable[[str, bytes], str]) -> MakeTable:
    """Puts a table of forty rows into the test's own folder; the seed decides its numbers."""

    def make(seed: int = 0) -> Dataset:
        numbers = random.Random(f"{put_object('', b'')}{seed}")  # noqa: S311 - a table, not a secret
        rows = ((numbers.random(), numbers.randint(20, 60), numbers.random()) for _ in range(40))
        lines = "".join(f"{pay:.3f},{age},{score:.3f}\n" for pay, age, score in rows)
        return Dataset(source=put_object("table.csv", f"pay,age,score\n{lines}".encode()), target="pay")

    return make
