"""`python docs/generate.py`: renew the parts of the documentation that are made from the code.

These are the list of hyperparameters, the list of faults, and the troubleshooting list, whose examples are in
errors.yaml. A generated part stands between two comments, `generated: NAME` and `end`.
"""

import re
import textwrap
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

from aws.error_catalogue import diagnose_error, read_catalogue
from aws.errors import AwsError
from aws.training.outcome import job_outcome
from linear_learner.errors import LinearLearnerError
from linear_learner.hyperparameters import CONDITIONS_OF_USE, to_wire_text
from sandbox.faults import FAULT_KINDS
from tasks.parameters import RequestedHyperparameters

FOLDER = Path(__file__).parent
PAGES = {"hyperparameters": "hyperparameters.md", "faults": "sandbox.md", "errors": "operations.md"}
EXAMPLES: dict[str, list[dict[str, str]]] = yaml.safe_load((FOLDER / "errors.yaml").read_text())


def list_hyperparameters() -> str:
    """One item per hyperparameter, in the order of the class."""
    items = []
    for name, field in RequestedHyperparameters.model_fields.items():
        text = f"**`{name}`**: {field.description}"
        if name in CONDITIONS_OF_USE:
            condition, values = CONDITIONS_OF_USE[name]
            text += f" *Used with* `{condition}` {' or '.join(map(to_wire_text, values))}."
        items.append(_item(text))
    return "\n".join(items)


def list_faults() -> str:
    """One item per kind of fault: what it does, and the options of its command."""
    items = []
    for name, kind in FAULT_KINDS.items():
        options = ", ".join(f"`--{option.replace('_', '-')}`" for option in kind.defaults)
        items.append(_item(f"**`{name}`** ({options}): {kind.description}"))
    return "\n".join(items)


def list_errors() -> str:
    """One section per class of error: its examples, and the codes of AWS that mean the same."""
    sections = defaultdict[str, list[str]](list)
    for example in EXAMPLES["responses"]:
        diagnosis = diagnose_error(*split_response(example["message"]), 0, "CreateTrainingJob")
        sections[diagnosis.kind].append(_example(example, diagnosis.remedy))
    for example in EXAMPLES["failures"]:
        description: Any = {"TrainingJobStatus": "Failed", "FailureReason": example["message"]}
        sections["TrainingFailed"].append(_example(example, job_outcome(description).remedy))
    for example in EXAMPLES["own"]:
        sections[example["error"]].append(_example(example, example["remedy"]))
    codes = defaultdict[str, list[str]](list)
    for code, name in read_catalogue().by_code.items():
        codes[name].append(f"`{code}`")
    for name, listed in codes.items():
        diagnosis = read_catalogue().diagnoses[name]
        sections[diagnosis.kind].append(_item(f"Code {', '.join(listed)}. *Remedy*: {diagnosis.remedy}"))
    kinds = {kind.__name__: kind for kind in (*AwsError.__subclasses__(), *LinearLearnerError.__subclasses__())}
    return "\n\n".join(
        "\n".join([f"### {name}", "", *textwrap.wrap(str(kind.__doc__).split("\n\n")[0], 118), "", *sections[name]])
        for name, kind in kinds.items()
    )


def split_response(message: str) -> tuple[str, str]:
    """The code, empty where there is none, and the message of a response of AWS."""
    code, _, rest = message.partition(": ")
    known = code in read_catalogue().by_code or code.endswith("Exception")
    return (code, rest) if known else ("", message)


def _example(example: dict[str, str], remedy: str) -> str:
    cause = f" {example['cause']}" if "cause" in example else ""
    return _item(f"`{example['message']}`{cause} *Remedy*: {remedy}")


def _item(text: str) -> str:
    return textwrap.fill(
        text, 118, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def renew(page: str, name: str, content: str) -> str:
    """The text of a page with its generated part replaced."""
    part = rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)"
    return re.sub(part, lambda match: f"{match[1]}\n{content}\n\n{match[2]}", page, flags=re.DOTALL)


def render_pages() -> dict[Path, str]:
    """Every page that has a generated part, renewed."""
    parts = {"hyperparameters": list_hyperparameters(), "faults": list_faults(), "errors": list_errors()}
    pages = {FOLDER / page: name for name, page in PAGES.items()}
    return {path: renew(path.read_text(), name, parts[name]) for path, name in pages.items()}


if __name__ == "__main__":
    for path, text in render_pages().items():
        path.write_text(text)
