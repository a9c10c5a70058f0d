"""The pages of the documentation, and the commands in their shell blocks."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md")))


def shell_lines(page: str, heading: str = "") -> list[str]:
    """Return the lines of the shell blocks between a heading and the next of its level, with continued lines joined."""
    text = (ROOT / page).read_text()
    if heading:
        level = heading.split(maxsplit=1)[0]
        text = re.split(rf"^{level} ", text.split(f"{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return "".join(blocks).replace("\\\n", "").splitlines()


def commands(page: str, heading: str = "", program: str = "") -> list[list[str]]:
    """Return the words of each command that contains `program`."""
    return [shlex.split(line, comments=True) for line in shell_lines(page, heading) if program in line]
