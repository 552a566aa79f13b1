"""A rep's morning in Chromium, by mouse and by keyboard alone: it takes what docs/pages.md says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.browser import filled
from tests.browser.conftest import Served, Watched
from tests.browser.filled import Filled
from tests.tracker.domain import a_box
from tests.tracker.web.factories_web import ALICE, a_mail
from tracker import mailboxes, people
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.db import Sessions
from tracker.filing import FILED, Filing
from tracker.tasks import Task

pytestmark = pytest.mark.browser

SAID = Path(__file__).parents[2] / "docs" / "pages.md"
ZED = "zed@two.test"
KESTREL_MAIL = [f"Door {number}" for number in range(4)]
NEW_MAIL = [f"Pier {number}" for number in range(3)]
TASK = "Call about the licence"
WATCH = """for (const kind of ["pointerdown", "keydown"])
  addEventListener(kind, (event) => event.isTrusted && window.happened(kind), true);"""


@dataclass(frozen=True, slots=True)
class Price:
    """What a step takes: clicks or keys, and the letters of what is named."""

    acts: int = 0
    letters: int = 0


@dataclass(slots=True)
class Hand:
    """Does something with the page, and counts it by step."""

    page: Page
    happened: Counter[str] = field(default_factory=Counter)
    prices: dict[str, Price] = field(default_factory=dict)
    now: str = ""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """What follows belongs to this step."""
        self.now, self.prices[name] = name, Price()
        yield

    def _count(self, acts: int = 0, letters: int = 0) -> None:
        price = self.prices[self.now]
        self.prices[self.now] = Price(price.acts + acts, price.letters + letters)

    def click(self, what: Locator) -> None:
        """A click."""
        self._count(acts=1)
        what.click()

    def drag(self, what: Locator, where: Locator) -> None:
        """A drag; as much as a click."""
        self._count(acts=1)
        what.drag_to(where)

    def press(self, *keys: str) -> None:
        """Keys that mean something."""
        for key in keys:
            self._count(acts=1)
            self.page.keyboard.press(key)

    def walk(self, key: str, to: str) -> None:
        """The same key, until what has the focus is called so."""
        for _ in range(20):
            self.press(key)
            if self.page.evaluate("document.activeElement.textContent.trim()") == to:
                return
        raise AssertionError(f"{key} never gets to {to}")

    def type(self, words: str) -> None:
        """Letters of a name."""
        self._count(letters=len(words))
        self.page.keyboard.type(words)

    def card(self, name: str) -> Locator:
        """A card on the board."""
        return self.page.locator("[data-box]", has=self.page.get_by_role("link", name=name, exact=True))

    def arrived(self, mark: Locator) -> None:
        """Wait until the next page is there, with its scripts: before, its keys are not heard."""
        expect(mark).to_be_attached()
        self.page.wait_for_load_state()

    def told(self, words: str) -> None:
        """Wait until the page says so, as a person would."""
        expect(self.page.locator("#notices").get_by_text(words)).to_be_visible()

    def left(self, number: int) -> None:
        """Wait until the inbox is so long."""
        expect(self.page.locator("#inbox-list .row")).to_have_count(number)


@pytest.fixture
def hand(watched: Watched, served: Served, sessions: Sessions) -> Iterator[Hand]:
    """Alice's browser on the first page of the morning."""
    with sessions() as session:
        team = filled.fill(session)
        _arrange(session, team)
    made = Hand(watched.page)
    watched.page.context.expose_function("happened", lambda kind: made.happened.update([kind]))
    watched.page.context.add_init_script(WATCH)
    filled.sign_in(watched.page.context, served, team.alice)
    watched.page.goto("/")
    yield made
    assert watched.complaints == []


def _arrange(session: Session, team: Filled) -> None:
    """Ten threads on top of the inbox: three of somebody with two boxes, seven of people nobody knows yet."""
    mailbox, now = mailboxes.by_address(session, ALICE), datetime.now(UTC)
    assert mailbox is not None
    viewer = people.viewer_of(team.alice, "test")
    for minutes, name in enumerate(("Licence", "Support")):
        a_box(session, viewer, name, ZED, now=now - timedelta(hours=1, minutes=minutes))
    mails = [(f"Which {number}?", ZED) for number in range(3)]
    mails += [(subject, f"d{number}@door{number}.test") for number, subject in enumerate(KESTREL_MAIL)]
    mails += [(subject, "pia@harbour.test") for subject in NEW_MAIL]
    for number, (subject, sender) in enumerate(mails):
        a_mail(session, mailbox, subject, sender=sender, at=now + timedelta(seconds=20 - number))
    session.commit()


