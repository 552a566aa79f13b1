"""The outbox: what people do with scheduled emails. A scheduled email is a Gmail draft with a time to go."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from scheduler import letters, local_time, tz_release
from scheduler.emails import BOTH as BOTH
from scheduler.emails import DELETED_IN_GMAIL as DELETED_IN_GMAIL
from scheduler.emails import About as About
from scheduler.emails import Found as Found
from scheduler.emails import Guard as Guard
from scheduler.emails import OutboxConflict as OutboxConflict
from scheduler.emails import OutboxError as OutboxError
from scheduler.emails import ScheduledEmail as ScheduledEmail
from scheduler.emails import Sender as Sender
from scheduler.emails import When as When
from scheduler.emails import Zone as Zone
from scheduler.emails import chosen
from scheduler.letters import Letter
from scheduler.outbox_lists import by_key as by_key
from scheduler.outbox_lists import counts as counts
from scheduler.outbox_lists import in_sight as in_sight
from scheduler.outbox_lists import inside as inside
from scheduler.outbox_lists import letter_of as letter_of
from scheduler.outbox_lists import listed as listed
from scheduler.outbox_lists import of_box as of_box
from scheduler.outbox_lists import of_contact as of_contact
from scheduler.outbox_lists import of_conversation as of_conversation
from scheduler.outbox_lists import shared as shared
from scheduler.outbox_lists import visible as visible
from scheduler.outbox_lists import when_of as when_of
from scheduler.states import ARROWS, EDITABLE, OPEN, State
from tracker import conversations, events
from tracker.addresses import written
from tracker.charsets import clean_line
from tracker.contacts import ContactAddress
from tracker.mailboxes import Mailbox
from tracker.people import Role, Viewer
from webhooks import tracking

SNIPPET = 200  # characters

# -- people's verbs


def queue(
    session: Session, viewer: Viewer, mailbox: Mailbox, letter: Letter, when: When, about: About, *, now: datetime
) -> ScheduledEmail:
    """Queue a mail. Its draft is made by a job; wake it with `preparing.wake` after the commit.

    Raises `OutboxError`, `LetterError`, `PermissionError`.
    """
    _may_send(viewer, mailbox)
    email = _new(session, viewer, mailbox, when, about, now)
    for name, value in _content(letter).items():
        setattr(email, name, value)
    return _add(session, viewer, email)


def queue_draft(
    session: Session, viewer: Viewer, mailbox: Mailbox, draft: Found, when: When, about: About, *, now: datetime
) -> ScheduledEmail:
    """Schedule a draft that lies in Gmail. Raises `OutboxError` if it is scheduled already."""
    _may_send(viewer, mailbox)
    taken = select(ScheduledEmail.id).where(
        ScheduledEmail.mailbox_id == mailbox.id,
        ScheduledEmail.draft_id == draft.draft_id,
        ScheduledEmail.state.in_(OPEN),
    )
    if session.scalar(taken) is not None:
        raise OutboxError("This draft is scheduled already; change its time on the queue page")
    if not draft.recipients:
        raise OutboxError("This draft has no recipient yet; add one in Gmail, then schedule it")
    email = _new(session, viewer, mailbox, when, about, now)
    email.origin, email.behind, email.state, email.prepared_at = "gmail", False, State.QUEUED.value, now
    email.is_reply = draft.is_reply
    for name, value in as_found(draft).items():
        setattr(email, name, value)
    return _add(session, viewer, email)


def edit(
    session: Session, viewer: Viewer, email: ScheduledEmail, letter: Letter, *, now: datetime,
    version: int | None = None,
) -> None:  # fmt: skip
    """Change what a mail says or whom it goes to; Gmail's draft follows. Raises `OutboxError`, `LetterError`."""
    _may_change(session, viewer, email, version)
    if email.state not in EDITABLE:
        raise OutboxConflict(_too_late(email))
    to = State.HELD if email.state == State.HELD else State.PREPARING
    behind = email.held_by != BOTH  # Gmail's draft stays as it is until its sender has chosen
    columns = {**_content(letter), "behind": behind, "try_at": now, "edited_in_gmail_at": None, "decided_at": now}
    columns["only_tracking"] = False
    columns["contact_id"] = contact_of(session, email.team_id, columns["recipients"])
    _change(session, email, to, **columns)
    _record(session, viewer, "email.edited", email)


