"""Drafts: create, change, send, find the sent. The writing gate to Gmail.

Apart from what only reads: reading may be repeated as often as one likes, a send may not. Updating and deleting
by id are idempotent and may be repeated; creating leaves a second draft behind (harmless, and found by its key);
`send` is asked once, and whoever asks must look what became of it (`standing`, `find_sent`) before asking again.
A draft can only be sent once: it is gone then, and Gmail answers 404 to its id.

Source: https://developers.google.com/workspace/gmail/api/guides/drafts
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gmail_sync.client import PAGE_SIZE, Gmail
from gmail_sync.errors import NotFound
from tracker.addresses import Address, parse_addresses, written
from tracker.charsets import clean_line, decode_words

#: Names a mail of ours: a draft is found by it whose creation was not answered, a sent mail whose sending was not.
#: An opaque key that says nothing to the recipient.
KEY_HEADER = "X-Tracker-Key"
HEADERS = (KEY_HEADER, "From", "To", "Cc", "Bcc", "Subject", "Message-ID", "Date", "In-Reply-To")
SMALL = 1_000_000  # bytes; what is larger is uploaded
LOOKED_THROUGH = 50  # drafts that are looked at for one that lost its id


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft: its stable id, the message inside (a new id after every change), its thread."""

    id: str
    message_id: str
    thread_id: str


@dataclass(frozen=True, slots=True)
class Headers:
    """What is known of a message without its content."""

    id: str
    thread_id: str
    label_ids: frozenset[str]
    at: datetime  #: Gmail's own clock (`internalDate`)
    key: str | None  #: ours, if it is one of ours
    subject: str
    to: tuple[str, ...]  #: as written
    recipients: tuple[str, ...]  #: To, Cc and Bcc in their normal form
    rfc822_message_id: str | None
    snippet: str
    is_reply: bool = False  #: it says which mail it answers


@dataclass(frozen=True, slots=True)
class Trace:
    """What is known of a mail that may have been sent."""

    key: str
    thread_id: str
    subject: str
    recipients: frozenset[str]
    since: datetime  #: no earlier message can be it
    own_thread: bool = False  #: the thread began with the draft: what was sent in it first is the draft


def create(gmail: Gmail, raw: bytes, key: str, thread_id: str | None = None) -> Draft:
    """A new draft, in a thread whose subject and References agree with it.

    Raises `GmailError`; after a `Transient` there may be one (`with_key` finds it).
    """
    arguments = _content(gmail, _named(raw, key), thread_id)
    return _draft(gmail.once("drafts.create", gmail.users.drafts().create(userId="me", **arguments)))


def update(gmail: Gmail, draft_id: str, raw: bytes, key: str, thread_id: str | None = None) -> Draft:
    """Replace what a draft says; repeated, it is the same. Raises `NotFound` when the draft is gone."""
    arguments = _content(gmail, _named(raw, key), thread_id)
    request = gmail.users.drafts().update(userId="me", id=draft_id, **arguments)
    return _draft(gmail.read("drafts.update", request))


def delete(gmail: Gmail, draft_id: str) -> bool:
    """Delete a draft for good; whether there was one: one that is gone already was deleted, or sent."""
    try:
        gmail.read("drafts.delete", gmail.users.drafts().delete(userId="me", id=draft_id))
    except NotFound:
        return False
    return True


def send(gmail: Gmail, draft_id: str) -> tuple[str, str]:
    """Send a draft as it lies in Gmail, asking once: the sent message's id and thread.

    Raises `NotFound` when the draft is gone, `Permanent` when Gmail refuses it (or, at times, when it is gone),
    `QuotaWait` before anything was asked, `Transient` when nobody knows what happened.
    """
    sent = gmail.once("drafts.send", gmail.users.drafts().send(userId="me", body={"id": draft_id}))
    return str(sent["id"]), str(sent["threadId"])


def standing(gmail: Gmail, draft_id: str) -> Draft | None:
    """The draft as it is now; None when there is none of that id any more."""
    try:
        found = gmail.read("drafts.get", gmail.users.drafts().get(userId="me", id=draft_id, format="minimal"))
    except NotFound:
        return None
    return _draft(found)


def read(gmail: Gmail, draft_id: str) -> bytes:
    """A draft's bytes. Raises `NotFound`."""
    found = gmail.read("drafts.get", gmail.users.drafts().get(userId="me", id=draft_id, format="raw"))
    return base64.urlsafe_b64decode(found["message"]["raw"] + "==")


