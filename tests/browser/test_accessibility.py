"""Every page in light, in dark and narrow: nothing for axe-core to say, nothing on the console, nothing refused by
the policy, nothing wider than the window.

A new page: its address goes into PAGES. `{…}` are the keys of `tests.browser.filled.Filled`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import filled
from tests.browser.conftest import Served
from tests.browser.filled import Filled
from tracker.db import Sessions

pytestmark = pytest.mark.browser

NOWHERE = "/nothing-here"
PAGES = {
    "the day": [
        "/followups",
        "/followups?who=all",
        "/inbox",
        "/inbox?show=all",
        "/inbox?show=answer",
        "/c/{conversation}",
        "/c/{unfiled}",
    ],
    "pipelines": [
        "/p/{pipeline}",
        "/p/{pipeline}?owner=nobody&text=deal",
        "/p/{pipeline}/stages/{stage}",
        "/p/{pipeline}/table",
        "/p/{pipeline}/table?group=stage",
        "/p/{pipeline}/import",
        "/p/{pipeline}/deleted",
    ],
    "set-up": [
        "/p/{pipeline}/settings/stages",
        "/p/{pipeline}/settings/fields",
        "/p/{pipeline}/settings/rules",
        "/p/{pipeline}/settings/pipeline",
        "/pipelines/new",
        "/mailboxes",
        "/components",
        NOWHERE,
    ],
    "boxes and search": [
        "/b/{box}",
        "/b/{other_box}",
        "/b/{box}/files",
        "/b/{box}/merge",
        "/search",
        "/search?q=acme",
        "/search?q=nothing+is+called+so",
    ],
    "people": [
        "/contacts",
        "/contacts/places",
        "/contacts/duplicates",
        "/contacts/{contact}",
        "/contacts/{contact}/merge",
        "/organizations",
        "/organizations/{organization}",
    ],
    "mail to go": [
        "/compose?box={box}",
        "/outbox",
        "/outbox/drafts",
        "/templates",
    ],
}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1400, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1400, "height": 900}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 360, "height": 780}},
}
#: All of axe's rules but the experimental ones. The frame of a mail is another document, with nothing of ours.
RUN = """(sizes) => axe.run({exclude: ['.mail-frame']}, {
  resultTypes: ['violations'], iframes: false,
  runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
  rules: {'target-size': {enabled: sizes}},
})"""
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


@pytest.fixture
def team(served: Served, sessions: Sessions) -> Filled:
    """A team that has been at work."""
    with sessions() as session:
        return filled.fill(session)


@pytest.fixture
def look(chromium: Browser, served: Served, team: Filled) -> Iterator[Callable[[str], tuple[Page, list[str]]]]:
    """A page of Alice's in one of the looks, and what is complained about on it."""
    contexts = []

    def open_page(name: str) -> tuple[Page, list[str]]:
        context = chromium.new_context(base_url=served.url, reduced_motion="reduce", **LOOKS[name])
        contexts.append(context)
        filled.sign_in(context, served, team.alice)
        page, complaints = context.new_page(), []
        page.set_default_timeout(15_000)
        page.on("console", lambda one: complaints.append(one.text) if one.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page, complaints

    yield open_page
    for context in contexts:
        context.close()


def told(page: Page, *, covered: bool = False) -> list[str]:
    """What axe-core has against the page. What lies under a menu is too small to be hit, as it should be."""
    page.evaluate(AXE)  # by the browser's debugger: the policy would refuse it as a script
    found = page.evaluate(RUN, not covered)["violations"]
    nodes = [(one["id"], node) for one in found for node in one["nodes"]]
    return [f"{rule}: {node['html'][:160]} {node['failureSummary']}" for rule, node in nodes]


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize("room", PAGES)
def test_every_page(look: Callable[[str], tuple[Page, list[str]]], team: Filled, room: str, name: str) -> None:
    """One after the other; all that is wrong with any of them is told."""
    page, complaints = look(name)
    wrong: dict[str, list[str]] = {}
    for address in PAGES[room]:
        answer = page.goto(address.format(**team.keys()))
        page.wait_for_function(
            "!document.querySelector('.htmx-request')"
        )  # not until the network rests: the stream
        assert answer is not None
        tall = {
            **LOOKS[name]["viewport"],
            "height": min(8000, page.evaluate("document.documentElement.scrollHeight")),
        }
        page.set_viewport_size(tall)  # nothing lies under the bar at its foot
        found = told(page) if name != "narrow" else []  # the colours and words are those of light
        if answer.status != (404 if address == NOWHERE else 200):
            found.append(f"answered {answer.status}")
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append("wider than the window")
        found += [one for one in complaints if "404 (NOT FOUND)" not in one or address != NOWHERE]
        complaints.clear()
        page.set_viewport_size(LOOKS[name]["viewport"])
        if found:
            wrong[address] = found
    assert not wrong, "\n".join(f"{address}:\n  " + "\n  ".join(found) for address, found in wrong.items())


@pytest.mark.parametrize("name", LOOKS)
def test_what_opens(look: Callable[[str], tuple[Page, list[str]]], name: str) -> None:
    """Menus, dialogs, inputs in place and notices, which no address shows."""
    page, complaints = look(name)
    page.goto("/components")
    page.get_by_role("button", name="Undo, please").click()
    page.get_by_role("button", name="Say it went wrong").click()
    page.locator("summary[aria-label='Name: Acme deal. Change']").click()
    page.locator("summary", has_text="Actions").click()
    assert told(page, covered=True) == []
    page.keyboard.press("Escape")
    page.locator("body").press("n")
    page.get_by_role("dialog", name="New box").wait_for()
    assert told(page) == []
    page.keyboard.press("Escape")
    page.locator("main").press("?")
    page.get_by_role("dialog", name="Keyboard shortcuts").wait_for()
    assert told(page) == []
    if name == "narrow":
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Menu").click()
        page.get_by_role("navigation", name="Main").wait_for()
        assert told(page, covered=True) == []
    assert complaints == []
