"""What reads add to the side panel in Gmail: what was opened of a thread, and tracking put in while one writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from flask import Flask

from tracker import due
from tracker.addresses import parse_addresses
from tracker.mailboxes import Mailbox
from tracker.panel import (
    Action,
    Asked,
    Button,
    Buttons,
    Inserted,
    Line,
    Outcome,
    Paragraph,
    Place,
    Refused,
    Section,
    Widget,
)
from tracker.web import frame
from webhooks import own_side, readings, tracking, tracking_html, written
from webhooks.readings import Shown
from webhooks.tracks import Confidence

OPENS, TRACK = 30, 20  #: where the sections stand
INSERT = "tracking.insert"
LAST = 5  #: of a thread's tracked mails
MOST_PEOPLE = 500  #: recipients of one mail that are looked at
TITLE = "Track this mail"
NO_LINKS = "Links stay as they are: only mail that Tracker sends has its links tracked."
CONNECT = "Connect this mailbox in Tracker first"
ALREADY = "This mail is tracked already"
#: Google's symbols for what `readings.ICONS` shows on pages.
ICONS = {
    Confidence.NONE: "schedule", Confidence.MACHINE: "info", Confidence.POSSIBLE: "help",
    Confidence.LIKELY: "visibility", Confidence.CERTAIN: "done",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tracking:
    """What this room is handed."""

    tracks_at: str  #: our address for pixels; empty if the recipients of mail don't reach it
    #: What the draft that is being written says, as HTML; empty if it isn't found. Asks Gmail: hold no session.
    draft: Callable[[Asked], str]

    # -- while one writes

    def offer(self, asked: Asked) -> Sequence[Section]:
        """Whether this mail can be tracked, and the button that does it."""
        if asked.mailbox is None:
            return []
        people = recipients(asked)
        standing = self._standing(asked, asked.mailbox, people)
        if not standing.opens:
            return [Section(TITLE, [Paragraph(f"{standing.words}.")])]
        button = Button(TITLE, Action(INSERT))
        return [Section(TITLE, [Paragraph(_promise(people)), Buttons([button])])]

    def insert(self, asked: Asked) -> Outcome:
        """Put a pixel into the mail, for the user, the mailbox and the time alone. Raises `Refused`."""
        mailbox = asked.mailbox
        if mailbox is None:
            raise Refused(CONNECT)
        standing = self._standing(asked, mailbox, recipients(asked))
        if not standing.opens:
            raise Refused(standing.words)
        asked.release()
        markup = self.draft(asked)
        if written.is_in(asked.db(), mailbox, markup):
            raise Refused(ALREADY)
        pixel = written.add(asked.db(), asked.user, mailbox, asked.now)
        return Inserted(tracking_html.pixel_tag(self.tracks_at, pixel.token), keep=True)

    def _standing(self, asked: Asked, mailbox: Mailbox, people: Sequence[str]) -> tracking.Standing:
        rules = tracking.rules(
            asked.db(), asked.user.team_id, mailbox.id, asked.user.id, people, self.tracks_at
        )  # fmt: skip
        return rules.standing(people, opens=True, clicks=False)


def recipients(asked: Asked) -> list[str]:
    """Whom the mail that is being written goes to, in normal form; those that are no addresses left out."""
    mail = asked.writing
    given = [*mail.to, *mail.cc, *mail.bcc][:MOST_PEOPLE] if mail is not None else []
    return list(dict.fromkeys(one.normalized for one in parse_addresses(given)))


def _promise(people: Sequence[str]) -> str:
    told = "You are told when it is read. Put it in last, just before you send. "
    if len(people) > 1:
        told += f"One of {len(people)}: with several recipients nobody can know who of them read it. "
    return told + NO_LINKS


# -- what was opened of a thread


def opens(asked: Asked) -> Sequence[Section]:
    """The last opens of the thread's tracked mails, for who may know of them."""
    if asked.conversation is None:
        return []
    found = readings.of_conversation(asked.db(), asked.viewer, asked.conversation.id, limit=LAST)
    return [Section("Opens", [_line(one, asked) for one in found], folded=1)] if found else []


def _line(shown: Shown, asked: Asked) -> Widget:
    mail, clock = shown.mail, due.zone(asked.zone)
    said = [shown.headline, *shown.counts]
    if mail.last_view_at is not None:
        said.append(f"last {moment(mail.last_view_at, asked.now, clock)}")
    if shown.is_read and mail.via:
        said.append(f"via {mail.via}")
    sent = f"Sent {moment(mail.sent_at, asked.now, clock)}" if mail.sent_at else ""
    why = f"{mail.why[:1].upper()}{mail.why[1:]}." if mail.why else ""
    return Line(
        ", ".join(said), label=f"{sent} to {_whom(shown)}", below=why, icon=ICONS[shown.confidence],
        url=f"{asked.url}/reads/{mail.key}",
    )  # fmt: skip


def _whom(shown: Shown) -> str:
    people = shown.mail.recipients
    return people[0] if len(people) == 1 else f"{len(people)} people"


def moment(at: datetime, now: datetime, zone: tzinfo) -> str:
    """An instant by somebody's clock: 14:02, or on another day 3 Nov, 14:02."""
    there, today = at.astimezone(zone), now.astimezone(zone).date()
    if there.date() == today:
        return f"{there:%H:%M}"
    year = f" {there.year}" if there.year != today.year else ""
    return f"{there.day} {there:%b}{year}, {there:%H:%M}"


def note(asked: Asked) -> Sequence[Section]:
    """Note that one of ours has the thread open, so that the picture which Gmail fetches for them is no read."""
    if asked.conversation is not None:
        own_side.seen(asked.db(), asked.user.id, asked.conversation.id, asked.now)
    return []


def init_app(app: Flask, handed: Tracking) -> None:
    """Add sections and actions to the panel of an application that has the frame."""
    panel = frame.of(app).panel
    panel.register_section(Place.COMPOSE, handed.offer, order=TRACK)
    panel.register_action(INSERT, handed.insert)
    panel.register_section(Place.THREAD, opens, order=OPENS)
    panel.register_section(Place.THREAD, note, order=OPENS)