def page(gmail: Gmail, page_token: str | None = None, *, q: str = "", limit: int = PAGE_SIZE) -> tuple[
    list[Draft], str | None
]:  # fmt: skip
    """A page of drafts, newest first, and where it goes on."""
    request = gmail.users.drafts().list(
        userId="me", maxResults=limit, pageToken=page_token or None, q=q or None,
        fields="drafts(id,message(id,threadId)),nextPageToken",
    )  # fmt: skip
    found = gmail.read("drafts.list", request)
    return [_draft(one) for one in found.get("drafts", ())], found.get("nextPageToken")


def all_of(gmail: Gmail) -> Iterator[Draft]:
    """Every draft of the mailbox."""
    drafts, token = page(gmail)
    yield from drafts
    while token:
        drafts, token = page(gmail, token)
        yield from drafts


def headers(gmail: Gmail, message_ids: Sequence[str]) -> dict[str, Headers]:
    """The headers of messages (at most 50), by id; those that are gone are missing."""
    return {id_: _headers(found) for id_, found in gmail.headers(message_ids, HEADERS).items()}


def with_key(gmail: Gmail, key: str, since: datetime) -> Draft | None:
    """The draft of ours with this key, made after `since`: for one whose creation was not answered."""
    drafts, _ = page(gmail, q=f"after:{int(since.timestamp()) - 300}", limit=LOOKED_THROUGH)
    known = headers(gmail, [draft.message_id for draft in drafts])
    return next((one for one in drafts if one.message_id in known and known[one.message_id].key == key), None)


def find_sent(gmail: Gmail, trace: Trace) -> Headers | None:
    """The message in the draft's thread that says that the draft was sent."""
    request = gmail.users.threads().get(
        userId="me", id=trace.thread_id, format="metadata", metadataHeaders=list(HEADERS)
    )
    try:
        found = gmail.read("threads.get", request)
    except NotFound:
        return None
    return which_is(trace, [_headers(message) for message in found.get("messages", ())])


def which_is(trace: Trace, messages: Iterable[Headers]) -> Headers | None:
    """Which of a thread's messages is the one that was to be sent.

    By our key; a draft that was edited in Gmail may have lost it, and is known by what it says and when. The
    Message-ID is no help: Gmail replaces it.
    """
    there = sorted(messages, key=lambda one: one.at)
    sent = [one for one in there if "SENT" in one.label_ids]
    ours = [one for one in sent if one.key == trace.key]
    if ours:
        return ours[-1]
    # A thread that has another, earlier message did not begin with the draft.
    own = trace.own_thread and bool(sent) and there[0] is sent[0] and sent[0].at >= trace.since
    alike = [
        one
        for one in sent
        if one.key is None
        and one.at >= trace.since
        and (own or (one.subject, frozenset(one.recipients)) == (trace.subject, trace.recipients))
    ]
    return alike[0] if own and alike else alike[-1] if alike else None


def _content(gmail: Gmail, raw: bytes, thread_id: str | None) -> dict[str, Any]:
    message: dict[str, Any] = {"threadId": thread_id} if thread_id else {}
    if len(raw) <= SMALL:
        return {"body": {"message": message | {"raw": base64.urlsafe_b64encode(raw).decode()}}}
    return {"body": {"message": message}, "media_body": gmail.upload(raw)}


def _named(raw: bytes, key: str) -> bytes:
    return f"{KEY_HEADER}: {key}\r\n".encode() + raw


def _draft(found: Mapping[str, Any]) -> Draft:
    message = found["message"]
    return Draft(str(found["id"]), str(message["id"]), str(message["threadId"]))


def _headers(found: Mapping[str, Any]) -> Headers:
    values: dict[str, list[str]] = {}
    for header in found.get("payload", {}).get("headers", ()):
        values.setdefault(str(header["name"]).lower(), []).append(str(header["value"]))

    def one(name: str) -> str:
        return clean_line(" ".join(values.get(name, ())))

    def people(*names: str) -> tuple[Address, ...]:
        return parse_addresses(value for name in names for value in values.get(name, ()))

    message_id = one("message-id").strip("<> ")
    return Headers(
        id=str(found["id"]),
        thread_id=str(found["threadId"]),
        label_ids=frozenset(found.get("labelIds", ())),
        at=datetime.fromtimestamp(int(found.get("internalDate", 0)) / 1000, UTC),
        key=one(KEY_HEADER.lower()) or None,
        subject=clean_line(decode_words(one("subject"))),
        to=tuple(map(written, people("to"))),
        recipients=tuple(dict.fromkeys(one.normalized for one in people("to", "cc", "bcc"))),
        rfc822_message_id=message_id or None,
        snippet=html.unescape(str(found.get("snippet", ""))),
        is_reply=bool(one("in-reply-to")),
    )