def reschedule(
    session: Session, viewer: Viewer, email: ScheduledEmail, when: When, *, now: datetime,
    version: int | None = None,
) -> None:  # fmt: skip
    """Choose another time. Raises `OutboxError`."""
    _may_change(session, viewer, email, version)
    if email.state not in EDITABLE:
        raise OutboxConflict(_too_late(email))
    if when.instant <= now:
        raise OutboxError("That time has passed there; choose a later one, or send it now")
    _change(session, email, State(email.state), **_timing(when, now))
    _record(session, viewer, "email.rescheduled", email)


def guard(
    session: Session, viewer: Viewer, email: ScheduledEmail, guards_off: Collection[Guard], *,
    version: int | None = None,
) -> None:  # fmt: skip
    """Choose which guards keep quiet for a mail of one's own. Raises `OutboxConflict`, `PermissionError`."""
    if not (viewer.is_system or viewer.user_id == email.user_id):
        raise PermissionError("Only whoever queued this mail chooses what may hold it")
    _may_change(session, viewer, email, version)
    if email.state not in EDITABLE:
        raise OutboxConflict(_too_late(email))
    _change(session, email, State(email.state), guards_off=sorted(one.value for one in guards_off))
    _record(session, viewer, "email.guarded", email, guards_off=email.guards_off)


def track(session: Session, viewer: Viewer, email: ScheduledEmail, *, opens: bool, clicks: bool) -> None:
    """Choose whether it is told when a mail is read, and when a link is clicked; its draft follows.

    Raises `OutboxConflict`.
    """
    _may_change(session, viewer, email, None)
    if email.state not in EDITABLE:
        raise OutboxConflict(_too_late(email))
    to = State.HELD if email.state == State.HELD else State.PREPARING
    columns = {"behind": True, "only_tracking": email.only_tracking or not email.behind}
    waits = email.held_by == BOTH  # as in `edit`
    _change(session, email, to, **({} if waits else columns), track_opens=opens, track_clicks=clicks)
    _record(session, viewer, "email.tracked", email, opens=opens, clicks=clicks)


def send_now(
    session: Session, viewer: Viewer, email: ScheduledEmail, *, now: datetime, version: int | None = None
) -> None:
    """Let it go as soon as the quota allows; what was held is released, and the guards keep quiet.

    Wake the dispatcher (`dispatch`'s tick comes within a second anyway).
    """
    _may_change(session, viewer, email, version)
    if email.state not in EDITABLE:
        raise OutboxConflict(_too_late(email))
    wall = local_time.wall_of(now, ZoneInfo(email.zone))
    when = When(wall, email.zone, Zone.NOW, working_days=False, country=email.country)
    columns = {**_timing(when, now), "due_at": now, "next_at": now, "guards_off": [guard.value for guard in Guard]}
    text = chosen(email, now)
    to = _ready(text.get("behind", email.behind))
    _change(session, email, to, **columns, **text, **_CLEARED)
    _record(session, viewer, "email.sent_now", email)


def hold(
    session: Session, viewer: Viewer, email: ScheduledEmail, why: str = "", *, version: int | None = None,
    by: str = "person", remedy: str | None = None,
) -> None:  # fmt: skip
    """Keep it back until somebody releases it. Raises `OutboxError`."""
    _may_change(session, viewer, email, version)
    if State.HELD not in ARROWS[State(email.state)]:
        raise OutboxConflict(_too_late(email))
    _change(session, email, State.HELD, reason=why or None, remedy=remedy, held_by=by)
    _record(session, viewer, "email.held", email, why=why, guard=by)


