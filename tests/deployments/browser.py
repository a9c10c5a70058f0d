"""Prefect's UI in the machine's chromium, without access to other hosts."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, Route, sync_playwright

PROPERTY, LABEL = ".schema-form-property", ".schema-form-property__label"
READ_FIELDS = """() => {
  const inputs = {'p-select': 'drop-down', 'schema-form-property-object': 'group', 'p-toggle': 'switch',
    'p-number-input': 'number', 'p-textarea': 'text', 'schema-form-property-array-list': 'list'};
  const control = one => {
    if (one.classList.contains('schema-form-property-any-of-input')) return 'choice';
    const input = one.querySelector(':scope > .p-label__body .schema-form-property-input');
    return Object.keys(inputs).filter(name => input?.classList.contains(name)).map(name => inputs[name])[0] ?? 'JSON';
  };
  const within = scope => [...document.querySelectorAll('.schema-form-property')]
    .filter(one => one.parentElement.closest('.schema-form-property') === scope)
    .map(one => ({
      title: one.querySelector('.schema-form-property__label').innerText,
      description: one.querySelector(':scope > .p-label__header .schema-form-property__description')?.innerText ?? '',
      control: control(one),
      fields: control(one) === 'group' ? within(one) : [],
    }));
  return within(null);
}"""
CONTROLS = {"boolean": "switch", "integer": "number", "number": "number", "string": "text", "array": "list"}
BUSY_SECONDS = 60


def find_chromium() -> str | None:
    """The path of chromium on this machine, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@dataclass(frozen=True)
class Browser:
    """A page of Prefect's UI; `blocked` are the requested URLs of other hosts.

    Screenshots are saved in `folder`; without one they are omitted.
    """

    url: str
    page: Page
    blocked: list[str]
    folder: Path | None

    def open_run_form(self, deployment: str) -> None:
        """Open the custom-run form of a deployment, by its id."""
        self.page.goto(f"{self.url}/deployments/deployment/{deployment}/run")
        self.page.locator(PROPERTY).first.wait_for()

    def form_fields(self) -> list[dict[str, Any]]:
        """The fields of the form as displayed, including those of groups."""
        fields: list[dict[str, Any]] = self.page.evaluate(READ_FIELDS)
        return without_markup(fields)

    def field(self, titles: Sequence[str]) -> Locator:
        """The input of a field, by the titles of its groups and its own title."""
        return self._property(titles).locator("fieldset").first

    def _property(self, titles: Sequence[str]) -> Locator:
        location = self.page.locator("body")
        for title in titles:
            pattern = re.compile(rf"^{re.escape(title)}( \(Optional\))?$")
            label = self.page.locator(f":scope > .p-label__header {LABEL}", has_text=pattern)
            location = location.locator(PROPERTY, has=label)
        return location

    def enter_number(self, titles: Sequence[str], value: str) -> None:
        """Enter a whole number in a field that is None otherwise."""
        self._property(titles).get_by_text("int", exact=True).click()
        self._property(titles).get_by_role("spinbutton").fill(value)

    def select(self, titles: Sequence[str], option: str) -> None:
        """Select an option of a drop-down with the keyboard: in Prefect 3.8 a click on its text closes it at once."""
        self.field(titles).get_by_role("button").press("Space")
        self.page.get_by_role("option", name=option, exact=True).click()

    def enter_run_name(self, name: str) -> None:
        """Replace the name that the form has generated."""
        self.page.locator(".flow-run-name-input input").fill(name)

    def switch_on(self, titles: Sequence[str]) -> None:
        """Switch on a toggle."""
        self.field(titles).get_by_role("switch").click()

    def submit(self) -> str:
        """Submit the form; returns the id of the new run."""
        # The id is read from the response: the notice with a link to the run disappears within seconds.
        for _ in range(10):
            with self.page.expect_response("**/create_flow_run") as response:
                self.page.get_by_role("button", name="Submit", exact=True).click()
            if response.value.status != 503:
                break
            self.page.wait_for_timeout(2000)  # the database is temporarily locked: submit again
        assert response.value.ok, response.value.text()
        run = str(response.value.json()["id"])
        self.close_page()
        return run

    def cancel(self, run: str) -> None:
        """Cancel a run on its page."""
        self.open_run_page(run)
        self.page.get_by_role("button", name="Cancel", exact=True).click()
        with self.page.expect_response("**/set_state"):
            self.page.get_by_role("dialog").get_by_role("button", name="Confirm").click()
        self.close_page()

    def open_run_page(self, run: str) -> None:
        self.page.goto(f"{self.url}/runs/flow-run/{run}")
        self.page.locator("canvas").first.wait_for()
        self.page.get_by_text("Beginning flow run").first.wait_for()

    def close_page(self) -> None:
        """Leave the page. The graph of a run is drawn again and again, which occupies a processor without a GPU."""
        self.page.goto("about:blank")

    def save_screenshot(self, name: str, full_height: bool = False) -> None:
        """Save a screenshot of the page; `full_height` includes content that needs scrolling."""
        if not self.folder:
            return
        size = self.page.viewport_size
        assert size
        if full_height:
            height = self.page.evaluate("Math.max(...[...document.querySelectorAll('*')].map(one => one.scrollHeight))")
            self.page.set_viewport_size({"width": size["width"], "height": min(height + 200, 16_000)})
        self.page.wait_for_timeout(500)  # there is no event for the end of animations
        self.page.screenshot(path=self.folder / f"{name}.png")
        self.page.set_viewport_size(size)


