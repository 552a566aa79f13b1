"""A pipeline's settings in Chromium: by mouse and by keyboard."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser import filled
from tests.browser.conftest import Served, Watched
from tests.browser.filled import Filled
from tracker.db import Sessions

pytestmark = pytest.mark.browser


@pytest.fixture
def settings(watched: Watched, served: Served, sessions: Sessions) -> Callable[[str], Page]:
    """Opens a page of the settings of Alice's pipeline."""
    with sessions() as session:
        team: Filled = filled.fill(session)
    filled.sign_in(watched.page.context, served, team.alice)

    def open_page(tab: str) -> Page:
        watched.page.goto(f"/p/{team.pipeline}/settings/{tab}")
        return watched.page

    return open_page


def names(page: Page) -> list[str]:
    return page.locator("#stage-list .setting-name").all_inner_texts()


def test_stages_are_ordered_by_dragging_and_by_keyboard(watched: Watched, settings: Callable[[str], Page]) -> None:
    page = settings("stages")
    assert names(page)[:3] == ["Prospect", "Lead", "Qualified"]
    grips = page.locator("#stage-list .grip")
    grips.nth(2).drag_to(grips.nth(0))
    expect(page.get_by_text("Order saved")).to_be_visible()
    page.reload()
    assert names(page)[:3] == ["Qualified", "Prospect", "Lead"]

    page.get_by_role("button", name="Move Lead up").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#stage-list .setting-name").nth(1)).to_have_text("Lead")
    expect(page.get_by_role("button", name="Move Lead up")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#stage-list .setting-name").nth(0)).to_have_text("Lead")
    assert watched.complaints == []


def test_a_stage_is_added_refused_changed_and_removed(watched: Watched, settings: Callable[[str], Page]) -> None:
    page = settings("stages")
    page.keyboard.press("n")
    dialog = page.get_by_role("dialog", name="Add a stage")
    dialog.get_by_label("Name", exact=True).fill("Demo")
    dialog.get_by_role("radio", name="Teal").check()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Demo added")).to_be_visible()

    page.get_by_role("link", name="Change Demo").click()
    dialog = page.get_by_role("dialog", name="Demo")
    expect(dialog.get_by_role("radio", name="Teal")).to_be_checked()
    dialog.get_by_label("Name", exact=True).fill("x" * 101)
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_have_text("A stage's name has 1 to 100 characters")
    dialog = page.get_by_role("dialog", name="Demo")
    dialog.get_by_label("Name", exact=True).fill("Trial")
    dialog.get_by_label("Objective").fill("They try it")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Trial saved")).to_be_visible()

    page.get_by_role("link", name="Remove Lead").click()
    dialog = page.get_by_role("dialog", name="Remove Lead?")
    expect(dialog).to_contain_text("2 boxes are in it")
    dialog.get_by_label("Stage that takes its boxes").select_option(label="Trial")
    dialog.get_by_role("button", name="Remove Lead").click()
    expect(page.get_by_text("Lead removed")).to_be_visible()
    expect(page.locator(".setting-row", has_text="Trial")).to_contain_text("2 boxes")
    assert [one for one in watched.complaints if "422" not in one] == []


def test_a_field_asks_for_choices_only_where_it_has_some(
    watched: Watched, settings: Callable[[str], Page]
) -> None:
    page = settings("fields")
    page.get_by_role("link", name="Add a field").click()
    dialog = page.get_by_role("dialog", name="Add a field")
    expect(dialog.get_by_label("Choices, one a line")).to_be_hidden()
    dialog.get_by_label("Name").fill("Size")
    dialog.get_by_label("What it holds").select_option("dropdown")
    dialog.get_by_label("Choices, one a line").fill("small\nlarge")
    dialog.get_by_role("button", name="Add the field").click()
    expect(page.locator(".setting-row", has_text="Size")).to_contain_text("small, large")
    assert watched.complaints == []
