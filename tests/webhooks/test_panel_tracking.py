"""Tracking that is put in by hand while one writes in Gmail, until a read is told; and opens beside a thread.

Gmail is the sandbox, the panel is posted to as Google does it, hits come by the statement of the pixel's door.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.message import EmailMessage

import pytest
from sqlalchemy import Engine, select, text

from gmail_sync.sandbox import Sandbox
from gmail_sync.sandbox.faults import Fault
from gmail_sync.sandbox.payload import encode
from scheduler import looking
from scheduler.dispatch import Dispatcher
from scheduler.outbox import ScheduledEmail
from scheduler.post import Post
from tests.gmail_sync.addon.client import Panel
from tests.gmail_sync.addon.conftest import MakeApp, house, make_app
from tests.gmail_sync.addon.house import House
from tests.gmail_sync.syncing import ALICE, BOB
from tests.sandbox_fixtures import Api, Clock
from tests.tracker.domain import a_box
from tests.tracker.web.factories_web import browser_of, counted
from tests.webhooks.reading import PROXY
from tracker import filing
from tracker.conversations import Conversation
from tracker.db import plain_url, transaction
from tracker.messages import Message
from webhooks import hit_intake, reads, tracking_settings, written
from webhooks.hit_record import a_hit
from webhooks.hit_store import Store
from webhooks.hits import Hit
from webhooks.own_side import OwnView
from webhooks.tracks import TrackedEmail

__all__ = ["house", "make_app"]

DANA, TEA = "dana@acme.test", "tea@other.test"
GOOGLE = "66.249.84.1"
PIXEL = re.compile(r'<img src="https://tracker\.example/t/([A-Za-z0-9_-]{32})\.gif"')


@dataclass
class Desk:
    """Alice writes in Gmail, and Dana reads."""

    house: House
    sandbox: Sandbox
    clock: Clock
    url: str
    panel: Panel
    kept: dict[str, Api] = field(default_factory=dict)

    def api(self, who: str = ALICE) -> Api:
        if who not in self.kept:
            self.kept[who] = Api(self.sandbox, who)
        return self.kept[who]

    def later(self, **units: float) -> datetime:
        """Time passes."""
        self.clock.advance(**units)
        self.house.at(self.clock())
        return self.clock()

    def track(self, *to: str, **more: object) -> str:
        """Press the button; what is put into the draft."""
        self.panel.compose(to or [DANA], **more).press("Track this mail")  # type: ignore[arg-type]
        (put,) = self.panel.inserted
        assert put["contentType"] == "IMMUTABLE_HTML"
        return str(put["content"])

    def draft(self, html: str, *to: str, subject: str = "The offer", who: str = ALICE, thread_id: str = "") -> str:
        """Gmail saves what is being written; the draft's id."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = who, ", ".join(to or [DANA]), subject
        if thread_id:
            mail["In-Reply-To"] = mail["References"] = "<x@acme.test>"
        mail.set_content("Dear Dana")
        mail.add_alternative(f"<p>Dear Dana</p>{html}", subtype="html")
        message = {"raw": encode(mail.as_bytes())} | ({"threadId": thread_id} if thread_id else {})
        return str(self.api(who).post("drafts", {"message": message})["id"])

    def send(self, html: str, *to: str, **more: str) -> dict[str, str]:
        """Press *Send* in Gmail, and Tracker syncs; Gmail's message."""
        draft = self.draft(html, *to, **more)
        self.later(seconds=5)
        sent = self.api(more.get("who", ALICE)).post("drafts/send", {"id": draft})
        self.house.team.sync(self.house.boxes[more.get("who", ALICE)])
        return dict(sent)

    def hit(self, token: str, address: str = GOOGLE) -> None:
        """Somebody's mail program asks for the picture; it is judged at once."""
        line = a_hit("open", token, self.clock(), address, PROXY, {"accept": "image/*"}, None).line()

        async def keep() -> None:
            store = Store(plain_url(self.url), "tests")
            await store.connect()
            await store.keep([line])
            await store.close()

        asyncio.run(keep())
        self.judge()

    def judge(self) -> None:
        with transaction(self.house.sessions) as session:
            hit_intake.take_in_some(session)
        with transaction(self.house.sessions) as session:
            reads.judge_some(session, self.clock())

    def rows(self) -> list[TrackedEmail]:
        with self.house.sessions() as session:
            return list(session.scalars(select(TrackedEmail).order_by(TrackedEmail.id)))

    def verdicts(self) -> list[str | None]:
        with self.house.sessions() as session:
            return list(session.scalars(select(Hit.verdict).order_by(Hit.at, Hit.id)))


