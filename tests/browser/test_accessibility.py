"""Every page in light, in dark and narrow: nothing for axe-core to say, nothing on the console, nothing refused by
the policy, nothing wider than the window.

A new page: its address goes into PAGES. `{…}` are the keys of `tests.browser.filled.Filled`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from gmail_sync.sandbox import Sandbox
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
    "sharing": [
        "/sharing",
        "/sharing/requests",
        "/sharing/opened",
        "/m/{message}/who",
        "/team",
        "/team/{bob}/remove",
        "/me/sessions",
        "/me/keys",
        "/pipelines/closed",
    ],
    "mail to go": [
        "/compose?box={box}",
        "/outbox",
        "/outbox/drafts",
        "/outbox/drafts/{mailbox}/{draft}",
        "/templates",
        "/calendar",
    ],
}
WIDE: ViewportSize = {"width": 1400, "height": 900}
NARROW: ViewportSize = {"width": 360, "height": 780}
#: All of axe's rules but the experimental ones. The frame of a mail is another document, with nothing of ours.
RUN = """([inside, sizes]) => axe.run({include: [inside], exclude: ['.mail-frame']}, {
  resultTypes: ['violations'], iframes: false,
  runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
  rules: {'target-size': {enabled: sizes}},
})"""
#: What another set of colours can change.
COLOURS = """(inside) => axe.run({include: [inside], exclude: ['.mail-frame']}, {
  resultTypes: ['violations'], iframes: false,
  runOnly: {type: 'rule', values: ['color-contrast', 'link-in-text-block']},
})"""
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


@pytest.fixture
def team(served: Served, sessions: Sessions, sandbox: Sandbox) -> Filled:
    """A team that has been at work."""
    with sessions() as session:
        team = filled.fill(session)
        filled.begin_a_draft(session, served, sandbox, team)
        return team


@dataclass(slots=True)
class Looked:
    """A page of Alice's, and what is complained about on it."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def told(self, inside: str = "html", *, covered: bool = False) -> list[str]:
        """What axe-core has against a part of it, in light and in dark.

        covered: something lies under a menu, and is too small to be hit, as it should be.
        """
        self.page.emulate_media(color_scheme="light")
        self.page.evaluate(AXE)  # by the browser's debugger: the policy would refuse it as a script
        found = self.page.evaluate(RUN, [inside, not covered])["violations"]
        self.page.emulate_media(color_scheme="dark")
        found += self.page.evaluate(COLOURS, inside)["violations"]
        nodes = [(one["id"], node) for one in found for node in one["nodes"]]
        return [f"{rule}: {node['html'][:160]} {node['failureSummary']}" for rule, node in nodes]

    def too_wide(self, window: ViewportSize) -> list[str]:
        """Whether it has to be scrolled sideways in a window; the page is left in it."""
        self.page.set_viewport_size(window)
        wide = self.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        return [f"wider than a window of {window['width']} pixels"] if wide else []


@pytest.fixture
def looked(chromium: Browser, served: Served, team: Filled) -> Iterator[Looked]:
    """Alice's browser."""
    context = chromium.new_context(base_url=served.url, reduced_motion="reduce", viewport=WIDE)
    filled.sign_in(context, served, team.alice)
    made = Looked(context.new_page())
    made.page.set_default_timeout(15_000)
    made.page.on(
        "console",
        lambda one: made.complaints.append(one.text) if one.type in ("error", "warning") else None,
    )
    made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
    yield made
    context.close()


@pytest.mark.parametrize("room", PAGES)
def test_every_page(looked: Looked, team: Filled, room: str) -> None:
    """One after the other; all that is wrong with any of them is told."""
    page, wrong = looked.page, {}
    for address in PAGES[room]:
        page.set_viewport_size(WIDE)
        answer = page.goto(address.format(**team.keys()))
        # Not until the network rests: the stream never does.
        expect(page.locator(".htmx-request")).to_have_count(0)
        assert answer is not None
        found = looked.too_wide(WIDE)
        tall = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({**WIDE, "height": min(8000, tall)})  # nothing lies under the bar at its foot
        found += looked.told() + looked.too_wide(NARROW)
        if answer.status != (404 if address == NOWHERE else 200):
            found.append(f"answered {answer.status}")
        found += [one for one in looked.complaints if "404 (NOT FOUND)" not in one or address != NOWHERE]
        looked.complaints.clear()
        if found:
            wrong[address] = found
    assert not wrong, "\n".join(f"{address}:\n  " + "\n  ".join(found) for address, found in wrong.items())


@pytest.mark.parametrize("window", [WIDE, NARROW], ids=["wide", "narrow"])
def test_what_opens(looked: Looked, window: ViewportSize) -> None:
    """Menus, dialogs, inputs in place and notices, which no address shows."""
    page = looked.page
    page.set_viewport_size(window)
    page.goto("/components")
    page.get_by_role("button", name="Undo, please").click()
    page.get_by_role("button", name="Say it went wrong").click()
    page.locator("summary[aria-label='Name: Acme deal. Change']").click()
    page.locator("summary", has_text="Actions").click()
    assert looked.told(covered=True) == []
    page.keyboard.press("Escape")
    page.locator("body").press("n")
    page.get_by_role("dialog", name="New box").wait_for()
    assert looked.told("dialog[open]") == []
    page.keyboard.press("Escape")
    page.locator("main").press("?")
    page.get_by_role("dialog", name="Keyboard shortcuts").wait_for()
    assert looked.told("dialog[open]") == []
    if window == NARROW:
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Menu").click()
        page.get_by_role("navigation", name="Main").wait_for()
        assert looked.told("nav", covered=True) == []
    assert looked.complaints == []
