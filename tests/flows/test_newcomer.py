"""A newcomer comes from the first model to a decision on the third one with the commands that each summary prints."""

import random
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.shell import open_shell, run_here

pytestmark = pytest.mark.e2e


def houses() -> str:
    numbers = random.Random(0)  # noqa: S311 - a table, not a secret
    rows = [(numbers.randint(1, 6), numbers.randint(40, 200)) for _ in range(300)]
    lines = [f"{rooms},{area},{900 * area + 5000 * rooms + numbers.gauss(0, 5000):.0f}" for rooms, area in rows]
    return "\n".join(["rooms,area,price", *lines])


@pytest.fixture
def shell(tmp_path: Path, api_url: str) -> Iterator[Callable[[str], str]]:
    """A function that runs a command in an empty home directory with a table and returns what it prints."""
    (tmp_path / "my houses.csv").write_text(houses())
    with open_shell(tmp_path, api_url) as shell:
        yield lambda command: run_here(shell, command).stdout


def next_steps(summary: str) -> dict[str, str]:
    """Return the printed commands by what they are for."""
    lines = summary.partition("What next\n")[2].strip("\n").splitlines()
    return {line[2:16].strip(): line[16:] for line in lines}


def test_the_printed_commands_lead_from_the_first_run_to_a_comparison_with_the_champion(
    shell: Callable[[str], str], tmp_path: Path, api_url: str
) -> None:
    summary = shell(f"{shlex.quote(sys.executable)} -m flows.train --csv 'my houses.csv' --target price --model_dir m")
    first = next_steps(summary)
    assert list(first) == ["open report", "predict", "change", "approve", "serve", "see in Prefect"]
    assert first["see in Prefect"].startswith(api_url.removesuffix("/api"))
    page = Path(urlsplit(shlex.split(first["open report"])[-1]).path)
    assert "price" in page.read_text()

    assert "300 of" in shell(first["predict"])
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 301

    second = next_steps(shell(first["change"]))
    assert list(second) == ["open report", "predict", "change", "compare", "approve", "serve", "see in Prefect"]
    assert "l1: " in shell(second["compare"])
    assert "The champion is now version 2" in shell(second["approve"])

    assert "was created and serves" in shell(second["serve"])

    summary = shell(second["change"])
    assert "Champion (version 2): " in summary
    verdicts = {"Promoted. ": True, "No better than the champion. ": False}
    (promoted,) = (passed for verdict, passed in verdicts.items() if f"  verdict       {verdict}" in summary)
    assert {"predict", "approve"} & next_steps(summary).keys() == ({"predict", "approve"} if promoted else set())
    assert next_steps(summary)["compare"].endswith("2 3")
