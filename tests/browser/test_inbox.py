"""The inbox and the follow-ups in Chromium: by keyboard, by mouse, and taken back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.browser import filled
from tests.browser.conftest import Served, Watched
from tests.browser.filled import Filled
from tests.tracker.domain import a_box
from tests.tracker.web.factories_web import ALICE, a_mail
from tracker import mailboxes, people
from tracker.db import Sessions

pytestmark = pytest.mark.browser


@pytest.fixture
def page(watched: Watched, served: Served, sessions: Sessions) -> Iterator[Page]:
    """Alice's browser; three strangers wrote, and one person of two boxes."""
    with sessions() as session:
        team = filled.fill(session)
        _arrange(session, team)
    filled.sign_in(watched.page.context, served, team.alice)
    yield watched.page
    assert watched.complaints == []


def _arrange(session: object, team: Filled) -> None:
    from sqlalchemy.orm import Session

    assert isinstance(session, Session)
    mailbox, now = mailboxes.by_address(session, ALICE), datetime.now(UTC)
    assert mailbox is not None
    viewer = people.viewer_of(team.alice, "test")
    for name in ("Licence", "Support"):
        a_box(session, viewer, name, "zed@two.test", now=now)
    for number in range(3):
        sender, at = f"s{number}@stranger.test", now + timedelta(minutes=number)
        a_mail(session, mailbox, f"Stranger {number}", sender=sender, sender_name=f"Sam {number}", at=at)
    a_mail(session, mailbox, "Which one?", sender="zed@two.test", at=now + timedelta(minutes=9))
    session.commit()


def row(page: Page, subject: str) -> object:
    return page.locator(".row", has_text=subject)


def focused(page: Page) -> str:
    return str(
        page.evaluate(
            "document.activeElement.closest('[data-row]')?.querySelector('.row-subject, strong')?.textContent"
        )
    )


def test_through_the_inbox_by_keyboard(page: Page) -> None:
    """A suggestion accepted, one done, one tagged, one put off: a key each, and the next row has the focus."""
    page.goto("/inbox")
    rows = page.locator("#inbox-list .row")
    before = rows.count()
    page.keyboard.press("j")
    page.keyboard.press("a")
    expect(page.get_by_text("Filed in Licence")).to_be_visible()
    expect(page.locator(".row", has_text="Which one?")).to_have_count(0)
    assert focused(page) == "Stranger 2"
    page.keyboard.press("e")
    expect(page.get_by_text("Done until the next mail")).to_be_visible()
    expect(rows).to_have_count(before - 2)
    assert focused(page) == "Stranger 1"

    page.keyboard.press("b")
    expect(page.get_by_role("option", name="Licence")).to_be_visible()
    page.keyboard.type("kest")
    expect(page.locator("#picks [role=option]").first).to_contain_text("Kestrel")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 conversation in Kestrel")).to_be_visible()
    expect(rows).to_have_count(before - 3)
    assert focused(page) == "Stranger 0"

    page.keyboard.press("s")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_text("or with the next mail")).to_be_visible()
    expect(rows).to_have_count(before - 4)
    expect(page.locator("[data-count=snoozed]")).to_have_text("2")

    page.keyboard.press("z")
    expect(page.get_by_text("Undone")).to_be_visible()
    expect(page.locator(".row", has_text="Stranger 0")).to_be_visible()


def test_several_at_once_into_a_new_box_by_mouse_and_back(page: Page) -> None:
    """Ticked, picked, undone."""
    page.goto("/inbox")
    page.get_by_label("Tick: Stranger 0").check()
    page.get_by_label("Tick: Stranger 2").click(modifiers=["Shift"])
    expect(page.get_by_text("3 ticked:")).to_be_visible()
    page.get_by_label("Box", exact=True).click()
    page.get_by_label("Box", exact=True).fill("Strange deal")
    page.locator("#picks").get_by_text("New box “Strange deal”").last.click()
    expect(page.get_by_text("3 conversations in Strange deal")).to_be_visible()
    expect(page.locator(".row", has_text="Stranger")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".row", has_text="Stranger")).to_have_count(3)


def test_escape_gives_up_and_leads_back_to_the_row(page: Page) -> None:
    """From the picker and from the times; what was ticked for them only is not ticked any more."""
    page.goto("/inbox")
    page.keyboard.press("j")
    for key in ("b", "s"):
        page.keyboard.press(key)
        expect(page.get_by_label("Tick: Which one?")).to_be_checked()
        page.keyboard.press("Escape")
        expect(page.get_by_label("Tick: Which one?")).not_to_be_checked()
        assert focused(page) == "Which one?"


def test_follow_ups_by_keyboard(page: Page) -> None:
    """A task done and taken back; the next entry has the focus."""
    page.goto("/")
    expect(page.get_by_role("heading", name="Follow-ups")).to_be_visible()
    page.keyboard.press("j")
    assert focused(page) == "Call about the delivery"
    page.keyboard.press("e")
    expect(page.locator("#notices").get_by_text("Task done")).to_be_visible()
    expect(page.locator(".row", has_text="Call about the delivery")).to_have_count(0)
    page.keyboard.press("z")
    expect(page.locator(".row", has_text="Call about the delivery")).to_be_visible()


@pytest.mark.parametrize("width", [360, 1400])
def test_no_page_is_wider_than_the_window(page: Page, width: int) -> None:
    """Narrow and wide."""
    page.set_viewport_size({"width": width, "height": 800})
    for address in ("/inbox", "/inbox?show=snoozed", "/followups", "/search", "/search?q=offer", "/me"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
