"""`tracker outbox list`, `queue`, `send-now` …: what the queue page does, for the operator."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from config.cli.base import Refused, rooms
from config.rooms import Rooms
from scheduler import letters, local_time, outbox, preparing, time_zones
from scheduler.calendars import days_off, team_days
from scheduler.letters import Attachment, Letter, LetterError
from scheduler.local_time import NINE, NoWorkingDay
from scheduler.outbox import About, OutboxError, ScheduledEmail, When, Zone
from scheduler.states import OPEN, State
from tracker import mailboxes, people
from tracker.db import transaction, utc_now
from tracker.mailboxes import Mailbox
from tracker.people import User, Viewer, viewer_of

MOST = 500  # lines


@click.command("list")
@click.option("--all", "everything", is_flag=True, help="What went, failed or was cancelled as well.")
@click.option("--mailbox", "address", help="Only this mailbox's.")
@click.option("--json", "as_json", is_flag=True)
def list_emails(everything: bool, address: str | None, as_json: bool) -> None:
    """What waits, and why it goes when it goes."""
    states = list(State) if everything else [*OPEN, State.FAILED, State.UNCERTAIN]
    with rooms() as furnished, transaction(furnished.sessions) as session:
        query = select(ScheduledEmail, Mailbox.address).join(Mailbox, Mailbox.id == ScheduledEmail.mailbox_id)
        query = query.where(ScheduledEmail.state.in_(states))
        if address is not None:
            query = query.where(ScheduledEmail.mailbox_id == _mailbox(session, address).id)
        found = session.execute(query.order_by(ScheduledEmail.due_at, ScheduledEmail.id).limit(MOST)).all()
        rows = [_told(email, sender) for email, sender in found]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    for row in [] if as_json else rows:
        why = "; ".join(str(row[name]) for name in ("moved_why", "reason", "remedy") if row[name])
        line = f"{row['key']}  {row['state']:9}  {row['when']}  {row['subject']}  to {', '.join(row['to'])}"
        click.echo(f"{line}  ({why})" if why else line)


def _told(email: ScheduledEmail, sender: str) -> dict[str, Any]:
    own = ZoneInfo("UTC")
    return {
        "key": email.key, "state": email.state, "mailbox": sender, "subject": email.subject, "to": email.to,
        "due_at": email.due_at.isoformat(), "wall_time": email.wall_time.isoformat(), "zone": email.zone,
        "when": local_time.in_words(email.due_at, ZoneInfo(email.zone), "", own),
        "sent_at": email.sent_at.isoformat() if email.sent_at else None, "message_id": email.rfc822_message_id,
        "moved_why": email.moved_why, "reason": email.reason, "remedy": email.remedy,
    }  # fmt: skip


@click.command()
@click.argument("mailbox")
@click.argument("to", nargs=-1, required=True)
@click.option("--subject", default="")
@click.option("--text", "text_file", type=click.File("r"), default="-", help="The text; else standard input.")
@click.option("--attach", "files", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--zone", help="An IANA zone; the recipient's own by default.")
@click.option("--at", "at", default="09:00", help="The time of day there.")
@click.option("--now", "at_once", is_flag=True, help="As soon as possible.")
def queue(
    mailbox: str, to: tuple[str, ...], subject: str, text_file: Any, files: tuple[Path, ...], zone: str | None,
    at: str, at_once: bool,
) -> None:  # fmt: skip
    """Queue a mail from MAILBOX for nine o'clock where TO (the first of them) is."""
    text = text_file.read()
    attached = tuple(Attachment(path.name, "application/octet-stream", path.read_bytes()) for path in files)

    def make(session: Session, now: datetime) -> ScheduledEmail:
        box = _mailbox(session, mailbox)
        owner = session.get_one(User, box.user_id)
        letter = Letter(
            letters.address(owner.name, box.address), tuple(letters.address("", one) for one in to),
            subject=subject, text=text, attachments=attached,
        )  # fmt: skip
        when = _when(session, owner, to[0], zone, _time(at), now, at_once=at_once)
        return outbox.queue(session, viewer_of(owner, "cli"), box, letter, when, About(), now=now)

    _do(make, "queued")


def _when(
    session: Session, owner: User, to: str, zone: str | None, at: time, now: datetime, *, at_once: bool
) -> When:
    inferred = time_zones.of_address(session, owner.team_id, to, now, owner.time_zone)
    name, country = zone or inferred.zone, None if zone else inferred.country
    try:
        there = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Refused(f"{name} is no time zone; expected a name such as Europe/Paris") from None
    if at_once:
        return When(local_time.wall_of(now, there), name, Zone.NOW, working_days=False)
    free = days_off.days_off(country, team_days.of_team(session, owner.team_id))
    wall = local_time.next_at(at, there, now, free)
    return When(wall, name, Zone.FIXED if zone else Zone.RECIPIENT, country=country)


def _time(given: str) -> time:
    try:
        return time.fromisoformat(given) if given else NINE
    except ValueError:
        raise Refused(f"{given} is no time of day; expected one such as 09:00") from None


@click.command()
@click.argument("key")
@click.argument("why", default="")
def hold(key: str, why: str) -> None:
    """Keep the mail KEY back until it is released."""
    _change(key, lambda session, viewer, email, _now: outbox.hold(session, viewer, email, why), "held")


@click.command()
@click.argument("key")
def release(key: str) -> None:
    """Let the held mail KEY go at its time."""
    _change(key, lambda session, viewer, email, now: outbox.release(session, viewer, email, now=now), "released")


@click.command()
@click.argument("key")
def cancel(key: str) -> None:
    """Take the mail KEY back."""
    _change(key, lambda session, viewer, email, now: outbox.cancel(session, viewer, email, now=now), "cancelled")


@click.command("send-now")
@click.argument("key")
def send_now(key: str) -> None:
    """Let the mail KEY go at once."""
    _change(key, lambda session, viewer, email, now: outbox.send_now(session, viewer, email, now=now), "sent now")


Change = Callable[[Session, Viewer, ScheduledEmail, datetime], None]


def _change(key: str, change: Change, done: str) -> None:
    def make(session: Session, now: datetime) -> ScheduledEmail:
        email = session.scalar(select(ScheduledEmail).where(ScheduledEmail.key == key))
        if email is None:
            raise Refused(f"There is no mail {key}; `tracker outbox list --all` shows those that there are")
        change(session, people.system_viewer(email.team_id, "cli"), email, now)
        return email

    _do(make, done)


def _do(make: Callable[[Session, datetime], ScheduledEmail], done: str) -> None:
    with rooms() as furnished:
        try:
            with transaction(furnished.sessions) as session:
                email = make(session, utc_now())
        except (OutboxError, LetterError, NoWorkingDay, PermissionError) as error:
            raise Refused(str(error)) from None
        _wake(furnished, email.mailbox_id)
    when = local_time.in_words(email.due_at, ZoneInfo(email.zone), "", ZoneInfo("UTC"))
    click.echo(f"{email.key}  {done}: {email.subject}, {when}" if email.state in OPEN else f"{email.key}  {done}")


def _wake(furnished: Rooms, mailbox_id: int) -> None:
    with suppress(Exception):  # a tick finds it anyway
        preparing.wake(furnished.jobs, mailbox_id)


def _mailbox(session: Session, address: str) -> Mailbox:
    found = mailboxes.by_address(session, address)
    if found is None:
        raise Refused(f"{address} is not connected; `tracker mailbox list` shows those that are")
    return found
