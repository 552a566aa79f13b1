"""The table, in Chromium: cells edited by keyboard and mouse, rows ticked, a view kept, a file brought in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from gmail_sync.sandbox import Sandbox
from tests.browser.conftest import Served, Watched
from tests.browser.test_pages import sign_in
from tracker import boxes, fields, people, pipelines
from tracker.boxes import Box
from tracker.db import transaction

pytestmark = pytest.mark.browser


def some_boxes(served: Served, number: int) -> str:
    """Boxes of Sales; returns the table's address."""
    services = served.app.extensions["gmail_sync"].services
    with transaction(services.sessions) as session:
        team = people.first_team(session)
        assert team is not None
        alice = people.of_team(session, team.id)[0]
        viewer = people.viewer_of(alice, "test")
        sales = next(one for one in pipelines.of_team(session, team.id) if one.name == "Sales")
        value = fields.of_pipeline(session, sales.id)[0]
        stages = pipelines.of_pipeline(session, sales.id)
        for n in range(number):
            stage, worth = stages[n % 3], f"{n * 100} EUR"
            boxes.create(
                session, viewer, sales, f"Deal {n:03}", stage=stage, values={value: worth}, now=services.now()
            )
        return f"/p/{sales.key}/table"


def cell(page: Page, box: str, column: str):  # type: ignore[no-untyped-def]
    """A cell of the table."""
    return page.locator("tr[data-box]", has=page.get_by_role("link", name=box)).locator(f"[data-col={column}]")


def test_cells_are_gone_over_and_edited_by_keyboard(watched: Watched, served: Served, sandbox: Sandbox) -> None:
    """Arrows, Enter, Tab, Escape; what is wrong stands beside the cell with what was typed."""
    page = watched.page
    sign_in(page)
    page.goto(some_boxes(served, 3) + "?sort=name")
    name = cell(page, "Deal 000", "name")
    name.focus()
    page.keyboard.press("F2")
    box = page.locator(".cell-edit [name=value]")
    expect(box).to_be_focused()
    box.fill("Deal 000b")
    page.keyboard.press("Escape")
    expect(name).to_have_text("Deal 000")
    expect(name).to_be_focused()
    page.keyboard.press("F2")
    box.fill("Deal 0000")
    page.keyboard.press("Tab")
    expect(cell(page, "Deal 0000", "stage").locator("select")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowDown")
    expect(cell(page, "Deal 001", "stage")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    value = cell(page, "Deal 001", "value")
    expect(value).to_be_focused()
    page.keyboard.press("Enter")
    box.fill("much")
    page.keyboard.press("Enter")
    expect(page.locator(".cell-edit .refused")).to_contain_text("Expected an amount")
    expect(box).to_have_value("much")
    box.fill("4200 usd")
    page.keyboard.press("Enter")
    expect(value).to_have_text("$4,200")
    expect(cell(page, "Deal 002", "value")).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    expect(page.get_by_text("1 ticked:")).to_be_visible()
    assert [one for one in watched.complaints if "422" not in one] == []


def test_by_mouse_a_stage_is_chosen_rows_are_moved_and_a_view_is_kept(
    watched: Watched, served: Served, sandbox: Sandbox
) -> None:
    """Click into a cell; tick with Shift; undo; sort, and keep that under a name; scroll for more."""
    page = watched.page
    sign_in(page)
    page.goto(some_boxes(served, 70) + "?sort=name")
    cell(page, "Deal 001", "owner").click()
    page.locator(".cell-edit select").select_option(label="Nobody")
    expect(cell(page, "Deal 001", "owner")).to_have_text("")
    page.get_by_label("Tick: Deal 002").check()
    page.get_by_label("Tick: Deal 004").click(modifiers=["Shift"])
    expect(page.get_by_text("3 ticked:")).to_be_visible()
    page.locator("#bulk-stage").select_option(label="Won")
    page.get_by_role("button", name="Move").click()
    expect(page.get_by_text("3 boxes moved to Won")).to_be_visible()
    expect(cell(page, "Deal 003", "stage")).to_have_text("Won")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("3 boxes as before")).to_be_visible()
    page.get_by_role("link", name="Value").click()
    expect(page).to_have_url(re.compile("sort=-value"))
    expect(page.locator("tr[data-box]").first).to_contain_text("Deal 069")
    page.locator("tr.more").evaluate("more => more.scrollIntoView()")
    expect(page.locator("tr[data-box]")).to_have_count(70)
    page.locator("summary", has_text="Save view").click()
    page.get_by_label("Keep this as a new view").fill("By value")
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("link", name="By value")).to_have_attribute("aria-current", "page")
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert watched.complaints == []


def test_a_file_larger_than_other_forms_is_brought_in(
    watched: Watched, served: Served, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Upload, map, look, import: three megabytes, with the guard against forgery on."""
    page = watched.page
    sign_in(page)
    table = some_boxes(served, 1)
    file = tmp_path / "deals.csv"
    file.write_text("Name,Stage,Notes\n" + "".join(f"New {n},Lead,{'x' * 9000}\n" for n in range(330)))
    page.goto(table)
    page.get_by_label("Import and export").click()
    page.get_by_role("link", name="Import a CSV file").click()
    page.get_by_label("A file with a line of headings").set_input_files(file)
    page.get_by_role("button", name="Read the file").click()
    page.get_by_label("Notes").select_option("new:text")
    page.get_by_role("button", name="Look at what would happen").click()
    expect(page.locator(".import-counts")).to_contain_text("330")
    page.get_by_role("button", name="Import 330 lines").click()
    expect(page.get_by_role("heading", name="Imported")).to_be_visible()
    services = served.app.extensions["gmail_sync"].services
    with services.sessions() as session:
        assert session.query(Box).count() == 331
    assert watched.complaints == []
