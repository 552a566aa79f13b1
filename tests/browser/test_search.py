"""The search and the palette in Chromium."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser import filled
from tests.browser.conftest import Served, Watched
from tests.browser.filled import Filled
from tracker.db import Sessions

pytestmark = pytest.mark.browser


@pytest.fixture
def team(served: Served, sessions: Sessions) -> Filled:
    """A team that has been at work."""
    with sessions() as session:
        return filled.fill(session)


@pytest.fixture
def page(watched: Watched, served: Served, team: Filled) -> Iterator[Page]:
    """Alice's browser."""
    filled.sign_in(watched.page.context, served, team.alice)
    yield watched.page
    assert watched.complaints == []


def test_finds_as_one_types_and_is_walked_by_the_arrows(page: Page, team: Filled) -> None:
    """Without a press of Enter; down into what was found, Enter opens it."""
    page.goto("/search")
    page.keyboard.type("kestr")
    found = page.locator("#found-boxes + .rows").get_by_role("link", name="Kestrel")
    expect(found).to_be_visible()
    expect(page).to_have_url("/search?q=kestr")
    page.keyboard.press("ArrowDown")
    expect(found).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_label("Search boxes")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"/b/{team.other_box}")


def test_the_palette_jumps_by_keyboard(page: Page, team: Filled) -> None:
    """From any page: Ctrl K, a few letters, Enter; `/` opens it too, Escape closes it."""
    page.goto("/mailboxes")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("option", name="Inbox")).to_be_visible()
    page.keyboard.type("cold rooms")
    expect(page.locator(".palette [aria-selected=true]")).to_contain_text("Acme: two cold rooms")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"/b/{team.box}")
    page.wait_for_load_state()  # until then nobody listens to keys
    page.keyboard.press("/")
    box = page.get_by_role("combobox", name="Search or jump to")
    expect(box).to_be_focused()
    page.keyboard.press("Escape")
    expect(box).to_have_count(0)
    page.keyboard.press("/")
    page.keyboard.type("inb")
    expect(page.locator(".palette [aria-selected=true]")).to_contain_text("Inbox")
    page.keyboard.press("Enter")
    expect(page).to_have_url("/inbox")


def test_the_palette_begins_a_task_wherever_one_is(page: Page) -> None:
    """Also on the very page that has the form."""
    for at in ("/mailboxes", "/followups"):
        page.goto(at)
        page.keyboard.press("Control+k")
        page.keyboard.type("new task")
        expect(page.locator(".palette [aria-selected=true]")).to_contain_text("New task")
        page.keyboard.press("Enter")
        expect(page.get_by_label("What is to be done")).to_be_focused()
    page.keyboard.type("Water the figs")
    page.keyboard.press("Enter")
    expect(page.locator(".row", has_text="Water the figs")).to_be_visible()


def test_new_boxes_are_offered_where_the_last_was_made(page: Page, team: Filled) -> None:
    """In the palette, and in both places of the inbox; the browser remembers."""
    for name in ("Zinc", "Tin"):
        page.goto("/inbox")
        page.get_by_label("Tick: Newsletter").first.check()
        chosen = page.get_by_label("or", exact=True)
        expect(chosen.locator("option:checked")).to_have_text(
            f"new box in {'Connections' if name == 'Zinc' else 'Sales'}"
        )
        page.get_by_label("Box", exact=True).fill(name)
        option = page.locator("#picks .new")
        expect(option.last).to_contain_text(name)
        if name == "Zinc":
            option.filter(has_text="Sales").click()
        else:
            expect(option.first).to_contain_text("Sales")
            option.first.click()
        expect(page.get_by_text(f"1 conversation in {name}")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.keyboard.type("new box")
    expect(page.locator(".palette [aria-selected=true]")).to_contain_text("New box in Sales")


def test_the_palette_by_mouse(page: Page) -> None:
    """Opened in the side bar."""
    page.goto("/mailboxes")
    page.get_by_role("link", name="Search or jump to").click()
    page.get_by_role("option", name="Follow-ups").click()
    expect(page).to_have_url("/followups")
