"""AWS's rules for tags, checked where a workspace's own tags are given, and the room for this project's tags."""

import unicodedata
from collections.abc import Iterable, Iterator

MAX_TAGS = 50
"""AWS's limit of tags per resource, see `count_tags`."""
PROJECT_TAGS = 4
"""Tags that this project puts on a job besides leases: its fingerprint, flow run, deployment and divergence."""
RESERVED_LEASES = 6
"""Leases that always have room on a job; more runs can follow a job of a workspace with fewer tags of its own."""
MAX_OWN_TAGS = MAX_TAGS - PROJECT_TAGS - RESERVED_LEASES
MAX_KEY_LENGTH, MAX_VALUE_LENGTH = 128, 256
RESERVED_PREFIXES = ("linear-learner:", "prefect:")
"""Prefixes of the keys of this project's tags."""
PUNCTUATION = "_.:/=+-@"


def count_tags(tags: Iterable[str]) -> int:
    """Return how many of a resource's tags, given by their keys, count: not those that AWS adds itself."""
    return sum(not key.startswith("aws:") for key in tags)


def check_tags(tags: dict[str, str]) -> dict[str, str]:
    """Return a workspace's own tags; raises ValueError with everything that is wrong with them."""
    problems = [problem for key, value in tags.items() for problem in _find_problems(key, value)]
    if len(tags) > MAX_OWN_TAGS:
        problems.append(
            f"there are {len(tags)} tags: give at most {MAX_OWN_TAGS}, because AWS allows {MAX_TAGS} on a training job "
            f"and this project adds up to {MAX_TAGS - MAX_OWN_TAGS}"
        )
    if problems:
        raise ValueError("; ".join(problems))
    return tags


def _find_problems(key: str, value: str) -> Iterator[str]:
    shown = repr(key if len(key) <= MAX_KEY_LENGTH else f"{key[:40]}…")
    if not 1 <= len(key) <= MAX_KEY_LENGTH:
        yield f"the key of tag {shown} has {len(key)} characters: AWS requires 1 to {MAX_KEY_LENGTH}"
    if len(value) > MAX_VALUE_LENGTH:
        yield f"the value of tag {shown} has {len(value)} characters: AWS allows {MAX_VALUE_LENGTH}"
    for name, text in (("key", key), ("value", value)):
        if wrong := "".join(dict.fromkeys(char for char in text if not _is_allowed(char))):
            allowed = f"letters, digits, spaces and {' '.join(PUNCTUATION)}"
            yield f"the {name} of tag {shown} contains {wrong!r}: AWS allows {allowed}"
    if key.lower().startswith("aws:"):
        yield f"the key of tag {shown} begins with aws:, which AWS reserves: choose another key"
    if key.startswith(RESERVED_PREFIXES):
        yield f"the key of tag {shown} begins with {key.partition(':')[0]}:, as tags of this project do: choose another"


def _is_allowed(char: str) -> bool:
    """Whether the character is a letter, separator, number or PUNCTUATION: the pattern of SageMaker's Tag."""
    return char in PUNCTUATION or unicodedata.category(char)[0] in "LZN"