def release(
    session: Session, viewer: Viewer, email: ScheduledEmail, when: When | None = None, *, now: datetime,
    version: int | None = None, gmails: bool = False,
) -> None:  # fmt: skip
    """Let a held mail go at its time, or at another. The guard that held it stays quiet from now on.

    What was changed here and in Gmail goes as it stands here, or (`gmails`) as it stands in Gmail.
    Raises `OutboxError`: a time that has passed needs another (`when`), or `send_now`.
    """
    _may_change(session, viewer, email, version)
    if email.state != State.HELD:
        raise OutboxConflict("It is not held")
    if when is None and email.due_at <= now:
        raise OutboxError("Its time has passed; choose another, or send it now")
    timing = _timing(when, now) if when is not None else {}
    quiet = {Guard(email.held_by)} if email.held_by in {guard.value for guard in Guard} else set()
    off = sorted({*email.guards_off, *quiet})
    text = chosen(email, now, gmails=gmails)
    to = _ready(text.get("behind", email.behind))
    _change(session, email, to, **{"decided_at": now, **timing}, guards_off=off, **text, **_CLEARED)
    _record(session, viewer, "email.released", email)


def cancel(
    session: Session, viewer: Viewer, email: ScheduledEmail, why: str = "", *, now: datetime,
    version: int | None = None,
) -> None:  # fmt: skip
    """Take it back. The draft that Tracker made goes; one that was written or edited in Gmail stays there."""
    _may_change(session, viewer, email, version)
    if State.CANCELLED not in ARROWS[State(email.state)] or email.state == State.SENDING:
        raise OutboxConflict(_too_late(email))
    made = email.origin == "tracker" and not email.only_in_gmail and email.held_by != BOTH
    discard = made and (email.draft_id is not None or email.draft_tried_at is not None)
    _change(session, email, State.CANCELLED, reason=why or None, remedy=None, behind=discard, try_at=now)
    _record(session, viewer, "email.cancelled", email, why=why)


def restore(
    session: Session, viewer: Viewer, email: ScheduledEmail, when: When | None = None, *, now: datetime,
    version: int | None = None,
) -> None:  # fmt: skip
    """Queue again what was cancelled, failed, or (by a person's decision) may never have gone.

    Raises `OutboxError`: a time that has passed needs another (`when`).
    """
    _may_change(session, viewer, email, version)
    if email.state not in (State.CANCELLED, State.FAILED, State.UNCERTAIN):
        raise OutboxConflict("It is queued already")
    if when is None and email.due_at <= now:
        raise OutboxError("Its time has passed; choose another")
    gone = email.state == State.UNCERTAIN or email.reason == DELETED_IN_GMAIL
    if gone and email.only_in_gmail:
        raise OutboxError("Its text was Gmail's alone and is gone with the draft; write it anew")
    timing = {"decided_at": now} | (_timing(when, now) if when is not None else {})
    draft: dict[str, Any] = {}
    if gone:
        draft = {"draft_id": None, "draft_message_id": None, "draft_thread_id": None, "draft_tried_at": None}
    elif email.held_by == BOTH:  # nobody has chosen: what stands in Gmail is none that we know, and holds it again
        draft = {"draft_message_id": ""}
    _change(
        session, email, State.PREPARING, behind=True, only_tracking=False, try_at=now, attempts=0,
        claim_token=None, **timing, **draft, **_CLEARED,
    )  # fmt: skip
    _record(session, viewer, "email.restored", email)


def settle_by_hand(session: Session, viewer: Viewer, email: ScheduledEmail, *, went: bool, now: datetime) -> None:
    """A person says of an uncertain mail whether it went. Raises `OutboxError`."""
    _may_change(session, viewer, email, None)
    if email.state != State.UNCERTAIN:
        raise OutboxConflict("There is no doubt about it")
    if went:
        _change(session, email, State.SENT, sent_at=email.claimed_at or now, **_CLEARED)
        tracking.sent(session, email.id, email.claimed_at or now)
        _record(session, viewer, "email.sent", email)
    else:
        cancel(session, viewer, email, "you said that it did not go", now=now)


