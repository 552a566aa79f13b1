"""What a person wrote, made into mails: one to all recipients or one each, its fields filled in, with its time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler import letters, placeholders, replies, rich_text, snippets, timing
from scheduler.letters import Attachment, Letter, LetterError
from scheduler.replies import Original
from scheduler.timing import Place, Planned, Timing
from tracker.addresses import Address, parse_addresses, written
from tracker.boxes import Box
from tracker.conversations import Thread
from tracker.db import among
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message, Recipient
from tracker.people import OwnAddress, User
from webhooks import tracking

MOST_SEPARATE = 50  #: mails that one form makes
_PIECES = re.compile(r'((?:"[^"]*"|<[^<>]*>|[^,;\n])*)(?:[,;\n]|$)')


@dataclass(frozen=True, slots=True)
class Written:
    """A mail as it stands in the form. `html` is cleaned; its fields are not filled in yet."""

    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    subject: str = ""
    html: str = ""
    quote: str = ""  #: HTML of the mail that is answered; never filled in
    files: tuple[Attachment, ...] = ()
    separate: bool = False
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail that is to go."""

    letter: Letter
    planned: Planned
    places: tuple[Place, ...]
    missing: tuple[str, ...]  #: fields that nothing is known for


def addresses(field: str, typed: str) -> tuple[Address, ...]:
    """The addresses of a line of the form, each once. Raises `LetterError` for what is none."""
    found: dict[str, Address] = {}
    waiting = ""  # "Doe, Jane <jane@…>": a comma may be part of a name
    for piece in _PIECES.findall(typed.replace("\x00", "")):
        waiting = f"{waiting}, {piece}" if waiting else piece.strip()
        known = parse_addresses([waiting])
        for one in known:
            _check(field, one)
            found.setdefault(one.normalized, one)
        waiting = "" if known else waiting
    if waiting.strip(" ,;"):
        raise LetterError(field, f"“{waiting.strip(' ,;')[:60]}” is no address; write it as anna@example.com")
    return tuple(found.values())


def _check(field: str, address: Address) -> None:
    try:
        letters.mailable(address)
    except ValueError as error:
        raise LetterError(field, str(error)) from None


def in_line(addresses: Sequence[Address]) -> str:
    """Addresses as a line of the form."""
    return ", ".join(written(one) for one in addresses)


def mails(
    session: Session, user: User, mailbox: Mailbox, written: Written, box: Box | None, asked: Timing, now: datetime
) -> list[Mail]:
    """The mails that a form makes, in as many queries for many as for a few.

    Raises `LetterError` and `TimingError`.
    """
    _check_recipients(written)
    everybody = written.to or written.cc or written.bcc
    where = {one.address.normalized: one for one in timing.places(session, user, everybody, now)}
    home = timing.at_home(user)
    values = snippets.values(session, user, everybody, box) if "{{" in written.subject + written.html else {}
    groups = [(one,) for one in written.to] if written.separate else [everybody]
    made = []
    for group in groups:
        people = tuple(where[one.normalized] for one in group if one.normalized in where) or (home,)
        filled = placeholders.fill(written.subject, written.html, values.get(group[0].normalized, {}))
        one = replace(written, subject=filled.subject, html=filled.html)
        letter = _letter(user, mailbox, replace(one, to=group) if written.separate else one)
        made.append(Mail(letter, timing.plan(asked, people, timing.own_zone(user), now), people, filled.missing))
    return made


def _check_recipients(written: Written) -> None:
    if not (written.to or written.cc or written.bcc):
        raise LetterError("to", "Whom does it go to? Give at least one recipient")
    if written.separate and (written.cc or written.bcc):
        raise LetterError("cc", "Separate mails go to one person each; put everybody into To, or send one mail")
    if written.separate and len(written.to) > MOST_SEPARATE:
        raise LetterError("to", f"At most {MOST_SEPARATE} separate mails at once; queue the others after these")


def _letter(user: User, mailbox: Mailbox, written: Written) -> Letter:
    html = written.html + written.quote
    return Letter(
        from_=letters.address(user.name, mailbox.address),
        to=written.to,
        cc=written.cc,
        bcc=written.bcc,
        subject=written.subject,
        html=html,
        text=rich_text.to_plain(html),
        attachments=written.files,
        in_reply_to=written.in_reply_to,
        references=written.references,
    )


# -- answering


def original(session: Session, message: Message) -> Original:
    """A mail as its answer needs it."""
    people: dict[str, list[Address]] = {"to": [], "cc": [], "reply-to": []}
    query = select(Recipient).where(Recipient.message_id == message.id).order_by(Recipient.id)
    for one in session.scalars(query):
        people.setdefault(one.kind, []).append(Address(one.name, one.address, one.normalized))
    headers = _headers(session, message)
    return Original(
        sender=Address(message.sender_name, message.sender_address, message.sender_normalized),
        reply_to=tuple(people["reply-to"]),
        to=tuple(people["to"]),
        cc=tuple(people["cc"]),
        subject=message.subject,
        message_id=message.rfc822_message_id,
        references=letters.ids_of(headers.get("references", "")),
        in_reply_to=letters.ids_of(headers.get("in-reply-to", "")),
        written_at=_wall(message),
        text=message.text,
        html=message.html or "",
    )


def _headers(session: Session, message: Message) -> dict[str, str]:
    found = session.scalar(select(Copy.headers).where(Copy.message_id == message.id).order_by(Copy.id).limit(1))
    return {str(name).lower(): str(value) for name, value in found or ()}


def _wall(message: Message) -> datetime:
    """When it was written, by its sender's clock."""
    return message.sent_at.replace(tzinfo=None) + timedelta(minutes=message.utc_offset or 0)


def answer(session: Session, user: User, message: Message, *, everybody: bool) -> Written:
    """The beginning of an answer."""
    mail = original(session, message)
    own = set(session.scalars(select(OwnAddress.normalized).where(OwnAddress.user_id == user.id)))
    to, cc = replies.recipients(mail, own, everybody=everybody)
    return Written(
        to=to,
        cc=cc,
        subject=placeholders.escaped(replies.subject(mail.subject)),
        quote=quoted(session, mail),
        in_reply_to=mail.message_id,
        references=replies.references(mail),
    )


def quoted(session: Session, mail: Original) -> str:
    """The quotation of a mail, in which our own tracking is taken back: an answer must not fire an old mail's."""
    return tracking.strip(session, replies.quoted_html(mail))


def thread_in(session: Session, mailbox: Mailbox, message: Message) -> str | None:
    """The Gmail thread of a mail in a mailbox; None if that mailbox has none of the conversation."""
    copied = select(Copy.gmail_thread_id).where(Copy.mailbox_id == mailbox.id, Copy.message_id == message.id)
    threaded = select(Thread.gmail_thread_id).where(
        Thread.mailbox_id == mailbox.id, Thread.conversation_id == message.conversation_id
    )
    found = session.scalars(copied.limit(1)).first()
    return found or session.scalars(threaded.order_by(Thread.gmail_thread_id.desc()).limit(1)).first()


def best_mailbox(session: Session, own: Sequence[Mailbox], message: Message | None) -> Mailbox | None:
    """From which of one's mailboxes a mail goes: the one that holds what is answered, else the first."""
    if message is None or len(own) < 2:
        return own[0] if own else None
    query = select(Copy.mailbox_id).where(
        Copy.message_id == message.id, among(Copy.mailbox_id, [one.id for one in own])
    )
    held = session.scalars(query.limit(1)).first()
    return next((one for one in own if one.id == held), own[0])
