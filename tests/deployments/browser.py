"""Prefect's UI as people use it, in the machine's own chromium, which reaches nothing but this machine."""

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
SHOWN = """() => {
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


def chromium() -> str | None:
    """Where this machine has a chromium, if it has one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@dataclass(frozen=True)
class Browser:
    """One page of Prefect's UI; `refused` are the addresses elsewhere that it wanted, `folder` is for pictures."""

    url: str
    page: Page
    refused: list[str]
    folder: Path

    def form(self, deployment: str) -> None:
        """Opens the form of a deployment's custom run, by the deployment's id."""
        self.page.goto(f"{self.url}/deployments/deployment/{deployment}/run")
        self.page.locator(PROPERTY).first.wait_for()

    def shown(self) -> list[dict[str, Any]]:
        """The form's fields as they are shown, groups with theirs."""
        fields: list[dict[str, Any]] = self.page.evaluate(SHOWN)
        return said(fields)

    def field(self, titles: Sequence[str]) -> Locator:
        """The input of a field, by the titles of its groups and its own."""
        found = self.page.locator("body")
        for title in titles:
            named = re.compile(rf"^{re.escape(title)}( \(Optional\))?$")
            label = self.page.locator(f":scope > .p-label__header {LABEL}", has_text=named)
            found = found.locator(PROPERTY, has=label)
        return found.locator("fieldset").first

    def choose(self, titles: Sequence[str], option: str) -> None:
        """Takes an option of a drop-down, by the keyboard: Prefect 3.8's close at once when clicked in their text."""
        self.field(titles).get_by_role("button").press("Space")
        self.page.get_by_role("option", name=option, exact=True).click()

    def submit(self) -> str:
        """Submits the form; the id of the run that this makes."""
        # The notice that links to the run is gone in seconds, and with it the way to learn which one it is.
        for _ in range(10):
            with self.page.expect_response("**/create_flow_run") as answer:
                self.page.get_by_role("button", name="Submit", exact=True).click()
            if answer.value.status != 503:
                break
            self.page.wait_for_timeout(2000)  # its database is locked for a moment: a person tries again
        assert answer.value.ok, answer.value.text()
        return str(answer.value.json()["id"])

    def cancel(self, run: str) -> None:
        """Cancels a run on its page."""
        self.run_page(run)
        self.page.get_by_role("button", name="Cancel", exact=True).click()
        self.page.get_by_role("dialog").get_by_role("button", name="Confirm").click()

    def run_page(self, run: str) -> None:
        self.page.goto(f"{self.url}/runs/flow-run/{run}")
        self.page.locator("canvas").first.wait_for()
        self.page.get_by_text("Beginning flow run").first.wait_for()

    def picture(self, name: str, high: bool = False) -> None:
        """Keeps the page as an image; `high` shows all that one would scroll to."""
        size = self.page.viewport_size
        assert size
        if high:
            tall = self.page.evaluate("Math.max(...[...document.querySelectorAll('*')].map(one => one.scrollHeight))")
            self.page.set_viewport_size({"width": size["width"], "height": min(tall + 200, 16_000)})
        self.page.wait_for_timeout(500)  # fades and the graph's canvas say nowhere that they are done
        self.page.screenshot(path=self.folder / f"{name}.png")
        self.page.set_viewport_size(size)


@contextmanager
def browsing(url: str, folder: Path) -> Iterator[Browser]:
    """Chromium on Prefect's UI at this URL, with pictures in a folder; skips where there is no chromium."""
    program = chromium()
    if not program:
        pytest.skip("there is no chromium on this machine")
    refused: list[str] = []

    def only_here(route: Route) -> None:
        if urlsplit(route.request.url).hostname == "127.0.0.1":
            route.continue_()
        else:
            refused.append(route.request.url)
            route.abort()

    alone = [
        "--no-sandbox",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]
    home: dict[str, str | float | bool] = {**os.environ, "HOME": str(folder)}
    with sync_playwright() as playwright:
        program_run = playwright.chromium.launch(executable_path=program, args=alone, env=home)
        page = program_run.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(BUSY_SECONDS * 1000)
        page.route("**/*", only_here)
        yield Browser(url, page, refused, folder)
        program_run.close()


def said(fields: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The fields, with their descriptions as plain words in one line."""

    def plain(description: str) -> str:
        return " ".join(re.sub(r"[`*]", "", description).split())

    return [one | {"description": plain(one["description"]), "fields": said(one["fields"])} for one in fields]


def fields_of(schema: Mapping[str, Any], definitions: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """What a form must show for the parameters of this schema: titles, descriptions, controls, in their order."""
    named = definitions or schema.get("definitions") or {}
    fields = []
    for name, one in sorted(schema["properties"].items(), key=lambda item: item[1].get("position", 0)):
        field = resolved(one, named)
        title = field.get("title", name)
        inner = fields_of(field, named) if "properties" in field else []
        fields.append(
            {
                "title": title if name in schema.get("required", ()) else f"{title} (Optional)",
                "description": field.get("description", ""),
                "control": _control(field),
                "fields": inner,
            }
        )
    return said(fields)


def resolved(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A schema's property together with the definition that it refers to."""
    wanted = [field.get("$ref"), *(one.get("$ref") for one in field.get("allOf", ()))]
    found = [definitions[reference.rsplit("/", 1)[1]] for reference in wanted if reference]
    return {**(found[0] if found else {}), **field}


def path_to(name: str, schema: Mapping[str, Any], definitions: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Where the form has a parameter of this name: its groups and itself, each with its title."""
    named = definitions or schema.get("definitions") or {}
    for key, one in schema["properties"].items():
        field = resolved(one, named)
        here = {key: str(field.get("title", key))}
        if key == name:
            return here
        if "properties" in field and (below := path_to(name, field, named)):
            return here | below
    return {}


def _control(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return "drop-down"
    if "anyOf" in field:
        return "choice"
    return "group" if "properties" in field else CONTROLS.get(str(field.get("type")), "JSON")
