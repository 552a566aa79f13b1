"""The panel beside a mail that is being written, and beside a thread: sending later, templates, what is queued.

Gmail is the sandbox, the panel is posted to as Google does it, and nothing is stubbed but one crash.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, select

from gmail_sync.sandbox import Sandbox
from gmail_sync.sandbox.faults import Fault
from scheduler import outbox, sequence_sent, snippets
from scheduler.dispatch import Dispatcher
from scheduler.outbox import About, ScheduledEmail, When
from scheduler.post import Post
from scheduler.rich_text import clean
from scheduler.sequences import Step
from tests.gmail_sync.addon.client import Panel, moment
from tests.gmail_sync.addon.conftest import house, make_app
from tests.gmail_sync.addon.house import House
from tests.gmail_sync.syncing import ALICE, BOB
from tests.sandbox_fixtures import Api, as_raw, mail
from tests.scheduler.sending import a_letter, received
from tests.tracker.domain import a_box
from tests.tracker.web.factories_web import counted
from tracker import contacts, filing
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.db import transaction
from tracker.people import User

__all__ = ["house", "make_app"]

DANA, TEA = "dana@acme.test", "tea@other.test"
#: The Friday before Europe's clocks go forward, noon in London.
FRIDAY = datetime(2026, 3, 27, 12, tzinfo=UTC)
#: Nine in Berlin on the Monday after: summer time there.
NINE = datetime(2026, 3, 30, 7, tzinfo=UTC)
AT_NINE = "Mon 30 Mar, 09:00 in Berlin (your 08:00)"


@dataclass
class Desk:
    """Alice writes in Gmail, in London; Dana is in Berlin."""

    house: House
    sandbox: Sandbox
    box_id: int
    panel: Panel
    kept: dict[str, Api] = field(default_factory=dict)

    def api(self, who: str = ALICE) -> Api:
        """Gmail, as they use it themselves."""
        if who not in self.kept:
            self.kept[who] = Api(self.sandbox, who)
        return self.kept[who]

    def draft(self, subject: str = "The offer", to: str = f"Dana Okafor <{DANA}>", body: str = "Dear Dana",
              who: str = ALICE, thread_id: str = "", **headers: str) -> str:  # fmt: skip
        """Gmail saves what is being written; the draft's id."""
        message = {"raw": as_raw(mail(subject, sender=who, to=to, body=body, **headers))}
        message |= {"threadId": thread_id} if thread_id else {}
        answer = self.api(who).post("drafts", {"message": message})
        return str(answer["id"])

    def compose(self, *to: str, subject: str = "The offer", **more: object) -> Panel:
        """Open the panel beside it."""
        return self.panel.compose(to or [DANA], subject=subject, **more)  # type: ignore[arg-type]

    def queued(self) -> list[ScheduledEmail]:
        """What is in the outbox, the first first."""
        with self.house.sessions() as session:
            return list(session.scalars(select(ScheduledEmail).order_by(ScheduledEmail.id)))

    def work(self, at: datetime) -> None:
        """A worker looks at this instant."""
        post = Post(replace(self.house.team.services, now=lambda: at, patience=0.0))
        dispatcher = Dispatcher(post, threads=0)
        while dispatcher.step():
            pass
        dispatcher.stop()


@pytest.fixture
def desk(house: House, sandbox: Sandbox) -> Desk:
    for address in (DANA, TEA):
        sandbox.add_user(address)
    viewer = house.viewer()
    with transaction(house.sessions) as session:
        alice = session.get_one(User, house.user().id)
        alice.name, alice.time_zone = "Alice Archer", "Europe/London"
        made = a_box(session, viewer, "Acme", DANA, now=FRIDAY)
        dana = contacts.by_address(session, viewer.team_id, DANA)
        assert dana is not None
        contacts.change(session, viewer, dana, name="Dana Okafor", location="Berlin, Germany")
        box_id = made.id
    house.at(FRIDAY)
    return Desk(house, sandbox, box_id, house.panel())


# -- at their nine


def test_the_panel_says_when_it_is_nine_there_and_why_across_a_change_of_the_clocks(desk: Desk) -> None:
    shown = desk.compose()
    for words in (AT_NINE, "Sat 28 Mar is off there (Saturday).", "Europe/Berlin (likely)", "Their location says"):
        assert words in shown.text, words
    assert any(one.startswith("Tomorrow at their 9:00: Mon 30 Mar") for one in shown.options("when"))
    assert "In one minute, to try it out" not in shown.options("when")


