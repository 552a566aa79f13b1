"""Attachments: fetched when somebody opens one, out of a mailbox whose owner lets them see it.

Nothing of a file is kept here. The rights are asked before Gmail is, and once more before anything is handed out.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import case, or_, select
from sqlalchemy.orm import Session

from gmail_sync.client import Gmail
from gmail_sync.errors import GmailError, NeedsAttention, NotFound
from gmail_sync.session import Services
from tracker import sharing
from tracker.mailboxes import Mailbox, State
from tracker.messages import Copy, Message
from tracker.people import Viewer

LARGEST = 25 * 1024 * 1024  # bytes: what Gmail lets a mail carry
PATIENCE = 5.0  # seconds of waiting for quota, while somebody waits for us
MOST_PARTS = 2_000
MOST_SOURCES = 4  # mailboxes that are asked one after the other
LONGEST_NAME = 150  # characters; a file system takes 255 bytes

#: What a browser may be told that a file is; anything else is only bytes. Nothing of it can run a script.
TYPES = frozenset(
    {
        "application/pdf", "application/zip", "application/msword", "application/vnd.ms-excel",
        "application/vnd.ms-powerpoint", "application/vnd.oasis.opendocument.text",
        "application/vnd.oasis.opendocument.spreadsheet",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "image/gif", "image/jpeg", "image/png", "image/webp", "text/csv", "text/plain",
    }
)  # fmt: skip
BYTES = "application/octet-stream"
#: As people write them; a name may not say other letters than it has (U+202E turns "exe.pdf" around).
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|]')


class FileError(Exception):
    """The file can't be handed out now; the text says why."""


class FileGone(FileError):
    """Gmail has it no more."""


class FileTooLarge(FileError):
    """It is larger than we fetch."""


@dataclass(frozen=True, slots=True)
class Source:
    """A copy that has the file, and the mailbox that it is in."""

    mailbox: Mailbox
    gmail_id: str
    part_id: str
    size: int
    filename: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file of a message that the viewer may read, and where it can be had."""

    message_id: int
    name: str  #: safe to be a file's name anywhere
    mime_type: str  #: one of `TYPES`, or bytes
    size: int
    sources: Sequence[Source]


def wanted(session: Session, viewer: Viewer, key: str, number: int) -> Wanted | None:
    """The message's file with this number (from 1, in the order of its parts), if the viewer may read it."""
    message_id = session.scalar(select(Message.id).where(Message.key == key[:100], sharing.may_read(viewer)))
    if message_id is None:
        return None
    copies = [(copy, mailbox) for copy, mailbox in _copies(session, viewer, message_id) if _at(copy, number)]
    # Of mail whose owner left the text is here, and the file in a mailbox that is nobody's any more.
    file = _at(copies[0][0] if copies else _any_copy(session, message_id), number)
    if not file:
        return None
    sources = [_source(copy, mailbox, _at(copy, number)) for copy, mailbox in copies]
    mime_type = str(file.get("mime_type") or "").lower()
    name = safe_name(str(file.get("filename") or ""))
    return Wanted(
        message_id, name, mime_type if mime_type in TYPES else BYTES, int(file.get("size") or 0), sources
    )


def _copies(session: Session, viewer: Viewer, message_id: int) -> Sequence[tuple[Copy, Mailbox]]:
    """The copies that let the viewer read the message: their own first, then teammates' whose word does."""
    mine = Mailbox.user_id == viewer.user_id
    query = (
        select(Copy, Mailbox)
        .join(Mailbox, Mailbox.id == Copy.mailbox_id)
        .join(Message, Message.id == Copy.message_id)
        .where(Copy.message_id == message_id, ~Copy.hidden, or_(mine, sharing.lends(viewer, Copy.id)))
        .order_by(case((mine, 0), else_=1), Copy.id)
        .limit(MOST_SOURCES)
    )
    return [(copy, mailbox) for copy, mailbox in session.execute(query)]


def _any_copy(session: Session, message_id: int) -> Copy | None:
    return session.scalar(
        select(Copy).where(Copy.message_id == message_id, ~Copy.hidden).order_by(Copy.id).limit(1)
    )


def _at(copy: Copy | None, number: int) -> Mapping[str, Any]:
    found = copy.attachments[number - 1] if copy is not None and 0 < number <= len(copy.attachments) else None
    return found if isinstance(found, dict) else {}