def by_mouse(hand: Hand) -> None:
    """The morning with the mouse; the keyboard only for what has to be named."""
    page = hand.page
    with hand.step("Open the inbox"):
        hand.click(page.get_by_role("navigation", name="Main").get_by_role("link", name="Inbox"))
        expect(page.get_by_role("heading", name="Inbox", level=1)).to_be_visible()
    rows = page.locator("#inbox-list .row")
    all_of_them = rows.count()
    with hand.step("Accept three suggestions"):
        for number in range(3):
            row = page.locator(".row", has_text=f"Which {number}?")
            hand.click(row.get_by_role("button", name="Accept").first)
            hand.left(all_of_them - 1 - number)
    with hand.step("Four threads into a box"):
        _tick_and_pick(hand, KESTREL_MAIL, "kest", "Kestrel")
        hand.told("4 conversations in Kestrel")
    with hand.step("Three threads into a new box"):
        _tick_and_pick(hand, NEW_MAIL, "Harbour pier", "New box “Harbour pier” in Sales")
        hand.told("3 conversations in Harbour pier")
    with hand.step("Move three boxes on the board"):
        hand.click(page.get_by_role("navigation", name="Main").get_by_role("link", name="Sales", exact=True))
        for name, stage in (("Deal 1", "Lead"), ("Deal 2", "Qualified"), ("Kestrel", "Qualified")):
            hand.drag(hand.card(name), page.locator(f"[data-column][data-name='{stage}'] [data-cards]"))
            hand.told(f"{name} moved to {stage}")
    with hand.step("Merge two boxes"):
        hand.click(hand.card("Licence").get_by_role("link"))
        hand.click(page.get_by_label("More", exact=True))
        hand.click(page.get_by_role("link", name="Merge with another box"))
        expect(page.get_by_label("Name of the other box")).to_be_focused()
        hand.type("supp")
        hand.click(page.locator("#merge-choices").get_by_role("link", name="Support"))
        hand.click(page.get_by_role("button", name="Merge for good"))
        expect(page.get_by_text("merged Support into it")).to_be_visible()
    with hand.step("Set a task"):
        hand.click(page.get_by_label("New task"))
        hand.type(TASK)
        hand.click(page.locator("#task-due"))
        hand.type("tomorrow")
        hand.click(page.locator(".new-task").get_by_role("button", name="Add", exact=True))
        expect(page.locator(".task", has_text=TASK)).to_be_visible()


def _tick_and_pick(hand: Hand, subjects: list[str], words: str, option: str) -> None:
    for subject in subjects:
        hand.click(hand.page.get_by_label(f"Tick: {subject}"))
    hand.click(hand.page.get_by_label("Box", exact=True))
    hand.type(words)
    hand.click(hand.page.locator("#picks").get_by_role("option", name=option).first)


