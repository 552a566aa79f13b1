"""The keyboard: what static/keys.js makes of the keys that the pages declare, and the shell in a narrow window."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import filled
from tests.browser.conftest import Served
from tests.browser.filled import Filled
from tracker.db import Sessions

pytestmark = pytest.mark.browser


@pytest.fixture
def team(served: Served, sessions: Sessions) -> Filled:
    """A team that has been at work."""
    with sessions() as session:
        return filled.fill(session)


@pytest.fixture
def page(chromium: Browser, served: Served, team: Filled) -> Iterator[Page]:
    """Alice's browser."""
    context = chromium.new_context(base_url=served.url, viewport={"width": 1400, "height": 900})
    context.set_default_timeout(15_000)
    filled.sign_in(context, served, team.alice)
    yield context.new_page()
    context.close()


def press(page: Page, *keys: str) -> None:
    """One key after the other, wherever the focus is."""
    for key in keys:
        page.keyboard.press(key)


def test_two_keys_lead_from_every_page_to_the_others(page: Page, team: Filled) -> None:
    """`g` and a letter; the second one means nothing by itself, nor does it after a while."""
    page.goto("/components")
    press(page, "g", "i")
    expect(page).to_have_url("/inbox")
    page.goto(f"/p/{team.pipeline}")
    for keys, address in (
        ("gs", re.compile(f"/p/{team.pipeline}/settings")),
        ("gb", f"/p/{team.pipeline}"),
        ("gt", re.compile(f"/p/{team.pipeline}/table")),
        ("gf", "/followups"),
        ("gc", "/contacts"),
    ):
        press(page, *keys)
        expect(page).to_have_url(address)
        page.wait_for_load_state()  # until then nobody listens to keys
    page.goto("/components")
    press(page, "g")
    expect(page.locator(".pending")).to_be_visible()
    expect(page.locator(".pending")).to_have_count(0)
    press(page, "i")
    page.wait_for_timeout(200)
    expect(page).to_have_url("/components")


def test_rows_are_walked_ticked_and_acted_on(page: Page) -> None:
    """`j` and `k` move the focus and stop at the list's ends; `x` ticks; a row's own key acts on it alone."""
    page.goto("/components")
    line = page.locator("#list [data-row-main]")
    press(page, "k", "k")
    expect(line.nth(0)).to_be_focused()
    press(page, "j", "j")
    expect(line.nth(2)).to_be_focused()
    press(page, "x")
    expect(page.get_by_label("Tick: Line 3")).to_be_checked()
    expect(page.locator("#list input:checked")).to_have_count(1)
    press(page, "e")
    expect(page.get_by_role("status")).to_contain_text("Archived line 3")
    press(page, "o")
    expect(page).to_have_url("/components#line-3")


def test_the_walk_goes_on_where_a_row_was_taken_away(page: Page) -> None:
    """What a list loses under one's hands does not throw one back to its beginning."""
    page.goto("/components")
    line = page.locator("#list [data-row-main]")
    press(page, "j", "j", "j")
    expect(line.nth(2)).to_be_focused()
    page.evaluate("document.activeElement.closest('[data-row]').remove()")
    press(page, "j")
    expect(line.nth(2)).to_be_focused()
    expect(line.nth(2)).to_have_text("Line 4")


def test_keys_are_letters_where_somebody_types(page: Page) -> None:
    """And belong to the browser with Ctrl; Escape leaves the field."""
    page.goto("/components")
    field = page.locator("#form-name")
    field.fill("")
    field.press_sequentially("gi?nj/x")
    expect(field).to_have_value("gi?nj/x")
    expect(page.get_by_role("dialog")).to_have_count(0)
    field.press("Escape")
    expect(field).not_to_be_focused()
    press(page, "Control+n")
    expect(page.get_by_role("dialog")).to_have_count(0)
    press(page, "n")
    expect(page.get_by_role("dialog", name="New box")).to_be_visible()


def test_the_list_of_keys_is_that_of_the_page(page: Page) -> None:
    """`?` opens it, with each key once and in words; `?` and Escape close it; in it the page's keys are silent."""
    page.goto("/components")
    press(page, "?")
    keys = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(keys).to_contain_text("New box …")
    expect(keys).to_contain_text("Change name")
    expect(keys).to_contain_text("Archive")
    expect(keys.locator("dl > div", has_text="Inbox").locator("kbd")).to_have_text(["G", "I"])
    expect(keys.get_by_text("Next", exact=True)).to_have_count(1)
    press(page, "n")
    expect(page.get_by_role("dialog")).to_have_count(1)
    press(page, "?")
    expect(keys).to_have_count(0)
    press(page, "?", "Escape")
    expect(keys).to_have_count(0)
    page.goto("/mailboxes")
    press(page, "?")
    expect(keys).to_contain_text("Inbox")
    expect(keys).not_to_contain_text("New box")


def test_a_text_is_edited_where_it_stands(page: Page) -> None:
    """By its key; Escape restores it, Enter saves it, leaving it saves what was changed."""
    page.goto("/components")
    field, shown = page.locator("#inline input[name=name]"), page.locator("#inline summary", has_text="Acme deal")
    shown.scroll_into_view_if_needed()
    before = shown.bounding_box()
    press(page, "e")
    expect(field).to_be_focused()
    after = field.bounding_box()
    assert before
    assert after
    assert [round(after[one] - before[one]) for one in ("x", "y", "height")] == [0, 0, 0]
    field.fill("Another")
    field.press("Escape")
    expect(shown).to_be_focused()
    expect(field).to_have_value("Acme deal")
    press(page, "Enter")
    field.fill("Kestrel")
    field.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Saved Kestrel")
    press(page, "e")
    field.fill("Left")
    page.get_by_role("heading", name="Components").click()
    expect(page.get_by_role("status")).to_contain_text("Saved Left")