@pytest.fixture
def desk(house: House, sandbox: Sandbox, clock: Clock, database_url: str) -> Desk:
    for address in (DANA, TEA):
        sandbox.add_user(address)
    sandbox.clock = clock
    for box in sandbox.mailboxes():
        box.messages._clock = clock
    house.at(clock())
    return Desk(house, sandbox, clock, database_url, house.panel())


def token_of(html: str) -> str:
    found = PIXEL.match(html)
    assert found is not None, html
    return found[1]


def test_a_mail_is_tracked_by_hand_from_the_draft_to_a_read_in_the_boxs_timeline(desk: Desk) -> None:
    arrived = desk.house.mail(sender=DANA, subject="The offer", Message_ID="<x@acme.test>")
    with transaction(desk.house.sessions) as session:
        box = a_box(session, desk.house.viewer(), "Acme", DANA, now=desk.clock())
        filing.file(session, desk.house.viewer(), desk.house.conversation(session, arrived), box)
        key, box_id = box.key, box.id
    assert "Links stay as they are" in desk.panel.compose([DANA]).text
    put = desk.track()
    token = token_of(put)
    (row,) = desk.rows()
    assert (row.token, row.user_id, row.mailbox_id) == (token, desk.house.user().id, desk.house.boxes[ALICE].id)
    assert (row.message_id, row.conversation_id, row.sent_at, row.recipients) == (None, None, None, [])
    desk.later(seconds=20)
    desk.hit(token)  # she looks at her own draft
    assert desk.verdicts() == ["own"]
    sent = desk.send(put, subject="Re: The offer", thread_id=arrived.thread_id)
    (row,) = desk.rows()
    assert (row.recipients, row.sent_at, row.by_hand, row.clicks) == ([DANA], desk.clock(), True, False)
    with desk.house.sessions() as session:
        assert session.get_one(Message, row.message_id).subject == "Re: The offer"
    desk.judge()
    desk.later(minutes=7)
    desk.hit(token)
    assert desk.verdicts() == ["own", "proxy"]
    (row,) = desk.rows()
    assert (row.box_id, row.conversation_id) == (box_id, arrived.conversation_id)
    browser = browser_of(desk.house.app, desk.house.user())
    page = " ".join(re.sub("<[^>]*>", " ", browser.get(f"/b/{key}").text).split())
    assert f"{DANA} probably read “Re: The offer”" in page, page
    shown = desk.panel.open(sent["id"], sent["threadId"])
    assert f"Sent 10:00 to {DANA}" in shown.text
    assert "Read, likely, 1 view, last 10:07, via Gmail’s proxy" in shown.text
    assert "Gmail’s proxy fetched it, as it does when somebody opens the mail" in shown.text
    desk.later(days=3)
    shown.open(sent["id"], sent["threadId"])
    assert "last 11 Aug, 10:07" in shown.text
    page = shown.link("Read, likely, 1 view, last 11 Aug, 10:07, via Gmail’s proxy")
    assert browser.get(page.removeprefix("https://tracker.example")).status_code == 200


def test_nobody_who_is_never_tracked_is_and_it_says_why(desk: Desk) -> None:
    with transaction(desk.house.sessions) as session:
        team_id = desk.house.viewer().team_id
        tracking_settings.never_track(session, team_id, DANA, desk.clock())
        tracking_settings.never_track(session, team_id, "other.test", desk.clock())
    assert "Not tracked: mail to other.test never is" in desk.panel.compose([TEA]).text
    for to, bcc in (([DANA], []), (["somebody@else.test"], [DANA]), ([f"Tea <x@sub.{'other.test'}>"], [])):
        shown = desk.panel.compose(to, bcc=bcc)
        assert "Not tracked: " in shown.text
        assert "Track this mail" not in shown.buttons
        assert shown.do("tracking.insert").says.startswith("Not tracked: ")
    assert "it stays within the team" in desk.panel.compose([BOB]).text
    assert desk.rows() == []