def by_keyboard(hand: Hand) -> None:
    """The morning without a mouse."""
    page = hand.page
    picked = page.locator("#picks [aria-selected=true]")
    with hand.step("Open the inbox"):
        hand.press("g", "i")
        hand.arrived(page.get_by_role("heading", name="Inbox", level=1))
    all_of_them = page.locator("#inbox-list .row").count()
    with hand.step("Accept three suggestions"):
        hand.press("j")
        for number in range(3):
            hand.press("a")
            hand.left(all_of_them - 1 - number)
    with hand.step("Four threads into a box"):
        hand.press(*"xjxjxjx")
        expect(page.get_by_text("4 ticked:")).to_be_visible()
        hand.press("b")
        hand.type("kest")
        expect(picked).to_contain_text("Kestrel")
        hand.press("Enter")
        hand.told("4 conversations in Kestrel")
    with hand.step("Three threads into a new box"):
        hand.press(*"xjxjx")
        expect(page.get_by_text("3 ticked:")).to_be_visible()
        hand.press("b")
        hand.type("Harbour pier")
        expect(picked).to_contain_text("New box “Harbour pier”")
        hand.press("ArrowDown", "Enter")
        hand.told("3 conversations in Harbour pier")
    with hand.step("Move three boxes on the board"):
        hand.press("g", "2")
        hand.arrived(hand.card("Deal 1"))
        for key, name, stage in (
            ("j", "Deal 1", "Lead"),
            ("j", "Deal 2", "Qualified"),
            ("k", "Kestrel", "Qualified"),
        ):
            hand.walk(key, name)
            hand.press("]")
            hand.told(f"{name} moved to {stage}")
    with hand.step("Merge two boxes"):
        hand.press("/")
        hand.type("licence")
        expect(page.locator("#jumps [aria-selected=true]")).to_contain_text("Licence")
        hand.press("Enter")
        page.wait_for_url("**/b/*")
        hand.press("Shift+M")
        expect(page.get_by_label("Name of the other box")).to_be_focused()
        hand.type("supp")
        expect(page.locator("#merge-choices a")).to_have_count(1)
        hand.press("Tab", "Tab", "Enter")
        hand.arrived(page.locator("form:has-text('Merge for good') :focus"))
        hand.press("Enter")
        hand.arrived(page.get_by_text("merged Support into it"))
    with hand.step("Set a task"):
        hand.press("t")
        hand.type(TASK)
        hand.press("Tab")
        hand.type("tomorrow")
        hand.press("Enter")
        expect(page.locator(".task", has_text=TASK)).to_be_visible()


@pytest.mark.parametrize(("does", "first"), [(by_mouse, 0), (by_keyboard, 2)])
def test_a_reps_morning(hand: Hand, sessions: Sessions, does: Callable[[Hand], None], first: int) -> None:
    """Everything is where it belongs, and it took what docs/pages.md says, step by step."""
    does(hand)
    said = {step: Price(*numbers[first : first + 2]) for step, numbers in told_prices().items()}
    total = Price(sum(one.acts for one in hand.prices.values()), sum(one.letters for one in hand.prices.values()))
    assert {**hand.prices, "Together": total} == said
    if does is by_mouse:
        assert hand.happened["keydown"] == total.letters
        assert hand.happened["pointerdown"] >= total.acts  # Playwright clicks again where the page moved meanwhile
    else:
        assert hand.happened["pointerdown"] == 0
    with sessions() as session:
        _check(session)


def told_prices() -> dict[str, list[int]]:
    """The table of the morning in docs/pages.md: clicks, letters, keys, letters of each step."""
    morning = SAID.read_text("utf-8").partition("## A rep’s morning")[2]
    rows = re.findall(r"^\| (.+?) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", morning, re.MULTILINE)
    return {name: [int(number) for number in numbers] for name, *numbers in rows}


def _check(session: Session) -> None:
    filed = select(Conversation.subject, Box.name).join(Filing, Filing.conversation_id == Conversation.id)
    found = session.execute(filed.join(Box, Box.id == Filing.box_id).where(Filing.state == FILED))
    where = {one.subject: one.name for one in found}
    assert {subject: where.get(subject) for subject in KESTREL_MAIL} == dict.fromkeys(KESTREL_MAIL, "Kestrel")
    assert {subject: where.get(subject) for subject in NEW_MAIL} == dict.fromkeys(NEW_MAIL, "Harbour pier")
    answered = {f"Which {number}?": "Licence" for number in range(3)}
    assert {subject: where.get(subject) for subject in answered} == answered

    boxes = {box.name: box for box in session.scalars(select(Box))}
    stages = {name: boxes[name].stage.name for name in ("Deal 1", "Deal 2", "Kestrel", "Harbour pier")}
    assert stages == {"Deal 1": "Lead", "Deal 2": "Qualified", "Kestrel": "Qualified", "Harbour pier": "Prospect"}
    assert boxes["Support"].merged_into_id == boxes["Licence"].id
    task = session.scalars(select(Task).where(Task.title == TASK)).one()
    assert task.box_id == boxes["Licence"].id
    assert task.due_on in {date.today() + timedelta(days=days) for days in (1, 2)}  # in her time zone
