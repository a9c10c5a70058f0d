"""Links of the pages are valid, generated parts are up to date, and tests run all commands."""

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from aws.error_catalogue import read_catalogue
from aws.errors import AwsError
from linear_learner.errors import LinearLearnerError
from tests.docs.pages import PAGES, ROOT, commands, shell_lines

GENERATE = runpy.run_path(str(ROOT / "docs" / "generate.py"))
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
MAX_LINE_LENGTH = 120

TESTED_COMMANDS = {
    ("README.md", "## Two commands"): "test_end_to_end.py and .ci/run",
    ("README.md", "## Your own table"): "test_commands.py",
    ("README.md", "## Predict and serve"): "test_commands.py",
    ("README.md", "## On a schedule and from Prefect's UI"): "test_end_to_end.py",
    ("README.md", "## On AWS"): "test_deployment_page.py",
    ("CONTRIBUTING.md", "## Set up"): ".ci/run",
    ("docs/algorithm.md", "## Check it yourself"): "test_compare.py and test_comparison.py",
    ("docs/data.md", "## The split"): "test_commands.py",
    ("docs/endpoints.md", "# Endpoints"): "test_commands.py",
    ("docs/endpoints.md", "## Rehearse failures"): "test_commands.py",
    ("docs/evaluation.md", "## Registered models"): "test_commands.py",
    ("docs/evaluation.md", "## Repeat a run"): "test_commands.py",
    ("docs/hyperparameters.md", "# Hyperparameters"): "test_commands.py",
    ("docs/predictions.md", "# Predictions"): "test_commands.py",
    ("docs/sandbox.md", "# Sandbox"): "test_end_to_end.py",
    ("docs/sandbox.md", "## Rehearse failures"): "test_faults.py",
    ("docs/deployment.md", "## 1. Names"): "test_names_to_replace_are_in_the_files",
    ("docs/deployment.md", "## 2. Bucket and roles"): "test_deployment_page.py",
    ("docs/deployment.md", "## 3. The workspace"): "test_deployment_page.py",
    ("docs/deployment.md", "## 4. Deployments"): "test_end_to_end.py",
    ("docs/deployment.md", "## 5. The first run"): "test_deployment_page.py",
    ("docs/deployment.md", "## The image"): "test_container.py reads the Dockerfile; there is no Docker engine here",
    ("docs/deployment.md", "## ECS"): "test_container.py reads the work pool; there is no cluster here",
    ("docs/deployment.md", "## Kubernetes"): "test_container.py reads the work pool; there is no cluster here",
    ("docs/serving-container.md", "## Run it here"): "test_serving_page.py",
    ("docs/serving-container.md", "## In a container"): "test_container.py reads the Dockerfile; no Docker engine here",
}
"""Every section with a shell block, and the test that runs its commands."""


def links(page: Path) -> Iterator[str]:
    """Yield the targets of all links of a page."""
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text()):
        for child in token.children or ():
            if child.type == "link_open":
                yield str(child.attrs["href"])


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes for the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_between_pages_have_an_existing_file_and_heading(page: Path) -> None:
    for link in links(page):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_at_most_two_links_from_the_readme() -> None:
    reached = {ROOT / "README.md"}
    for _ in range(2):
        for page in [page for page in reached if page.suffix == ".md"]:
            reached |= {(page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link}
    assert set(PAGES) <= reached


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_lines_have_at_most_120_characters(page: Path) -> None:
    assert [line for line in page.read_text().splitlines() if len(line) > MAX_LINE_LENGTH] == []


def test_the_readme_has_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize(("page", "text"), GENERATE["render_pages"]().items(), ids=lambda value: Path(value).name[:30])
def test_generated_parts_are_up_to_date(page: Path, text: str) -> None:
    assert page.read_text() == text, "run `python docs/generate.py`"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_section_with_commands_has_a_test(page: Path) -> None:
    name, section, fence = str(page.relative_to(ROOT)), "", False
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            fence = not fence
            assert line != "```sh" or (name, section) in TESTED_COMMANDS
        elif line.startswith(("# ", "## ")) and not fence:
            section = line


@pytest.mark.parametrize(("page", "section"), TESTED_COMMANDS, ids=lambda value: value)
def test_sections_with_tested_commands_exist(page: str, section: str) -> None:
    assert shell_lines(page, section), "remove it from TESTED_COMMANDS"


def test_names_to_replace_are_in_the_files() -> None:
    words = commands("docs/deployment.md", "## 1. Names", "sed")[0]
    old = re.findall(r"s/([\w-]+)/", words[2])
    text = "".join(path.read_text() for pattern in words[3:] for path in sorted(ROOT.glob(pattern)))
    assert old == ["my-bucket", "eu-west-1", "123456789012"]
    assert all(name in text for name in old)


def product_texts() -> str:
    """Return all string constants of the product's code, one per line."""
    found = []
    for package in ("aws", "flows", "linear_learner", "tasks"):
        for module in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(module.read_text())):
                if isinstance(node, ast.JoinedStr):
                    found.append("".join(v.value if isinstance(v, ast.Constant) else "…" for v in node.values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)


def test_the_troubleshooting_list_has_every_error_class() -> None:
    text = GENERATE["list_errors"]()
    for kind in (*AwsError.__subclasses__(), *LinearLearnerError.__subclasses__()):
        section = re.search(rf"### {kind.__name__}\n.*?(?=\n### |\Z)", text, re.DOTALL)
        assert section, kind
        assert "*Remedy*" in section[0], kind


@pytest.mark.parametrize(
    ("patterns", "examples"),
    [
        (read_catalogue().by_wording, "responses"),
        (read_catalogue().failures, "failures"),
    ],
)
def test_every_pattern_of_aws_messages_has_an_example(patterns: dict[str, object], examples: str) -> None:
    first_matches = set()
    for example in GENERATE["EXAMPLES"][examples]:
        _, message = GENERATE["split_response"](example["message"]) if examples == "responses" else ("", "")
        text = message or example["message"].rstrip(".")
        flags = 0 if examples == "responses" else re.DOTALL | re.IGNORECASE
        first_matches.add(next((pattern for pattern in patterns if re.search(pattern, text, flags)), None))
    assert first_matches - {None} == set(patterns)


def test_quoted_messages_of_this_project_are_in_the_code() -> None:
    texts = product_texts()
    for example in GENERATE["EXAMPLES"]["own"]:
        for part in example["message"].split("…"):
            assert part.strip(" .") in texts, example["message"]