def test_who_may_not_be_tracked_is_not_either_if_they_are_added_before_it_is_sent(desk: Desk) -> None:
    with transaction(desk.house.sessions) as session:
        tracking_settings.never_track(session, desk.house.viewer().team_id, DANA, desk.clock())
    put = desk.track(TEA)
    desk.send(put, TEA, DANA)
    desk.hit(token_of(put))
    assert (desk.rows(), desk.verdicts()) == ([], [])


def test_a_token_is_bound_once_to_the_first_mail_that_goes(desk: Desk) -> None:
    put = desk.track(DANA, subject="The offer")
    first = desk.send(put)
    (bound,) = desk.rows()
    desk.later(hours=1)
    desk.send(f"<blockquote>{put}</blockquote>", subject="Re: The offer", thread_id=first["threadId"])
    other = desk.send(put, TEA, subject="Copied")
    assert other["id"] != first["id"]
    (row,) = desk.rows()
    assert (row.id, row.message_id, row.sent_at) == (bound.id, bound.message_id, bound.sent_at)
    assert row.recipients == [DANA]
    # It is no draft's any more: an answer that quotes it may carry a pixel of its own.
    desk.draft(f"<blockquote>{put}</blockquote>", subject="Re: The offer")
    mine = desk.track(DANA, subject="Re: The offer")
    assert token_of(mine) != token_of(put)


def test_only_a_mail_that_was_sent_from_that_mailbox_binds(desk: Desk) -> None:
    put = desk.track()
    desk.send(put, DANA, who=BOB)
    box = desk.sandbox.mailbox(ALICE)
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"], mail["Message-ID"] = ALICE, ALICE, "As if", "<as@if.test>"
    mail.set_content(put, subtype="html")
    box.insert(mail.as_bytes(), label_ids=["INBOX"])
    desk.house.team.sync(desk.house.boxes[ALICE])
    (row,) = desk.rows()
    assert row.sent_at is None
    desk.send(put)
    (row,) = desk.rows()
    assert row.sent_at == desk.clock()
    with transaction(desk.house.sessions) as session:  # as if Gmail had kept it for later when it came
        session.execute(text("UPDATE tracked_emails SET sent_at = NULL, message_id = NULL"))
        written.look_again(session, desk.clock())
    assert (desk.rows()[0].sent_at, desk.rows()[0].message_id) == (row.sent_at, row.message_id)


def test_it_is_put_in_once_and_two_pixels_count_as_one(desk: Desk) -> None:
    put = desk.track(DANA, subject="The offer")
    desk.draft(put)
    shown = desk.panel.compose([DANA], subject="The offer").press("Track this mail")
    assert (shown.says, shown.inserted) == ("This mail is tracked already", [])
    desk.sandbox.faults.add(Fault("status", "drafts.*", status=403, reason="forbidden"))
    second = desk.track(DANA, subject="The offer")  # nobody knows then what the draft says
    desk.sandbox.faults.clear()
    desk.send(f"{second}{put}", subject="With both")
    (row,) = desk.rows()
    assert row.token == token_of(second)


def test_of_several_recipients_nobody_is_named(desk: Desk) -> None:
    assert "One of 2" in desk.panel.compose([DANA], bcc=[TEA]).text
    put = desk.track(DANA, bcc=[TEA])
    sent = desk.send(put, DANA, TEA)
    desk.later(minutes=5)
    desk.hit(token_of(put))
    text_ = desk.panel.open(sent["id"], sent["threadId"]).text
    assert "One of 2 read it, likely" in text_
    assert "to 2 people" in text_


def test_a_draft_that_is_tracked_and_sent_later_is_read_in_the_outbox(desk: Desk) -> None:
    put = desk.track(DANA, subject="The offer")
    desk.draft(put)
    desk.panel.compose([DANA], subject="The offer").press("Send at their 9 AM")
    with desk.house.sessions() as session:
        email = session.scalars(select(ScheduledEmail)).one()
    assert email.state == "queued"
    desk.clock.now = email.due_at
    post = Post(replace(desk.house.team.services, now=desk.clock, patience=0.0))
    dispatcher = Dispatcher(post, threads=0)
    while dispatcher.step():
        pass
    dispatcher.stop()
    desk.house.team.sync(desk.house.boxes[ALICE])
    looking.arrive_all(post)
    desk.later(minutes=5)
    desk.hit(token_of(put))
    (row,) = desk.rows()
    assert (row.scheduled_email_id, row.recipients, row.views) == (email.id, [DANA], 1)
    assert "Read, likely" in browser_of(desk.house.app, desk.house.user()).get("/outbox?show=sent").text


