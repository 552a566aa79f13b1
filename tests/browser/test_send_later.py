"""Send later, in Chromium: written, previewed, queued, edited, cancelled, once by mouse and once by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from scheduler import outbox, snippets
from scheduler.outbox import ScheduledEmail
from tests.browser import filled
from tests.browser.conftest import Served
from tests.browser.filled import DANA, Filled
from tracker import contacts, people
from tracker.db import Sessions

pytestmark = pytest.mark.browser


@dataclass(slots=True)
class Desk:
    """Alice's browser; Dana is in Tokyo."""

    page: Page
    team: Filled
    sessions: Sessions
    complaints: list[str] = field(default_factory=list)

    def queued(self) -> list[ScheduledEmail]:
        """What is in the outbox."""
        with self.sessions() as session:
            return list(session.scalars(select(ScheduledEmail).order_by(ScheduledEmail.id)))

    def text(self) -> str:
        """What the last mail says."""
        with self.sessions() as session:
            letter = outbox.letter_of(session.merge(self.queued()[-1]))
            assert letter is not None
            return letter.html


@pytest.fixture
def desk(chromium: Browser, served: Served, sessions: Sessions) -> Iterator[Desk]:
    with sessions() as session:
        team = filled.fill(session)
        alice = session.merge(team.alice)
        alice.time_zone = "Europe/Berlin"
        viewer = people.viewer_of(alice, "test")
        dana = contacts.by_address(session, alice.team_id, DANA)
        assert dana is not None
        contacts.change(session, viewer, dana, location="Tokyo, Japan")
        text = "<p>Dear {{first_name|there}},</p><p>here it is.</p>"
        snippets.add(session, viewer, "Offer", "For {{box.name}}", text, shared=True)
        session.commit()
    context = chromium.new_context(base_url=served.url, viewport={"width": 1400, "height": 900})
    context.set_default_timeout(15_000)
    filled.sign_in(context, served, team.alice)
    made = Desk(context.new_page(), team, sessions)
    made.page.on("console", lambda m: made.complaints.append(m.text) if m.type in ("error", "warning") else None)
    made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
    yield made
    context.close()


def test_a_mail_is_written_previewed_queued_edited_and_cancelled(desk: Desk) -> None:
    page = desk.page
    by_mouse(desk)
    by_keyboard(desk)
    states = [one.state for one in desk.queued()]
    assert states == ["cancelled", "cancelled"]
    assert [line for line in desk.complaints if "422" not in line] == []  # Chromium tells every refusal
    expect(page.get_by_role("heading", name="Nothing waits to be sent")).to_be_visible()


def by_mouse(desk: Desk) -> None:
    page = desk.page
    page.goto(f"/b/{desk.team.box}")
    page.get_by_role("link", name="Write", exact=True).click()
    expect(page.get_by_label("To", exact=True)).to_have_value(f"Dana Okafor <{DANA}>")
    preview = page.locator("#compose-preview")
    expect(preview).to_contain_text("09:00 in Tokyo (your")
    expect(preview).to_contain_text("Tokyo")
    page.locator("#compose-template").select_option("Offer")
    expect(page.get_by_label("Subject")).to_have_value("For {{box.name}}")
    expect(preview).to_contain_text("For Acme: two cold rooms")  # as Dana reads it
    expect(preview).to_contain_text("Dear Dana,")
    editor = page.get_by_role("textbox", name="Text")
    editor.click()
    page.keyboard.press("Control+End")
    page.keyboard.type(" Soon")
    page.keyboard.press("Shift+Control+ArrowLeft")
    page.get_by_role("button", name="Bold").click()
    page.get_by_label("Files").set_input_files(
        {"name": "a.pdf", "mimeType": "application/pdf", "buffer": b"x" * 2000}
    )
    expect(page.locator("#files-said")).to_have_text("2 KB")
    page.get_by_label("To", exact=True).fill("dana")
    page.get_by_role("button", name="Queue").click()
    expect(page.locator("#said-to")).to_contain_text("is no address")
    page.get_by_label("To", exact=True).fill(f"Dana Okafor <{DANA}>")
    page.get_by_label("A time of my own clock").check()
    page.locator("#compose-at").fill("17:30")
    expect(preview).to_contain_text("(your")
    expect(preview).to_contain_text("17:30")
    page.get_by_role("button", name="Queue").click()
    page.wait_for_url(f"**/b/{desk.team.box}")
    expect(page.locator(".notices")).to_contain_text("Queued. It goes")
    expect(page.locator(".queued-panel")).to_contain_text("For Acme: two cold rooms")
    assert "<b>Soon</b>" in desk.text()
    page.locator(".queued-panel").get_by_role("link", name="For Acme").click()
    expect(page.get_by_text("a.pdf")).to_be_visible()  # it survived the refusal
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Subject").fill("Another subject")
    page.get_by_label("Only on working days there").uncheck()  # a Monday may be a holiday in Japan
    page.get_by_label("Next Monday").check()
    expect(preview).to_contain_text("09:00 in Tokyo")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Another subject")).to_be_visible()
    (email,) = desk.queued()
    assert (email.zone, email.wall_time.hour, email.wall_time.weekday()) == ("Asia/Tokyo", 9, 0)
    page.goto("/outbox")
    row = page.locator(".queued", has_text="Another subject")
    row.get_by_label("More").click()
    row.get_by_role("button", name="Cancel").click()
    expect(page.locator(".notices")).to_contain_text("Cancelled")
    expect(row).to_have_count(0)


def by_keyboard(desk: Desk) -> None:
    """Nothing is clicked."""
    page = desk.page
    page.goto(f"/c/{desk.team.conversation}")
    page.keyboard.press("r")
    page.wait_for_url("**/compose?reply=*")
    expect(page.get_by_label("Subject")).to_have_value("Re: Cold rooms")
    page.get_by_label("Subject").focus()
    for _ in range(7):  # past the buttons above the text
        if page.evaluate("document.activeElement.className") == "rich-text":
            break
        page.keyboard.press("Tab")
    page.keyboard.type("Yes, ")
    page.keyboard.press("Control+b")
    page.keyboard.type("gladly")
    expect(page.locator("#compose-preview")).to_contain_text("gladly")
    page.keyboard.press("Control+Enter")
    page.wait_for_url(f"**/c/{desk.team.conversation}")
    expect(page.locator(".queued-panel")).to_contain_text("Re: Cold rooms")
    assert "Yes, <b>gladly</b>" in desk.text()
    assert 'class="gmail_quote"' in desk.text()
    page.keyboard.press("g")
    page.keyboard.press("q")
    page.wait_for_url("**/outbox")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/outbox/*")
    page.keyboard.press("e")
    page.wait_for_url("**/edit")
    page.get_by_label("Subject").focus()
    page.keyboard.type("Re: Cold rooms")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/outbox/*")
    expect(page.get_by_role("link", name="Edit")).to_be_visible()
    page.keyboard.press("d")
    expect(page.locator(".notices")).to_contain_text("Cancelled")
    page.keyboard.press("g")
    page.keyboard.press("q")
    page.wait_for_url("**/outbox")