# -- what the room's own machinery shares

_CLEARED: dict[str, Any] = {"reason": None, "remedy": None, "held_by": None, "missed_at": None}


def move(session: Session, email: ScheduledEmail, to: State, /, **columns: Any) -> bool:
    """Change state along an arrow, as system work; whether it was this call that changed it."""
    if to not in ARROWS[State(email.state)]:
        raise OutboxError(f"There is no way from {email.state} to {to}")
    return _set(session, email, to, **columns)


def as_found(draft: Found) -> dict[str, Any]:
    """The columns that say what Gmail's draft is."""
    return {
        "draft_id": draft.draft_id, "draft_message_id": draft.message_id, "draft_thread_id": draft.thread_id,
        "subject": draft.subject, "to": list(draft.to), "recipients": list(draft.recipients),
        "snippet": draft.snippet[:SNIPPET],
    }  # fmt: skip


def contact_of(session: Session, team_id: int, recipients: Sequence[str]) -> int | None:
    """The contact that a mail to these people belongs to: the first one's."""
    query = select(ContactAddress.contact_id).where(
        ContactAddress.team_id == team_id, ContactAddress.normalized == (recipients[0] if recipients else "")
    )
    return session.scalar(query)


def record(session: Session, email: ScheduledEmail, kind: str, *, actor: str = events.SYSTEM, **data: Any) -> None:
    """Record what happened to a mail, in the transaction of the change."""
    data |= {"inside": inside(session, [email])[0]}
    events.record_many(session, [event_of(email, kind, actor=actor, **data)])


def event_of(email: ScheduledEmail, kind: str, *, actor: str = events.SYSTEM, **data: Any) -> dict[str, Any]:
    """An event about a mail, as `events.record_many` takes it; `inside` says that none but the team gets it."""
    to = ", ".join(email.to)[:300] or "somebody who is not in To"  # nobody in Bcc is named
    told = {"email": email.key, "subject": email.subject, "to": to}
    return {
        "team_id": email.team_id, "kind": kind, "actor": actor, "user_id": email.user_id, "box_id": email.box_id,
        "conversation_id": email.conversation_id, "mailbox_id": email.mailbox_id,
        "data": told | {name: value for name, value in data.items() if value},
    }  # fmt: skip


def text_hash(letter: Letter) -> bytes:
    """What a mail says, so that the same text can be recognized: case and blanks don't count."""
    said = " ".join(f"{letter.subject} {letter.text or letter.html}".lower().split())
    return hashlib.sha256(said.encode()).digest()


# -- inside


def _new(
    session: Session, viewer: Viewer, mailbox: Mailbox, when: When, about: About, now: datetime
) -> ScheduledEmail:
    if when.rule != Zone.NOW and when.instant <= now:
        raise OutboxError("That time has passed there; choose a later one, or send it now")
    email = ScheduledEmail(
        team_id=mailbox.team_id, mailbox_id=mailbox.id, user_id=viewer.user_id or mailbox.user_id,
        box_id=about.box.id if about.box else None,
        conversation_id=about.conversation.id if about.conversation else None,
        contact_id=about.contact.id if about.contact else None,
        reply_thread_id=about.reply_thread_id, guards_off=sorted(guard.value for guard in about.guards_off),
        sequence_run_id=about.sequence_run_id, sequence_step=about.sequence_step,
        track_opens=about.track_opens, track_clicks=about.track_clicks,
        state=State.PREPARING.value, behind=True, try_at=now, created_at=now, version=1,
    )  # fmt: skip
    for name, value in _timing(when, now).items():
        setattr(email, name, value)
    return email


def _add(session: Session, viewer: Viewer, email: ScheduledEmail) -> ScheduledEmail:
    if email.contact_id is None:
        email.contact_id = contact_of(session, email.team_id, email.recipients)
    session.add(email)
    session.flush()
    _record(session, viewer, "email.queued", email)
    return email


