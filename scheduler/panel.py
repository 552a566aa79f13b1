"""What sending later adds to the side panel in Gmail; and the draft that is being written, sent later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from flask import Flask, url_for
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from scheduler import outbox, panel_drafts, panel_templates, panel_thread, telling, timing
from scheduler import panel_words as words
from scheduler.local_time import NINE
from scheduler.outbox import About, Found, OutboxError, ScheduledEmail
from scheduler.panel_drafts import Candidates
from scheduler.post import Post
from scheduler.states import OPEN
from scheduler.timing import Asked as When
from scheduler.timing import Timing, TimingError
from tracker import filing
from tracker.conversations import Conversation, Thread
from tracker.db import among
from tracker.jobs import Jobs
from tracker.panel import (
    Action,
    Asked,
    Button,
    Buttons,
    Card,
    Choice,
    Choosing,
    Line,
    Moment,
    Option,
    Outcome,
    Paragraph,
    Place,
    Refused,
    Section,
    Shown,
    Widget,
)
from tracker.web import frame

SEND, TEMPLATES, QUEUED = 10, 30, 50  #: where the sections stand
AT_NINE, LATER, DRAFT = "outbox.send_at_nine", "outbox.send_later", "outbox.send_draft"
TITLE = "Send at their 9 AM"
FEW = 4  # recipients whose zone is told
KEY = 100  # characters of an id that comes from outside
LEAVE_IT = "Close this window; do not press Send. The draft stays in Gmail and goes out as it stands there."
CHOICES = {
    When.TOMORROW: "Tomorrow at their 9:00", When.MONDAY: "Next Monday at their 9:00",
    When.THERE: "Another time there", When.MINE: "A time of my own clock",
    When.SOON: "In one minute, to try it out",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SendLater:
    """Sending the mail that is being written, and what it is handed."""

    post: Post
    jobs: Jobs
    soon: bool = False  #: offer "in one minute": the demo's

    # -- what is shown

    def offer(self, asked: Asked) -> Sequence[Section]:
        """When it is nine there and how we know, the button, and the other choices."""
        if asked.mailbox is None:
            connect = Button("Connect it", url=f"{asked.url}{url_for('gmail_sync.show')}")
            return [Section(TITLE, [Paragraph(f"{panel_drafts.CONNECT}."), Buttons([connect])])]
        where = self._places(asked)
        if not where:
            told = "Say whom it goes to and open this again: it says when it is 9 AM there, and how we know."
            return [Section(TITLE, [Paragraph(told)])]
        first = [*self._at_nine(asked, where), *map(words.evidence, where[:FEW])]
        buttons = Buttons([Button(TITLE, Action(AT_NINE), filled=True)])
        return [Section(TITLE, [*first, buttons]), Section("At another time", self._other(asked, where), folded=0)]

    def _places(self, asked: Asked) -> list[timing.Place]:
        people = panel_drafts.people(asked.writing).everybody
        return timing.places(asked.db(), asked.user, people, asked.now)

    def _at_nine(self, asked: Asked, where: Sequence[timing.Place]) -> list[Widget]:
        try:
            planned = timing.plan(Timing(), where, words.clock(asked), asked.now)
        except TimingError as error:
            return [Paragraph(f"{error}.")]
        return [Line(planned.words, label="It goes", below=words.sentences(planned.notes), icon="schedule_send")]

    def _other(self, asked: Asked, where: Sequence[timing.Place]) -> list[Widget]:
        offered = [one for one in CHOICES if self.soon or one != When.SOON]
        options = [Option(one.value, self._option(asked, where, one), one == offered[0]) for one in offered]
        only = Option("1", "Only on working days there", chosen=True)
        return [
            Choice("when", "When", options),
            Moment("moment", "Day and time, for the choices that ask for one", with_time=True),
            Choice("working_days", "Weekends, public holidays, the team’s days off", [only], Choosing.SWITCHES),
            Buttons([Button("Send then", Action(LATER))]),
        ]

    def _option(self, asked: Asked, where: Sequence[timing.Place], one: When) -> str:
        if one not in (When.TOMORROW, When.MONDAY):
            return CHOICES[one]
        try:
            planned = timing.plan(Timing(one), where, words.clock(asked), asked.now)
        except TimingError:
            return CHOICES[one]
        return f"{CHOICES[one]}: {planned.words}"

    # -- what is done

    def at_nine(self, asked: Asked) -> Outcome:
        """Queue the draft that is being written for their next nine. Raises `Refused`."""
        return self._send(asked, Timing(), {"when": When.NINE.value})

    def later(self, asked: Asked) -> Outcome:
        """Queue it for another time. Raises `Refused`."""
        chosen, moment = asked.text("when"), asked.text("moment")
        said = {"when": chosen, "moment": moment, "working_days": asked.text("working_days")}
        return self._send(asked, self._timing(said), said)

    def chosen(self, asked: Asked) -> Outcome:
        """Queue the one of several drafts that was picked. Raises `Refused`."""
        found = panel_drafts.one(self.post, asked, asked.params.get("draft", "")[:KEY])
        return self._queue(asked, found, self._timing(asked.params))

    def _timing(self, given: Mapping[str, str]) -> Timing:
        offered = {When.NINE.value, *(one.value for one in CHOICES if self.soon or one != When.SOON)}
        if given.get("when") not in offered:
            raise Refused("Choose when it goes")
        asked = When(given["when"])
        working = asked == When.NINE or bool(given.get("working_days"))
        if asked not in (When.THERE, When.MINE):
            return Timing(asked, working_days=working)
        wall = _wall(given.get("moment", ""))
        return Timing(asked, at=wall.time(), on=wall.date(), working_days=working)

    def _send(self, asked: Asked, wanted: Timing, said: Mapping[str, str]) -> Outcome:
        found = panel_drafts.written(self.post, asked)
        if found.only is None:
            return Shown(_which(asked, found, said), push=True)
        return self._queue(asked, found.only, wanted)

    def _queue(self, asked: Asked, found: Found, wanted: Timing) -> Outcome:
        """Queue a draft once, however often it is asked for."""
        mailbox = panel_drafts.mailbox(asked)
        if (email := _queued(asked, [found.draft_id]).get(found.draft_id)) is None:
            people = [words.address(one) for one in found.recipients]
            where = timing.places(asked.db(), asked.user, people, asked.now) or [timing.at_home(asked.user)]
            try:
                when = timing.plan(wanted, where, words.clock(asked), asked.now).when
                with asked.db().begin_nested():  # who pressed at the same time was first: theirs is shown
                    outbox.queue_draft(
                        asked.db(), asked.viewer, mailbox, found, when, _about(asked, found), now=asked.now
                    )  # fmt: skip
            except (TimingError, OutboxError, PermissionError) as error:
                raise Refused(str(error)) from None
            except IntegrityError:
                pass
            email = _queued(asked, [found.draft_id]).get(found.draft_id)
        if email is None:
            raise Refused("It was changed meanwhile; press again")
        return Shown(self._card(asked, email))

    def _card(self, asked: Asked, email: ScheduledEmail) -> Card:
        goes = telling.when(email, words.clock(asked), asked.now)
        line = Line(goes, label="It goes", below=words.sentence(telling.why(email, "your")), icon="schedule_send")
        people = [words.address(one) for one in email.recipients[:FEW]]
        where = timing.places(asked.db(), asked.user, people, asked.now)
        undo = Button("Undo", Action(panel_thread.CANCEL, {"email": email.key, "back": "compose"}))
        page = Button("Open in Tracker", url=f"{asked.url}{url_for('outbox.show', key=email.key)}")
        widgets: list[Widget] = [line, *map(words.evidence, where), Paragraph(LEAVE_IT), Buttons([undo, page])]
        return Card("Queued", [Section("", widgets)], subtitle=email.subject or words.NO_SUBJECT, name="queued")


def _which(asked: Asked, found: Candidates, said: Mapping[str, str]) -> Card:
    """Which of several drafts is meant, to be chosen."""
    queued = _queued(asked, [one.draft_id for one in found.drafts])
    lines: list[Widget] = [_draft(asked, one, queued.get(one.draft_id), said) for one in found.drafts]
    told = "Several drafts go to the same people. Which one is meant? The newest is first."
    if not found.alike:
        told = "No draft that Gmail has saved goes to these people with this subject. Is it one of these?"
    return Card("Which draft?", [Section("", [Paragraph(told), *lines])], name="which-draft")


def _draft(asked: Asked, found: Found, queued: ScheduledEmail | None, said: Mapping[str, str]) -> Widget:
    if queued is not None:
        goes = telling.when(queued, words.clock(asked), asked.now)
        return Line(found.subject or words.NO_SUBJECT, label=f"Queued already: goes {goes}", below=found.snippet)
    button = Button("This one", Action(DRAFT, {**said, "draft": found.draft_id}))
    return Line(found.subject or words.NO_SUBJECT, below=found.snippet, icon="drafts", button=button)


def _queued(asked: Asked, draft_ids: Sequence[str]) -> dict[str, ScheduledEmail]:
    """What waits of one's own mailbox, by the drafts."""
    query = select(ScheduledEmail).where(
        ScheduledEmail.mailbox_id == panel_drafts.mailbox(asked).id,
        among(ScheduledEmail.draft_id, draft_ids),
        ScheduledEmail.state.in_(OPEN),
        outbox.visible(asked.viewer),
    )
    return {one.draft_id: one for one in asked.db().scalars(query) if one.draft_id is not None}


