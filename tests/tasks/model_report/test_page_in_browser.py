"""The page of a report in chromium: nothing is clipped on a phone or on paper, and axe-core finds no serious fault."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright

from linear_learner.model import PredictorType
from tasks.model_report.document import render_page
from tests.deployments.browser import find_chromium
from tests.tasks.model_report.conftest import MakeCase

pytestmark = pytest.mark.e2e

KINDS: tuple[PredictorType, ...] = ("regressor", "binary_classifier", "multiclass_classifier")
NAMES = tuple(f"average_number_of_overtime_hours_per_quarter_in_department_{index}" for index in range(40))
A4 = {"width": 718, "height": 1047}
"""A sheet of A4 with margins of 1 cm, in CSS pixels."""
FIND_CLIPPED = """inside => {
  // The text of every cell, and every paragraph, title, plot and block of code, must be within its box.
  const clipped = [];
  for (const one of document.querySelectorAll('th, td, caption, p, li, h1, h2, img, pre')) {
    const range = document.createRange();
    range.selectNodeContents(one);
    const box = one.closest('.table');
    // A box that scrolls shows all of its cells; the others are visible between the edges of the page.
    const scrolls = inside && box && getComputedStyle(box).overflowX === 'auto';
    const right = scrolls ? box.getBoundingClientRect().left + box.scrollWidth : document.documentElement.clientWidth;
    for (const rect of [one.getBoundingClientRect(), ...range.getClientRects()]) {
      const own = one.getBoundingClientRect();
      if (rect.left < -0.5 || rect.right > right + 0.5 || rect.right > own.right + 1 || rect.bottom > own.bottom + 1)
        clipped.push(`${one.tagName}: ${(one.innerText || one.alt).slice(0, 60)}`);
    }
  }
  return [...new Set(clipped)];
}"""
NUMBERS_ON_TWO_LINES = """() => [...document.querySelectorAll('td[style*=right]')].filter(one => {
  const range = document.createRange();
  range.selectNodeContents(one);
  const lines = new Set([...range.getClientRects()].map(rect => Math.round(rect.top)));
  return /^[-\\d.,]+$/.test(one.innerText.trim()) && lines.size > 1;
}).map(one => one.innerText)"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    program = find_chromium()
    if not program:
        pytest.skip("there is no chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser.new_page()
        browser.close()


@pytest.fixture(params=KINDS)
def report(request: pytest.FixtureRequest, make_case: MakeCase, page: Page, tmp_path: Path) -> Page:
    """The page of a report with long names, many columns and, for a multiclass model, 12 classes."""
    case = make_case(request.param, classes=12, names=NAMES)
    path = tmp_path / "report.html"
    path.write_text(render_page(case.report(case.plots()), "Linear Learner predicts bonus"))
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(media="screen", color_scheme="light")
    page.goto(path.as_uri())
    return page


def test_the_page_is_readable_on_a_phone_on_paper_and_in_dark_colours(report: Page) -> None:
    for scheme in ("light", "dark"):
        report.emulate_media(color_scheme=scheme)  # type: ignore[arg-type] # it is one of the literals
        faults = [one for one in Axe().run(report).response["violations"] if one["impact"] in {"serious", "critical"}]
        assert faults == []
    report.set_viewport_size({"width": 400, "height": 800})
    assert report.evaluate("document.documentElement.scrollWidth") == 400
    next_step = report.get_by_text("Next:").bounding_box()
    assert next_step is not None
    assert next_step["y"] + next_step["height"] < 800  # on the first screen, below the verdict
    assert report.evaluate(FIND_CLIPPED, True) == []
    assert report.evaluate(NUMBERS_ON_TWO_LINES) == []
    report.set_viewport_size(A4)  # type: ignore[arg-type] # a dictionary of both
    report.emulate_media(media="print")
    assert report.evaluate(FIND_CLIPPED, False) == []
    assert report.evaluate(NUMBERS_ON_TWO_LINES) == []