def test_the_draft_that_is_being_written_goes_at_their_nine_pressed_twice_or_not(desk: Desk) -> None:
    desk.draft("Another mail"), desk.draft(to=TEA)
    draft = desk.draft()
    shown = desk.compose(subject="The  offer ").press("Send at their 9 AM")
    for words in (AT_NINE, "do not press Send", "09:00 by their clock (Europe/Berlin)"):
        assert words in shown.text, words
    (email,) = desk.queued()
    assert (email.draft_id, email.recipients, email.due_at) == (draft, [DANA], NINE)
    assert (email.state, email.origin, email.box_id) == ("queued", "gmail", None)
    assert shown.link("Open in Tracker") == f"https://tracker.example/outbox/{email.key}"
    again = desk.compose().press("Send at their 9 AM")
    assert AT_NINE in again.text
    assert [one.id for one in desk.queued()] == [email.id]
    assert received(desk.sandbox, DANA) == {}
    desk.work(NINE)
    assert received(desk.sandbox, DANA) == {"The offer": 1}


def test_four_presses_at_once_queue_once(desk: Desk) -> None:
    desk.draft()
    panels = [desk.house.panel() for _ in range(4)]

    def press(one: Panel) -> str:
        return one.compose([DANA], subject="The offer").press("Send at their 9 AM").text

    with ThreadPoolExecutor(4) as pool:
        shown = list(pool.map(press, panels))
    assert all(AT_NINE in text for text in shown), shown
    assert len(desk.queued()) == 1


def test_it_is_taken_back_and_the_draft_stays(desk: Desk) -> None:
    draft = desk.draft()
    shown = desk.compose().press("Send at their 9 AM")
    undo = shown.action("Undo")
    shown.press("Undo")
    assert "your draft stays in Gmail" in shown.text
    shown.act(undo)  # once more
    assert "your draft stays in Gmail" in shown.text
    assert [one.state for one in desk.queued()] == ["cancelled"]
    assert draft in [one["id"] for one in desk.api().get("drafts")["drafts"]]
    desk.compose().press("Send at their 9 AM")
    assert [one.state for one in desk.queued()] == ["cancelled", "queued"]


def test_of_drafts_that_look_the_same_one_is_chosen(desk: Desk) -> None:
    older, newer = desk.draft(body="The <b>first</b> & best"), desk.draft(body="The second")
    shown = desk.compose().press("Send at their 9 AM")
    assert desk.queued() == []
    assert shown.buttons == ["This one", "This one"]
    assert "The <b>first</b> & best" in shown.text.partition("The second")[2]  # the newest first
    shown.act(shown.widgets[2]["decoratedText"]["button"]["onClick"]["action"])
    assert AT_NINE in shown.text
    assert [one.draft_id for one in desk.queued()] == [older]
    shown = desk.compose().press("Send at their 9 AM")  # which of them is asked again: the other may be meant
    assert f"Queued already: goes {AT_NINE}" in shown.text
    shown.press("This one")
    assert [one.draft_id for one in desk.queued()] == [older, newer]


def test_it_is_the_draft_to_the_same_people_those_in_bcc_too(desk: Desk) -> None:
    other = desk.draft()
    draft = desk.draft(to=f"dana@ACME.test, {ALICE}", bcc=TEA)
    assert "Within working hours for everybody: 10:00 in Berlin, 09:00 in London." in desk.compose(bcc=[TEA]).text
    desk.compose(f"Dana <{DANA}>", bcc=[TEA], cc=[ALICE]).press("Send at their 9 AM")
    assert [one.draft_id for one in desk.queued()] == [draft]
    # One with another subject is asked about, and never taken.
    shown = desk.compose(subject="Not saved yet").press("Send at their 9 AM")
    assert "Is it one of these?" in shown.text
    assert len(desk.queued()) == 1
    shown.press("This one")
    assert [one.draft_id for one in desk.queued()] == [draft, other]


def test_what_gmail_has_not_saved_and_what_it_does_not_answer_is_said(desk: Desk) -> None:
    shown = desk.compose().press("Send at their 9 AM")
    assert shown.says.startswith("Gmail has not saved your draft yet; wait a second and press again")
    desk.draft()
    desk.sandbox.faults.add(Fault("status", "drafts.list", status=503, reason="backendError"))
    assert "; press again in" in shown.press("Send at their 9 AM").says
    desk.sandbox.faults.clear()
    with transaction(desk.house.sessions) as session:
        session.merge(desk.house.boxes[ALICE]).state = "attention"
    assert "not connected; connect it again" in shown.press("Send at their 9 AM").says
    assert desk.queued() == []
    assert "whom it goes to" in desk.panel.compose([]).text
    assert "whom it goes to" in desk.panel.do("outbox.send_at_nine").says


