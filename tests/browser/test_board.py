"""The board in Chromium: moved by mouse, by keyboard and by finger, taken back, and met by a teammate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from config import teams
from tests.browser.conftest import Served, Watched
from tests.browser.filled import sign_in
from tests.tracker.domain import a_box, pipeline, stage
from tests.tracker.web.factories_web import ALICE, a_mailbox
from tracker import boxes, people
from tracker.boxes import Box
from tracker.db import Sessions, transaction
from tracker.people import User

pytestmark = pytest.mark.browser


@dataclass(slots=True)
class Board:
    """Alice looks at Sales: forty boxes in Lead, of which Acme is the first."""

    page: Page
    watched: Watched
    sessions: Sessions
    bob: User
    address: str

    def column(self, name: str) -> Locator:
        return self.page.locator(f"[data-column][data-name='{name}']")

    def card(self, name: str, column: str = "") -> Locator:
        where = self.column(column) if column else self.page.locator("[data-board]")
        return where.locator("[data-box]", has=self.page.get_by_role("link", name=name, exact=True))

    def count(self, column: str) -> Locator:
        return self.column(column).locator("[data-count]")

    def stage_of(self, name: str) -> str:
        with self.sessions() as session:
            return session.query(Box).filter_by(name=name).one().stage.name

    def focused(self) -> str:
        return str(self.page.evaluate("document.activeElement.textContent.trim()"))


def arrange(sessions: Sessions) -> tuple[User, User, str]:
    with transaction(sessions) as session:
        alice = teams.found(session, "Test team", ALICE, "Alice Archer")
        bob = people.add_user(session, alice.team_id, "bob@team.example", name="Bob Baker")
        a_mailbox(session, alice)
        viewer = people.viewer_of(alice, "test")
        now = datetime.now(UTC)
        for number in range(39):
            a_box(session, viewer, f"Deal {number}", at="Lead", now=now - timedelta(days=1, minutes=number))
        a_box(session, viewer, "Acme", "anna@acme.test", at="Lead", now=now - timedelta(hours=1))
        return alice, bob, f"/p/{pipeline(session, alice.team_id).key}"


@pytest.fixture
def board(watched: Watched, served: Served, sessions: Sessions) -> Iterator[Board]:
    alice, bob, address = arrange(sessions)
    sign_in(watched.page.context, served, alice)
    watched.page.goto(address)
    yield Board(watched.page, watched, sessions, bob, address)
    assert [one for one in watched.complaints if "409" not in one] == []


def test_a_card_is_dragged_and_taken_back(board: Board) -> None:
    board.card("Acme").drag_to(board.column("Qualified").locator("[data-cards]"))
    expect(board.page.get_by_text("Acme moved to Qualified")).to_be_visible()
    expect(board.count("Qualified")).to_have_text("1")
    expect(board.count("Lead")).to_have_text("39")
    assert board.stage_of("Acme") == "Qualified"
    board.page.get_by_role("button", name="Undo").click()
    expect(board.page.get_by_text("Acme is back in Lead")).to_be_visible()
    expect(board.column("Lead").locator("[data-box]").first).to_contain_text("Acme")
    expect(board.count("Lead")).to_have_text("40")
    assert board.stage_of("Acme") == "Lead"


def test_cards_are_walked_and_moved_by_keys_alone(board: Board) -> None:
    page = board.page
    page.keyboard.press("j")
    assert board.focused() == "Acme"
    page.keyboard.press("ArrowDown")
    assert board.focused() == "Deal 0"
    page.keyboard.press("ArrowUp")
    for _ in range(2):  # without waiting: each move waits for the one before it
        page.keyboard.press("]")
    expect(page.get_by_text("Acme moved to Negotiating")).to_be_visible()
    expect(board.card("Acme", "Negotiating").get_by_role("link")).to_be_focused()
    page.keyboard.press("Shift+ArrowLeft")
    expect(page.get_by_text("Acme moved to Qualified")).to_be_visible()
    page.keyboard.press("m")
    expect(page.get_by_role("dialog", name="Move Acme to …")).to_be_visible()
    page.keyboard.press("5")
    expect(page.get_by_text("Acme moved to Won")).to_be_visible()
    assert board.stage_of("Acme") == "Won"
    page.keyboard.press("z")
    expect(page.get_by_text("Acme is back in Qualified")).to_be_visible()
    expect(board.card("Acme", "Qualified").get_by_role("link")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    assert board.focused() == "Deal 0"


def test_a_finger_moves_a_card_by_its_button(
    chromium: Browser, served: Served, sessions: Sessions, board: Board
) -> None:
    with sessions() as session:
        alice = people.by_address(session, ALICE)
    assert alice is not None
    context = chromium.new_context(
        base_url=served.url, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True
    )
    sign_in(context, served, alice)
    page = context.new_page()
    page.goto(board.address)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("navigation", name="Stages").get_by_role("link", name="Lead").tap()
    page.get_by_role("button", name="Move Acme").tap()
    page.get_by_role("dialog").get_by_role("button", name="Won").tap()
    expect(page.get_by_text("Acme moved to Won")).to_be_visible()
    assert board.stage_of("Acme") == "Won"
    context.close()


def test_a_finger_drags_a_card_to_the_next_column(
    chromium: Browser, served: Served, sessions: Sessions, board: Board
) -> None:
    with sessions() as session:
        alice = people.by_address(session, ALICE)
    assert alice is not None
    context = chromium.new_context(base_url=served.url, viewport={"width": 1100, "height": 800}, has_touch=True)
    sign_in(context, served, alice)
    page = context.new_page()
    page.goto(board.address)
    finger = Finger(page)
    lead = page.locator("[data-column]", has=page.get_by_role("heading", name="Lead", exact=True))
    there = page.locator("[data-column]", has=page.get_by_role("heading", name="Qualified", exact=True))
    finger.drag(lead.locator("[data-box]", has_text="Acme"), there.locator("[data-cards]"))
    expect(page.get_by_text("Acme moved to Qualified")).to_be_visible()
    assert board.stage_of("Acme") == "Qualified"
    finger.swipe(lead.locator("[data-box]").nth(3), dy=-120)  # at once: that scrolls, and moves nothing
    expect(there.locator("[data-count]")).to_have_text("1")
    expect(lead.locator("[data-count]")).to_have_text("39")
    context.close()


class Finger:
    """A finger on the glass, by the browser's own protocol: Playwright knows only taps."""

    def __init__(self, page: Page) -> None:
        self.page, self.protocol = page, page.context.new_cdp_session(page)

    def swipe(self, what: Locator, dy: float) -> None:
        """Down and away at once."""
        box = what.bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 3, box["y"] + 8
        self._touch("touchStart", x, y)
        for step in range(1, 7):
            self._touch("touchMove", x, y + dy * step / 6)
        self._touch("touchEnd")

    def drag(self, what: Locator, where: Locator) -> None:
        """Down, a moment's rest, and over there."""
        what.scroll_into_view_if_needed()
        box, to = what.bounding_box(), where.bounding_box()
        assert box is not None
        assert to is not None
        x, y = box["x"] + box["width"] / 3, box["y"] + 8
        self._touch("touchStart", x, y)
        self.page.wait_for_timeout(300)
        for step in range(1, 13):
            self._touch("touchMove", x + (to["x"] + 60 - x) * step / 12, y + (to["y"] + 40 - y) * step / 12)
            self.page.wait_for_timeout(20)
        self._touch("touchEnd")

    def _touch(self, kind: str, *place: float) -> None:
        points = [{"x": place[0], "y": place[1]}] if place else []
        self.protocol.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_a_teammate_was_faster_and_the_card_goes_where_it_is(board: Board) -> None:
    board.page.evaluate(
        "document.querySelectorAll('[data-live]').forEach((one) => one.removeAttribute('data-live'))"
    )
    with transaction(board.sessions) as session:
        box = session.query(Box).filter_by(name="Acme").one()
        bob = people.viewer_of(board.bob, "test")
        boxes.move(session, bob, box, stage(session, box.pipeline, "Revisit"), now=datetime.now(UTC))
    board.card("Acme").drag_to(board.column("Qualified").locator("[data-cards]"))
    expect(board.page.get_by_text("Bob Baker moved Acme to Revisit meanwhile: it is there now")).to_be_visible()
    expect(board.card("Acme", "Revisit")).to_have_count(1)
    expect(board.count("Qualified")).to_have_text("0")
    assert board.stage_of("Acme") == "Revisit"
    # From there it goes on.
    board.card("Acme", "Revisit").get_by_role("link").focus()
    board.page.keyboard.press("[")
    expect(board.page.get_by_text("Acme moved to Lost & Rejected")).to_be_visible()


