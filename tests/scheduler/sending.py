"""What the tests of sending share: a team at the sandbox, mails in its outbox, and what the recipients got."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from gmail_sync.sandbox import Sandbox
from scheduler import letters, outbox, preparing
from scheduler.dispatch import Dispatcher
from scheduler.due import Places
from scheduler.letters import Letter
from scheduler.outbox import About, ScheduledEmail, When, Zone
from scheduler.post import Post
from scheduler.states import State
from tests.gmail_sync.syncing import Team
from tracker.db import transaction
from tracker.events import Event
from tracker.jobs import Again
from tracker.mailboxes import Mailbox
from tracker.people import Viewer, system_viewer

#: A Tuesday, 08:00 in London.
NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
NINE = datetime(2026, 11, 24, 9)


class Clock:
    """A clock that tests set."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **units: float) -> None:
        """Move on, by the units of timedelta."""
        self.now += timedelta(**units)


@dataclass
class Office:
    """A team, its post, and a clock."""

    team: Team
    post: Post
    clock: Clock

    @property
    def sandbox(self) -> Sandbox:
        """Gmail."""
        return self.team.sandbox

    def queue(
        self, mailbox: Mailbox, to: str | Sequence[str] = "dora@outside.example", subject: str = "Offer", *,
        text: str = "Good morning.", when: When | None = None, about: About | None = None, **letter: Any,
    ) -> ScheduledEmail:  # fmt: skip
        """Queue a mail for nine in London."""
        with transaction(self.team.sessions) as session:
            return outbox.queue(
                session, self.viewer(mailbox), mailbox, a_letter(mailbox.address, to, subject, text, **letter),
                when or at_nine(), about or About(), now=self.clock(),
            )  # fmt: skip

    def viewer(self, mailbox: Mailbox) -> Viewer:
        """System work in the mailbox's team."""
        return system_viewer(mailbox.team_id, "tests")

    def prepare(self, mailbox: Mailbox, *, tries: int = 8) -> None:
        """Make the drafts, as the job does, without its waiting."""
        for _ in range(tries):
            try:
                preparing.prepare_mailbox(self.post, mailbox.id)
            except Again:
                unblock(self.team, mailbox)
                self.hurry(mailbox)
                continue
            return
        raise AssertionError("The drafts were never made")

    def hurry(self, mailbox: Mailbox) -> None:
        """What Gmail did not see to is tried again at once."""
        with transaction(self.team.sessions) as session:
            statement = text("UPDATE scheduled_emails SET try_at = :now WHERE mailbox_id = :id AND behind")
            session.execute(statement, {"id": mailbox.id, "now": self.clock()})

    def prepared(self, mailbox: Mailbox, **named: Any) -> ScheduledEmail:
        """A mail whose draft is in Gmail."""
        email = self.queue(mailbox, **named)
        self.prepare(mailbox)
        return self.read(email)

    def dispatcher(self, **options: Any) -> Dispatcher:
        """One that works in the test's own thread."""
        return Dispatcher(self.post, **({"threads": 0} | options))

    def dispatch(self, *, rounds: int = 30, seconds: float = 0.0) -> None:
        """Send what is due; between rounds the clock goes on by some seconds."""
        dispatcher = self.dispatcher()
        try:
            for _ in range(rounds):
                if not dispatcher.step() and not seconds:
                    return
                self.clock.advance(seconds=seconds)
        finally:
            dispatcher.stop()

    def read(self, email: ScheduledEmail) -> ScheduledEmail:
        """The row as it is now."""
        with self.team.sessions() as session:
            return session.get_one(ScheduledEmail, email.id)

    def state(self, email: ScheduledEmail) -> str:
        """The state as it is now."""
        return self.read(email).state

    def set(self, email: ScheduledEmail, **columns: Any) -> None:
        """Change columns behind the room's back."""
        with transaction(self.team.sessions) as session:
            row = session.get_one(ScheduledEmail, email.id)
            for name, value in columns.items():
                setattr(row, name, value)

    def events(self, email: ScheduledEmail) -> list[str]:
        """What happened to it, in order."""
        with self.team.sessions() as session:
            query = select(Event.kind).where(Event.data["email"].astext == email.key).order_by(Event.id)
            return [kind.removeprefix("email.") for kind in session.scalars(query)]

    def delivered(self, address: str = "dora@outside.example") -> Counter[str]:
        """What a sandbox user received, by subject."""
        return received(self.sandbox, address)

    def with_post(self, **changes: Any) -> Office:
        """The same office with another post."""
        return replace(self, post=replace(self.post, **changes))