def test_ones_own_pages_never_load_the_pixel(desk: Desk) -> None:
    put = desk.track()
    desk.send(put)
    (row,) = desk.rows()
    with desk.house.sessions() as session:
        message = session.get_one(Message, row.message_id)
        conversation = session.get_one(Conversation, row.conversation_id)
        assert token_of(put) in (message.html or "")
    browser = browser_of(desk.house.app, desk.house.user())
    for page in (f"/c/{conversation.key}", f"/m/{message.key}/frame?images=1", f"/compose?reply={message.key}"):
        answer = browser.get(page)
        assert answer.status_code == 200, page
        assert "Dear Dana" in answer.text, page
        assert token_of(put) not in answer.text, page


def test_where_nobody_reaches_us_it_is_not_offered(make_app: MakeApp, desk: Desk) -> None:
    app = make_app(public_url="http://localhost:8080", gmail_api_url="https://gmail.googleapis.com")
    panel = Panel(app, desk.sandbox, ALICE)
    assert "nobody outside reaches this Tracker" in panel.compose([DANA]).text
    assert "Track this mail" not in panel.buttons


def test_what_was_never_sent_is_forgotten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "MOST", 3)
    token = token_of(desk.track())
    desk.hit(token)
    desk.later(days=89)
    kept = desk.track()
    for days, left in ((0, 2), (2, 1)):
        now = desk.later(days=days)
        with transaction(desk.house.sessions) as session:
            written.forget(session, now)
        assert len(desk.rows()) == left
    assert desk.rows()[0].token == token_of(kept)
    assert desk.verdicts() == []
    with transaction(desk.house.sessions) as session:
        alice, box = desk.house.user(), session.merge(desk.house.boxes[ALICE])
        made = [written.add(session, alice, box, desk.clock()).token for _ in range(5)]
    assert {one.token for one in desk.rows()} == set(made[2:])


def test_who_has_the_thread_open_in_gmail_is_no_reader(desk: Desk, engine: Engine) -> None:
    put = desk.track()
    sent = desk.send(put)
    desk.later(minutes=3)
    desk.hit(token_of(put))  # Gmail loads the picture, and the panel is opened a moment later
    assert desk.verdicts() == ["proxy"]
    desk.later(seconds=2)
    for _ in range(2):
        desk.panel.open(sent["id"], sent["threadId"])
    desk.judge()
    assert desk.verdicts() == ["own"]
    assert "Not read, as far as can be told" in desk.panel.open(sent["id"], sent["threadId"]).text
    with desk.house.sessions() as session:
        (view,) = session.scalars(select(OwnView))
        assert (view.user_id, view.conversation_id) == (desk.house.user().id, desk.rows()[0].conversation_id)
    desk.later(minutes=5)
    desk.hit(token_of(put))
    assert desk.verdicts() == ["own", "proxy"]


def test_a_teammate_who_may_not_read_the_mail_learns_nothing_of_it(desk: Desk, engine: Engine) -> None:
    put = desk.track(DANA, subject="The offer")
    sent = desk.send(put)
    desk.later(minutes=5)
    desk.hit(token_of(put))
    theirs = desk.house.mail(BOB, sender=DANA, subject="Something else")
    assert "Opens" not in desk.house.panel(BOB).open(theirs.gmail_id, theirs.thread_id).text
    assert "not in Tracker yet" in desk.house.panel(BOB).open(sent["id"], sent["threadId"]).text
    with counted(engine) as one:
        desk.panel.open(sent["id"], sent["threadId"])
    with transaction(desk.house.sessions) as session:
        for _ in range(8):
            session.add(TrackedEmail(
                team_id=desk.house.viewer().team_id, user_id=desk.house.user().id, recipients=[TEA],
                conversation_id=desk.rows()[0].conversation_id, sent_at=desk.clock(),
            ))  # fmt: skip
    with counted(engine) as many:
        desk.panel.open(sent["id"], sent["threadId"])
    assert desk.panel.text.count("Not opened yet") == 5
    assert len(many) <= len(one)