def test_a_move_that_is_not_saved_goes_back(board: Board) -> None:
    board.page.route("**/move*", lambda route: route.abort())
    board.card("Acme").drag_to(board.column("Qualified").locator("[data-cards]"))
    expect(board.page.get_by_text("Not saved: the server can’t be reached")).to_be_visible()
    expect(board.card("Acme", "Lead")).to_have_count(1)
    expect(board.count("Lead")).to_have_text("40")
    board.watched.complaints.clear()


def test_a_column_loads_as_it_is_scrolled(board: Board) -> None:
    lead = board.column("Lead")
    expect(lead.locator("[data-box]")).to_have_count(25)
    lead.locator(".more").evaluate("more => more.scrollIntoView()")
    expect(lead.locator("[data-box]")).to_have_count(40)
    expect(lead.locator(".more")).to_have_count(0)
    assert "shown=40" in (lead.get_attribute("data-live-url") or "")


def test_boxes_are_found_as_one_types_and_the_address_says_so(board: Board) -> None:
    page = board.page
    page.keyboard.press("s")
    page.keyboard.type("anna")
    expect(page.locator("[data-box]")).to_have_count(1)
    expect(page.get_by_label("Name, contact or organization")).to_be_focused()
    expect(page.locator("#board-total")).to_contain_text("1 box")
    page.wait_for_url("**?q=anna")
    board.card("Acme").drag_to(board.column("Qualified").locator("[data-cards]"))
    expect(page.get_by_text("Acme moved to Qualified")).to_be_visible()
    page.reload()
    expect(board.card("Acme", "Qualified")).to_have_count(1)
    page.get_by_role("link", name="Clear all").click()
    expect(board.count("Lead")).to_have_text("39")
    page.keyboard.press("f")
    page.get_by_label("Nobody").check()
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("No box is like this")).to_be_visible()
    page.wait_for_url("**?owner=nobody")
