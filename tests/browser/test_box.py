"""A rep at work on one box, in Chromium: by keyboard, by mouse, with a teammate on the same box."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import filled
from tests.browser.conftest import Served
from tests.browser.filled import Filled
from tracker.db import Sessions

pytestmark = pytest.mark.browser


@dataclass(slots=True)
class Desk:
    """Alice's browser on a box, and what it complained about."""

    page: Page
    team: Filled
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str = "") -> Page:
        """Her page of the box, ready for keys."""
        self.page.goto(f"/b/{self.team.box}{path}")
        self.page.wait_for_load_state()
        return self.page


@pytest.fixture
def desk(chromium: Browser, served: Served, sessions: Sessions) -> Iterator[Desk]:
    """Alice, signed in, in a team that has been at work."""
    with sessions() as session:
        team = filled.fill(session)
    context = chromium.new_context(base_url=served.url, viewport={"width": 1400, "height": 900})
    context.set_default_timeout(15_000)
    filled.sign_in(context, served, team.alice)
    made = Desk(context.new_page(), team)
    made.page.on("console", lambda m: made.complaints.append(m.text) if m.type in ("error", "warning") else None)
    made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
    yield made
    context.close()


def test_a_note_a_task_a_call_and_a_move_by_keyboard_alone(desk: Desk) -> None:
    """Nothing is clicked."""
    page = desk.open()
    page.keyboard.press("n")
    expect(page.get_by_label("Write a note")).to_be_focused()
    page.keyboard.type("Ask @bo")
    teammates = page.get_by_role("listbox", name="Teammates")
    expect(teammates.get_by_role("option", name="Bob Baker")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    page.keyboard.type("about the price")
    expect(page.get_by_label("Write a note")).to_have_value("Ask @Bob Baker about the price")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".note-text", has_text="about the price").locator(".mention")).to_have_text("@Bob Baker")
    expect(page.get_by_label("Write a note")).to_have_value("")
    page.keyboard.press("Escape")
    page.locator("body").evaluate("document.activeElement.blur()")

    page.keyboard.press("t")
    page.keyboard.type("Send the contract")
    page.keyboard.press("Tab")
    page.keyboard.type("tomorrow")
    page.keyboard.press("Enter")
    task = page.locator(".task", has_text="Send the contract")
    expect(task.get_by_text("tomorrow")).to_be_visible()
    expect(page.get_by_label("New task")).to_have_value("")
    page.locator("body").evaluate("document.activeElement.blur()")
    task.locator("summary").focus()
    page.keyboard.press("x")
    expect(page.get_by_text("Done: Send the contract").first).to_be_visible()
    expect(page.locator(".task:not(.is-done)", has_text="Send the contract")).to_have_count(0)

    page.keyboard.press("c")
    expect(page.get_by_label("What was said")).to_be_focused()
    page.keyboard.type("They want two more")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".activity.is-call", has_text="They want two more")).to_be_visible()
    page.locator("body").evaluate("document.activeElement.blur()")

    before = page.locator(".stage-step.current").inner_text()
    page.keyboard.press(">")
    expect(page.locator(".stage-step.current")).not_to_have_text(before)
    expect(page.get_by_text(f"moved it from {before}").first).to_be_visible()
    page.keyboard.press("<")
    expect(page.locator(".stage-step.current")).to_have_text(before)
    assert desk.complaints == []


def test_what_the_box_says_is_changed_where_it_stands(desk: Desk) -> None:
    """Name, value, owner: left, and saved; a refusal stands beside its field with what was typed."""
    page = desk.open()
    name = page.get_by_label("Name of the box")
    name.fill("Acme: three cold rooms")
    name.press("Enter")
    expect(page.get_by_role("heading", name="Acme: three cold rooms")).to_be_attached()
    value = page.get_by_label("Value", exact=True)
    value.fill("a lot")
    value.press("Tab")
    expect(page.get_by_text("Expected an amount and a currency")).to_be_visible()
    expect(value).to_have_value("a lot")
    value.fill("13000 EUR")
    value.press("Tab")
    expect(page.get_by_text("set Value to €13,000")).to_be_visible()
    page.locator("#owner").select_option(label="Bob Baker")
    expect(page.get_by_text("gave it to Bob Baker")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Name of the box")).to_have_value("Acme: three cold rooms")
    expect(page.get_by_label("Value", exact=True)).to_have_value("13,000 EUR")
    assert [one for one in desk.complaints if "422" not in one] == []


def test_a_teammates_move_is_told_and_shown(desk: Desk) -> None:
    """The second to move it sees where it is now; then it can be moved from there."""
    page = desk.open()
    other = page.context.new_page()
    other.goto(page.url)
    other.get_by_role("button", name="Won", exact=True).click()
    expect(other.locator(".stage-step.current")).to_have_text("Won")
    page.evaluate("document.querySelector('#box-head').removeAttribute('data-live')")  # the news are slow today
    page.get_by_role("button", name="Lead", exact=True).click()
    expect(page.get_by_text("A teammate moved this box to Won meanwhile")).to_be_visible()
    expect(page.locator(".stage-step.current")).to_have_text("Won")
    page.get_by_role("button", name="Lead", exact=True).click()
    expect(page.locator(".stage-step.current")).to_have_text("Lead")
    assert [one for one in desk.complaints if "409" not in one] == []


def test_two_boxes_become_one_and_a_deleted_one_comes_back(desk: Desk) -> None:
    """Merged by name with a choice; deleted, and undone from the notice."""
    page = desk.open()
    page.get_by_label("More", exact=True).click()
    page.get_by_role("link", name="Merge with another box").click()
    page.get_by_label("Name of the other box").press_sequentially("kestr")
    page.get_by_role("link", name="Kestrel").click()
    page.get_by_role("row", name="Name").get_by_role("radio").nth(1).check()
    page.get_by_role("button", name="Merge for good").click()
    expect(page.get_by_label("Name of the box")).to_have_value("Kestrel")
    expect(page.get_by_text("merged Kestrel into it")).to_be_visible()
    page.goto(f"/b/{desk.team.other_box}")
    expect(page).to_have_url(f"/b/{desk.team.box}")

    page.get_by_label("More", exact=True).click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("Deleted Kestrel")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_label("Name of the box")).to_have_value("Kestrel")
    assert desk.complaints == []


def test_links_are_chosen_while_a_name_is_typed_and_mail_stays_unfolded(desk: Desk) -> None:
    """What somebody unfolded stays so when the timeline is shown again."""
    page = desk.open()
    mail = page.locator("article.message").first
    mail.locator("summary").first.click()
    unfolded = mail.locator("> details").evaluate("one => one.open")
    page.get_by_label("Link with another box").press_sequentially("deal 1")
    page.locator("#links-choices").get_by_role("button", name="Deal 1").click()
    expect(page.get_by_text("linked it with Deal 1")).to_be_visible()
    expect(page.locator("#box-links").get_by_role("link", name="Deal 1")).to_be_visible()
    assert mail.locator("> details").evaluate("one => one.open") == unfolded
    assert desk.complaints == []


@pytest.mark.parametrize("width", [360, 1400])
def test_the_page_is_never_wider_than_the_window(desk: Desk, width: int) -> None:
    """Narrow and wide, with its menus open."""
    desk.page.set_viewport_size({"width": width, "height": 800})
    for path in ("", "/files", f"/merge?other={desk.team.other_box}"):
        page = desk.open(path)
        page.evaluate("for (const one of document.querySelectorAll('main details')) one.open = true")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