def test_what_was_done_is_undone_by_a_key(page: Page) -> None:
    """For as long as the notice stands there: that of a script, and that of the server."""
    page.goto("/components")
    page.get_by_role("button", name="Undo, please").click()
    notice = page.locator("#notices .notice")
    expect(notice).to_contain_text("Moved to Lead")
    press(page, "z")
    expect(notice).to_have_text("Taken back")
    page.locator("#form-name").press("Enter")
    expect(notice).to_contain_text("Saved Acme deal")
    press(page, "z")
    expect(notice).to_have_text("Taken back")


def test_the_newest_of_several_is_undone_first(page: Page) -> None:
    """And after it, the one before."""
    page.goto("/components")
    page.evaluate(
        """for (const words of ["First", "Second"]) tracker.notice(words, "done", { undo: {
             url: "/components", fields: { undone: "1" }, done: () => tracker.notice(`${words} taken back`) } })"""
    )
    press(page, "z")
    expect(page.locator("#notices")).to_contain_text("Second taken back")
    expect(page.locator("#notices")).not_to_contain_text("First taken back")
    press(page, "z")
    expect(page.locator("#notices")).to_contain_text("First taken back")


def test_a_notice_goes_by_itself(page: Page) -> None:
    """Not while the mouse rests on it; one that tells of a failure stays until it is closed."""
    page.goto("/components")
    page.get_by_role("button", name="Say it went wrong").click()
    page.get_by_role("button", name="Say it", exact=True).click()
    said = page.locator("#notices .notice.done")
    said.hover()
    page.evaluate("document.getAnimations().filter((one) => one.animationName === 'leave')[0].currentTime = 6900")
    page.wait_for_timeout(600)
    expect(said).to_be_visible()
    page.mouse.move(300, 300)
    expect(said).to_have_count(0)
    failed = page.locator("#notices .notice.failed")
    expect(failed).to_be_visible()
    failed.get_by_role("button", name="Close").click()
    expect(failed).to_have_count(0)


def test_a_refused_dialog_is_open_again_with_what_was_typed(page: Page) -> None:
    """Modal, with the focus where something is wrong; beside it a click closes it."""
    page.goto("/components")
    press(page, "n")
    dialog = page.get_by_role("dialog", name="New box")
    expect(dialog.get_by_label("Name")).to_be_focused()
    dialog.get_by_label("Stage").select_option("lead")
    dialog.get_by_role("button", name="Make the box").click()
    expect(dialog.get_by_role("alert")).to_have_text("A name is needed")
    expect(dialog.get_by_label("Stage")).to_have_value("lead")
    assert page.evaluate("document.querySelector('#new-box').matches(':modal')")
    page.mouse.click(5, 5)
    expect(dialog).to_have_count(0)


def test_without_scripts_all_of_it_opens(chromium: Browser, served: Served, team: Filled) -> None:
    """A link leads to a dialog; inputs in place unfold; the drawer is the browser's own popover."""
    context = chromium.new_context(
        base_url=served.url, java_script_enabled=False, viewport={"width": 360, "height": 780}
    )
    filled.sign_in(context, served, team.alice)
    page = context.new_page()
    page.goto("/components")
    page.get_by_role("link", name="New box …").click()
    dialog = page.locator("#new-box")
    expect(dialog.get_by_label("Name")).to_be_visible()
    dialog.get_by_role("link", name="Close").click()
    expect(dialog).to_be_hidden()
    page.locator("summary[aria-label^='Name: Acme deal']").click()
    page.locator("#inline input[name=name]").fill("Kestrel")
    page.locator("#inline details[open]").get_by_role("button", name="Save").click()
    expect(page.locator("#notices")).to_contain_text("Saved Kestrel")
    page.get_by_role("button", name="Menu").click()
    page.locator(".nav").get_by_role("link", name="Mailboxes").click()
    expect(page).to_have_url("/mailboxes")
    context.close()


def test_the_drawer_of_a_narrow_window(page: Page, team: Filled) -> None:
    """What is used often is at its foot, the rest in the drawer, where what is current is in sight."""
    page.set_viewport_size({"width": 360, "height": 600})
    page.goto(f"/p/{team.pipeline}")
    often = page.get_by_role("navigation", name="Often used")
    expect(often.locator("[aria-current]")).to_have_text("Sales")
    expect(page.locator(".side")).to_be_hidden()
    often.get_by_role("button", name="Menu").click()
    expect(page.locator(".nav [aria-current]")).to_be_in_viewport(ratio=0.9)
    press(page, "Escape")
    expect(page.locator(".side")).to_be_hidden()
    expect(often.get_by_role("button", name="Menu")).to_be_focused()
    often.get_by_role("link", name="Inbox").click()
    expect(page).to_have_url("/inbox")


def test_nothing_stays_behind_where_a_part_is_swapped(page: Page) -> None:
    """A form is sent once however often its button is hit, and a list's keys work for what was loaded later."""
    page.goto("/components")
    # Not `scroll_into_view_if_needed`: a short page has it in view at once, and it is swapped away under the call.
    page.evaluate("document.querySelector('#list .more')?.scrollIntoView()")
    expect(page.get_by_label("Tick: Line 8")).to_be_visible()
    for _ in range(8):
        press(page, "j")
    expect(page.locator("#list [data-row-main]", has_text="Line 8")).to_be_focused()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.evaluate("const form = document.querySelector('#forms form'); form.requestSubmit(); form.requestSubmit()")
    expect(page.get_by_role("status")).to_contain_text("Saved Acme deal")
    assert len(sent) == 1