def _source(copy: Copy, mailbox: Mailbox, file: Mapping[str, Any]) -> Source:
    return Source(
        mailbox, copy.gmail_id, str(file.get("part_id") or ""), int(file.get("size") or 0),
        str(file.get("filename") or ""),
    )  # fmt: skip


def safe_name(name: str) -> str:
    """A name for a download: no folders, control characters or turned-around letters, not hidden, not endless."""
    kept = "".join(one for one in name if unicodedata.category(one) not in ("Cf", "Cs", "Co", "Cn"))
    kept = " ".join(_FORBIDDEN.sub(" ", kept).split()).strip(". ")
    if len(kept) > LONGEST_NAME:
        stem, dot, extension = kept.rpartition(".")
        kept = stem[: LONGEST_NAME - 12] + dot + extension[:11] if dot else kept[:LONGEST_NAME]
    return kept or "file"


def fetch(services: Services, wanted: Wanted) -> bytes:
    """The file's bytes, asked of Gmail: the caller holds no transaction.

    Raises `FileTooLarge`, `FileGone`, or `FileError` where no mailbox that has it can be asked now.
    """
    if wanted.size > LARGEST:
        raise FileTooLarge("This file is larger than 25 MB, and is not fetched. Open the mail in Gmail.")
    if not wanted.sources:
        raise FileError(
            "The file is in the mailbox of somebody who left the team. The text of the mail is still here."
        )
    troubles: list[FileError] = []
    for source in wanted.sources:
        try:
            return _from(services, source)
        except FileError as error:
            troubles.append(error)
    # One mailbox that is away says more than another that has it no more: it may come back.
    raise next((one for one in troubles if not isinstance(one, FileGone)), troubles[0])


def _from(services: Services, source: Source) -> bytes:
    if source.mailbox.state != State.CONNECTED:
        raise FileError("The mailbox that holds this file is not connected. Ask its owner to connect it again.")
    try:
        gmail = services.door(
            source.mailbox, replace(services.budget(source.mailbox, share=1.0), patience=PATIENCE)
        )
        try:
            return _read(gmail, source)
        finally:
            gmail.close()
    except NotFound as error:
        raise FileGone("This mail was deleted in Gmail meanwhile, and its file with it.") from error
    except NeedsAttention as error:
        raise FileError("Gmail does not let us into the mailbox that holds this file. Ask its owner.") from error
    except GmailError as error:
        raise FileError("Gmail does not hand out the file just now. Try again in a minute.") from error


def _read(gmail: Gmail, source: Source) -> bytes:
    messages = gmail.users.messages()
    asked = messages.get(userId="me", id=source.gmail_id, format="full", fields="payload")
    body = _body(gmail.read("messages.get", asked).get("payload"), source)
    if body is None:
        raise FileGone("Gmail has this mail, and no such file in it any more.")
    size = body.get("size")
    if isinstance(size, int) and size > LARGEST:
        raise FileTooLarge("This file is larger than 25 MB, and is not fetched. Open the mail in Gmail.")
    if body.get("attachmentId"):
        # Gmail gives another id at every reading: the one that was stored is long stale.
        asked = messages.attachments().get(userId="me", messageId=source.gmail_id, id=body["attachmentId"])
        body = gmail.read("messages.attachments.get", asked)
    return _decoded(body.get("data"))


def _body(payload: object, source: Source) -> Mapping[str, Any] | None:
    """The body of the part at this place, if it still is a part of that size."""
    for part in _parts(payload):
        body = part.get("body")
        if part.get("partId", "") == source.part_id and isinstance(body, Mapping):
            return body if body.get("size") == source.size else None
    return None


def _parts(payload: object) -> Iterator[Mapping[str, Any]]:
    waiting, seen = [payload], 0
    while waiting and seen < MOST_PARTS:
        part, seen = waiting.pop(), seen + 1
        if isinstance(part, Mapping):
            yield part
            below = part.get("parts")
            waiting.extend(below if isinstance(below, list) else ())


def _decoded(data: object) -> bytes:
    if not isinstance(data, str):
        return b""
    try:
        return base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))
    except (ValueError, binascii.Error) as error:
        raise FileError("Gmail's answer could not be read. Try again in a minute.") from error