def test_who_dies_between_gmails_answer_and_the_commit_queued_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.draft()
    shown = desk.compose()

    def queue_and_die(*given: object, **named: object) -> None:
        outbox_queue(*given, **named)  # type: ignore[arg-type]
        raise RuntimeError("killed")

    outbox_queue = outbox.queue_draft
    with monkeypatch.context() as dying:
        dying.setattr(outbox, "queue_draft", queue_and_die)
        assert "nothing was changed" in shown.press("Send at their 9 AM").says
    assert desk.queued() == []
    assert AT_NINE in shown.press("Send at their 9 AM").text
    assert len(desk.queued()) == 1


def test_nobody_queues_a_teammates_draft_or_touches_their_mail(desk: Desk) -> None:
    theirs = desk.draft(who=BOB)
    shown = desk.compose()
    assert "gone from Gmail" in shown.do("outbox.send_draft", draft=theirs, when="nine").says
    with transaction(desk.house.sessions) as session:
        box = session.merge(desk.house.boxes[BOB])
        when = When(datetime(2026, 3, 31, 9), "UTC")
        letter = a_letter(BOB, TEA)
        email = outbox.queue(session, desk.house.viewer(BOB), box, letter, when, About(), now=FRIDAY)
    for action in ("outbox.cancel", "outbox.nine"):
        assert "no such mail" in shown.do(action, email=email.key).says
        assert "no such mail" in shown.do(action, email="nonsense").says
    assert [one.state for one in desk.queued()] == ["preparing"]


# -- at another time


def at_wall(wall: datetime) -> Any:
    """What Gmail's picker gives for a wall time."""
    return moment(int(wall.replace(tzinfo=UTC).timestamp() * 1000))


def test_another_time_is_chosen(desk: Desk) -> None:
    for when, wall, due in (
        ("Another time there", datetime(2026, 3, 29, 2, 30), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),  # a gap
        ("A time of my own clock", datetime(2026, 3, 31, 10), datetime(2026, 3, 31, 9, tzinfo=UTC)),
        ("Next Monday", None, NINE),
    ):
        desk.draft(when)
        shown = desk.compose(subject=when)
        (option,) = [one for one in shown.choice("when")["items"] if one["text"].startswith(when)]
        shown.press("Send then", {"when": option["value"]} | ({"moment": at_wall(wall)} if wall else {}))
        assert desk.queued()[-1].due_at == due
    assert len(desk.queued()) == 3


def test_a_time_that_is_none_is_refused_in_words(desk: Desk) -> None:
    desk.draft()
    shown = desk.compose()
    past = at_wall(datetime(2026, 3, 27, 9))
    assert "has passed" in shown.press("Send then", {"when": "there", "moment": past}).says
    assert shown.press("Send then", {"when": "there"}).says == "Choose the day and the time, too"
    for nonsense in ("soon", "now", "", "x" * 500):  # the demo's "soon" is not offered here
        assert shown.press("Send then", {"when": nonsense}).says == "Choose when it goes"
    assert desk.queued() == []


# -- beside a thread


def test_a_queued_answer_is_shown_beside_its_thread_and_changed_there(desk: Desk) -> None:
    house = desk.house
    arrived = house.mail(sender=f"Dana Okafor <{DANA}>", subject="The offer", Message_ID="<x@acme.test>")
    with transaction(house.sessions) as session:
        conversation = session.get_one(Conversation, arrived.conversation_id)
        filing.file(session, house.viewer(), conversation, session.get_one(Box, desk.box_id))
    desk.draft("Re: The offer", thread_id=arrived.thread_id, reply_to="x@acme.test")
    shown = desk.compose(subject="Re: The offer")
    shown.press("Send then", {"when": "there", "moment": at_wall(datetime(2026, 4, 2, 15))})
    (email,) = desk.queued()
    assert (email.conversation_id, email.box_id) == (arrived.conversation_id, desk.box_id)
    thread = house.panel().open(arrived.gmail_id, arrived.thread_id)
    assert "Goes Thu 2 Apr, 15:00 in Berlin (your 14:00)" in thread.text
    assert f"“Re: The offer” to Dana Okafor <{DANA}>" in thread.text.replace("MARKUP ", "")
    thread.press("At their next 9 AM")
    assert (thread.says, desk.queued()[0].due_at) == (f"It goes {AT_NINE}", NINE)
    assert f"Goes {AT_NINE}" in thread.text
    thread.press("Cancel it")
    assert "your draft stays in Gmail" in thread.says
    assert "Queued mail" not in thread.text
    assert desk.queued()[0].state == "cancelled"