@contextmanager
def open_browser(url: str, home: Path, folder: Path | None) -> Iterator[Browser]:
    """Open Prefect's UI at this URL in chromium; skips the test if there is no chromium."""
    program = find_chromium()
    if not program:
        pytest.skip("there is no chromium on this machine")
    blocked: list[str] = []

    def block_other_hosts(route: Route) -> None:
        if urlsplit(route.request.url).hostname == "127.0.0.1":
            route.continue_()
        else:
            blocked.append(route.request.url)
            route.abort()

    arguments = [
        "--no-sandbox",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]
    environment: dict[str, str | float | bool] = {**os.environ, "HOME": str(home)}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments, env=environment)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(BUSY_SECONDS * 1000)
        page.route("**/*", block_other_hosts)
        yield Browser(url, page, blocked, folder)
        browser.close()


def without_markup(fields: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The fields with descriptions in one line without Markdown."""

    def plain(description: str) -> str:
        return " ".join(re.sub(r"[`*]", "", description).split())

    return [one | {"description": plain(one["description"]), "fields": without_markup(one["fields"])} for one in fields]


def expected_fields(schema: Mapping[str, Any], definitions: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The expected fields of the form for a parameter schema, in order: titles, descriptions, controls."""
    all_definitions = definitions or schema.get("definitions") or {}
    fields = []
    for name, one in sorted(schema["properties"].items(), key=lambda item: item[1].get("position", 0)):
        field = resolve(one, all_definitions)
        title = field.get("title", name)
        inner = expected_fields(field, all_definitions) if "properties" in field else []
        fields.append(
            {
                "title": title if name in schema.get("required", ()) else f"{title} (Optional)",
                "description": field.get("description", ""),
                "control": _control(field),
                "fields": inner,
            }
        )
    return without_markup(fields)


def resolve(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A property of a schema, merged with the definition that it refers to."""
    references = [field.get("$ref"), *(one.get("$ref") for one in field.get("allOf", ()))]
    found = [definitions[reference.rsplit("/", 1)[1]] for reference in references if reference]
    return {**(found[0] if found else {}), **field}


def path_to(name: str, schema: Mapping[str, Any], definitions: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The titles of the groups of a parameter and of the parameter, by name, from the outside in."""
    all_definitions = definitions or schema.get("definitions") or {}
    for key, one in schema["properties"].items():
        field = resolve(one, all_definitions)
        own_title = {key: str(field.get("title", key))}
        if key == name:
            return own_title
        if "properties" in field and (below := path_to(name, field, all_definitions)):
            return own_title | below
    return {}


def _control(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return "drop-down"
    if "anyOf" in field:
        return "choice"
    return "group" if "properties" in field else CONTROLS.get(str(field.get("type")), "JSON")