def make_office(team: Team, *, clock: Clock | None = None, places: Places | None = None, **post: Any) -> Office:
    """An office in which time stands still, and nobody waits for anything."""
    ticking = clock or Clock()
    services = replace(team.services, now=ticking, patience=0.0)
    team.sandbox.clock = ticking
    for box in team.sandbox.mailboxes():
        box.messages._clock = ticking
    team.sandbox.quota.units_per_minute = 0
    return Office(replace(team, services=services), Post(services, places or Places(), **post), ticking)


def a_letter(
    from_: str, to: str | Sequence[str] = "dora@outside.example", subject: str = "Offer",
    text: str = "Good morning.", **named: Any,
) -> Letter:  # fmt: skip
    """A small letter."""
    return Letter(
        from_=letters.address("", from_),
        to=tuple(letters.address("", one) for one in (to.split(",") if isinstance(to, str) else to)),
        subject=subject, text=text, **named,
    )  # fmt: skip


def at_nine(zone: str = "Europe/London", **named: Any) -> When:
    """Nine o'clock on that Tuesday."""
    return When(**({"wall": NINE, "zone": zone, "rule": Zone.RECIPIENT} | named))


def received(sandbox: Sandbox, address: str) -> Counter[str]:
    """What a sandbox user received, by subject."""
    box = sandbox.mailbox(address)
    found: Counter[str] = Counter()
    for id_ in box.message_ids(include_spam_trash=True):
        if "SENT" not in box.label_ids(id_):
            found[str(message_from_bytes(box.messages.raw(box.messages.get(id_)))["Subject"])] += 1
    return found


def sent_by(sandbox: Sandbox, address: str) -> Counter[str]:
    """What a sandbox user sent, by subject."""
    box = sandbox.mailbox(address)
    return Counter(
        str(message_from_bytes(box.messages.raw(box.messages.get(id_)))["Subject"])
        for id_ in box.message_ids(include_spam_trash=True)
        if "SENT" in box.label_ids(id_)
    )


def drafts_of(sandbox: Sandbox, address: str) -> dict[str, str]:
    """A sandbox user's drafts: id and subject."""
    box = sandbox.mailbox(address)
    rows = sandbox.store.rows("SELECT id, message_id FROM drafts WHERE user_id = ?", box.user_id)
    raws = {row["id"]: box.messages.raw(box.drafts.message(row["id"])) for row in rows}
    return {id_: str(message_from_bytes(raw)["Subject"]) for id_, raw in raws.items()}


def unblock(team: Team, mailbox: Mailbox) -> None:
    """Gmail's wish that we wait is over."""
    with transaction(team.sessions) as session:
        statement = text("UPDATE gmail_budgets SET blocked_until = NULL WHERE mailbox_id = :id")
        session.execute(statement, {"id": mailbox.id})


def states(session: Session) -> Mapping[str, int]:
    """How many mails are in each state."""
    return Counter(session.scalars(select(ScheduledEmail.state)))


def days(*names: str) -> dict[date, str]:
    """Days off."""
    return {date.fromisoformat(name): "Company day" for name in names}


def ids(emails: Iterable[ScheduledEmail]) -> list[int]:
    """Their ids."""
    return [email.id for email in emails]


__all__ = ["NINE", "NOW", "Clock", "Office", "State", "a_letter", "at_nine", "days", "drafts_of", "ids",
           "make_office", "received", "sent_by", "states", "unblock"]  # fmt: skip