def _about(asked: Asked, found: Found) -> About:
    """What an answer belongs to: its thread's conversation, and the first box that is in."""
    query = (
        select(Conversation)
        .join(Thread, Thread.conversation_id == Conversation.id)
        .where(Thread.mailbox_id == panel_drafts.mailbox(asked).id, Thread.gmail_thread_id == found.thread_id)
    )
    conversation = asked.db().scalar(query)
    if conversation is None:
        return About()
    return About(conversation=conversation, box=filing.first_box(asked.db(), conversation.id))


def _wall(moment: str) -> datetime:
    """A wall time of the form; a day alone is its nine o'clock. Raises `Refused`."""
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        raise Refused("Choose the day and the time, too") from None
    return datetime.combine(found.date(), NINE) if "T" not in moment else found.replace(tzinfo=None)


def init_app(app: Flask, post: Post, jobs: Jobs, *, soon: bool = False) -> SendLater:
    """Add sections and actions to the panel of an application that has the frame."""
    panel, send = frame.of(app).panel, SendLater(post, jobs, soon)
    panel.register_section(Place.COMPOSE, send.offer, order=SEND)
    panel.register_action(AT_NINE, send.at_nine)
    panel.register_action(LATER, send.later)
    panel.register_action(DRAFT, send.chosen)
    panel_thread.register(panel, jobs, order=QUEUED)
    panel_templates.register(panel, order=TEMPLATES)
    return send


def draft_html(post: Post, asked: Asked) -> str:
    """What the draft that is being written says, as HTML; for the rooms below that can't ask Gmail."""
    return panel_drafts.html(post, asked)