def test_what_is_queued_for_the_threads_people_is_shown_to_who_may_see_it(desk: Desk, engine: Engine) -> None:
    house = desk.house
    arrived = house.mail(sender=f"Dana Okafor <{DANA}>", to=f"{ALICE}, {BOB}", subject="Hello")
    desk.draft("Secret plans")
    desk.compose(subject="Secret plans").press("Send at their 9 AM")
    opened = house.panel()
    with counted(engine) as one:
        assert "“Secret plans”" in opened.open(arrived.gmail_id, arrived.thread_id).text
    theirs = house.mail(BOB, sender=f"Dana Okafor <{DANA}>", to=f"{ALICE}, {BOB}", subject="Hello")
    assert "Secret plans" not in house.panel(BOB).open(theirs.gmail_id, theirs.thread_id).text
    for number in range(4):
        desk.draft(f"Secret plan {number}")
        desk.compose(subject=f"Secret plan {number}").press("Send at their 9 AM")
    with counted(engine) as many:
        opened.open(arrived.gmail_id, arrived.thread_id)
    assert opened.text.count("“Secret plan") == 5
    assert len(many) <= len(one)


def test_follow_ups_of_the_thread_are_told(desk: Desk) -> None:
    house = desk.house
    sent = desk.api().post("drafts/send", {"id": desk.draft()})
    house.team.sync(house.boxes[ALICE])
    with transaction(house.sessions) as session:
        conversation_id = session.scalars(select(Conversation.id)).one()
        copy = sequence_sent.last_own(session, house.viewer(), conversation_id)
        assert copy is not None
        sequence_sent.start(session, house.viewer(), copy, [Step(3, "<p>Any news?</p>")], now=FRIDAY)
    shown = desk.panel.open(sent["id"], sent["threadId"])
    assert "/c/" in shown.link("0 of 1 sent; they go on if no answer comes")


# -- templates


def a_template(desk: Desk, html: str, *, who: str = ALICE, name: str = "Offer") -> None:
    with transaction(desk.house.sessions) as session:
        snippets.add(session, desk.house.viewer(who), name, "Another subject", clean(html), shared=False)


def test_a_template_is_put_in_filled_and_escaped(desk: Desk) -> None:
    with transaction(desk.house.sessions) as session:
        dana = contacts.by_address(session, desk.house.viewer().team_id, DANA)
        assert dana is not None
        contacts.change(session, desk.house.viewer(), dana, name="<img/src=x onerror=alert(1)> Okafor")
    a_template(desk, "<p>Dear <b>{{last_name}}</b>, about {{box.name}}: {{full_name}} {{title|friend}}</p>")
    a_template(desk, "<p>Bob’s own</p>", who=BOB, name="Bob’s")
    shown = desk.compose()
    assert shown.options("template") == ["Offer"]
    shown.press("Insert")
    (put,) = shown.inserted
    assert put["contentType"] == "MUTABLE_HTML"
    assert "<img" not in put["content"]
    assert "<p>Dear <b>Okafor</b>, about Acme: &lt;img" in put["content"]
    assert put["content"].endswith("friend</p>")


def test_what_is_missing_is_said_before_and_can_be_typed(desk: Desk) -> None:
    a_template(desk, "<p>Dear {{first_name}} of {{phone}} in {{location}}, {{title}}</p>")
    shown = desk.compose().press("Insert")
    assert shown.inserted == []
    assert "Nothing is known for {{phone}}, {{title}} of" in shown.text
    assert "Dear Dana of {{phone}} in Berlin, Germany" in shown.text
    shown.press("templates.insert_typed", {"field-0": "Acme <b>&</b> \x00 {{title}}"})
    (put,) = shown.inserted
    assert put["content"].startswith("<p>Dear Dana of Acme &lt;b&gt;&amp;&lt;/b&gt; ")
    assert "in Berlin, Germany, {{title}}</p>" in put["content"]
    stranger = desk.compose(TEA).press("Insert")
    assert "{{first_name}}" in stranger.text
    assert desk.panel.do("templates.insert", {"template": "nonsense"}).says.startswith("Choose a template")