def _content(letter: Letter) -> dict[str, Any]:
    recipients = [*dict.fromkeys(one.normalized for one in letter.recipients)]
    if not recipients:
        raise letters.LetterError("to", "Whom does it go to? Give at least one recipient")
    return {
        "raw": letters.as_bytes(letter),
        "subject": clean_line(letter.subject)[: letters.SUBJECT_LIMIT],
        "to": [written(one) for one in letter.to],
        "recipients": recipients,
        "snippet": " ".join(letter.text.split())[:SNIPPET],
        "text_hash": text_hash(letter),
        "is_reply": letter.in_reply_to is not None,
    }


def _timing(when: When, now: datetime) -> dict[str, Any]:
    due = now if when.rule == Zone.NOW else when.instant
    return {
        "wall_time": when.wall, "zone_rule": when.rule.value, "zone": when.zone, "country": when.country,
        "working_days": when.working_days, "late_rule": when.late.value, "due_at": due, "next_at": due,
        "moved_why": None, "resolved_at": now, "rules": tz_release.current(), "decided_at": now,
    }  # fmt: skip


def _ready(behind: bool) -> State:
    return State.PREPARING if behind else State.QUEUED


def _may_send(viewer: Viewer, mailbox: Mailbox) -> None:
    if mailbox.team_id != viewer.team_id or not (viewer.is_system or mailbox.user_id == viewer.user_id):
        raise PermissionError("Only its owner sends from this mailbox")


def _may_change(session: Session, viewer: Viewer, email: ScheduledEmail, version: int | None) -> None:
    owner = viewer.is_system or viewer.user_id == email.user_id or viewer.role == Role.ADMIN
    if email.team_id != viewer.team_id or not owner:
        raise PermissionError("Only whoever queued this mail may change it")
    if version is not None and version != email.version:
        raise OutboxConflict("It was changed meanwhile; look at it again")


def _too_late(email: ScheduledEmail) -> str:
    if email.state in (State.SENDING, State.SENT):
        return "It is going out already" if email.state == State.SENDING else "It has gone out already"
    return f"It is {email.state} already; look at it again"


def _change(session: Session, email: ScheduledEmail, to: State, /, **columns: Any) -> None:
    if to != email.state and to not in ARROWS[State(email.state)]:
        raise OutboxConflict(_too_late(email))
    if not _set(session, email, to, **columns):
        raise OutboxConflict("It was changed, or went out, meanwhile; look at it again")


def _set(session: Session, email: ScheduledEmail, to: State, /, **columns: Any) -> bool:
    changed = session.execute(
        update(ScheduledEmail)
        .where(
            ScheduledEmail.id == email.id,
            ScheduledEmail.state == email.state,
            ScheduledEmail.version == email.version,
        )
        .values(state=to.value, version=ScheduledEmail.version + 1, **columns)
        .execution_options(synchronize_session=False)
    )
    if cast("CursorResult[Any]", changed).rowcount != 1:
        return False
    session.refresh(email)
    return True


def _record(session: Session, viewer: Viewer, kind: str, email: ScheduledEmail, **data: Any) -> None:
    wall = {"wall": email.wall_time.isoformat(), "zone": email.zone, "due_at": _utc(email.due_at)}
    data |= {"inside": inside(session, [email])[0]}
    event = event_of(email, kind, actor=viewer.actor, **wall, **data)
    events.record_many(session, [event | {"user_id": viewer.user_id}])


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")


def _follow_merge(session: Session, loser: int, survivor: int) -> None:
    moved = update(ScheduledEmail).where(ScheduledEmail.conversation_id == loser)
    session.execute(moved.values(conversation_id=survivor).execution_options(synchronize_session=False))


conversations.on_merge.insert(0, _follow_merge)  # the outbox's rows are locked before tracked mail's; see `arrive`
