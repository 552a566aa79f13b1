"""A Gmail message resource as a dataclass: the one place that knows how mail is written down.

Pure: no network, no clock, no database. `parse` never raises and takes bounded time and memory, because one
odd message must not hold up a mailbox: what can't be read is told in `defects`, in words.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from gmail_sync.automatic import Automatic, judge
from gmail_sync.mime_headers import Headers, message_ids, subject_of, written_date
from gmail_sync.mime_text import compose
from gmail_sync.mime_tree import Attachment, Contents, read_tree
from tracker.addresses import Address, parse_addresses
from tracker.charsets import clean, clean_line

__all__ = ["Attachment", "ParsedMessage", "parse"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS = 4_102_444_800_000  # 2100-01-01
_MAX_SUBJECT = 4_096
_MAX_SNIPPET = 500
_MAX_LABELS = 500
#: How far ahead of Gmail's own clock a sender's may be before it is not believed.
_AHEAD = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """One message as one mailbox holds it. No string holds a NUL or a lone surrogate."""

    gmail_id: str
    gmail_thread_id: str
    #: unsigned 64-bit; 0 when missing
    history_id: int
    #: aware UTC: when Google took the message in
    internal_date: datetime
    label_ids: tuple[str, ...]
    #: bytes
    size_estimate: int
    #: Gmail's, with its HTML entities undone, or the start of the text
    snippet: str
    #: without <> (RFC 5322 3.6.4); None when missing
    message_id: str | None
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    date_header: str | None
    #: aware UTC: by the Date header, or `internal_date` when that is missing, unreadable, before 1990 or more
    #: than two days after `internal_date`
    sent_at: datetime
    #: minutes east of UTC as the sender wrote; None when unknown ("-0000", RFC 5322 3.3) or absurd
    utc_offset: int | None
    sender: Address | None
    reply_to: tuple[Address, ...]
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    subject: str
    #: what there is to read, from the plain parts or else from the HTML; lines end in \n
    text: str
    html: str | None
    attachments: tuple[Attachment, ...]
    #: the text/calendar parts, as text
    calendars: tuple[str, ...]
    #: as written, in order
    headers: tuple[tuple[str, str], ...]
    #: the sign that a machine wrote it ("List-Id", "Auto-Submitted: auto-replied"...); None: a person's mail
    automatic: str | None
    #: out of office, delivery report and the like: it never counts as an answer
    auto_reply: bool
    #: what could not be read, in words
    defects: tuple[str, ...]
    #: nothing of the content could be read
    unreadable: bool
    #: SHA-256 of what all copies of a message share, see `_identity`
    identity: bytes = field(repr=False)


def parse(resource: Mapping[str, Any]) -> ParsedMessage:
    """Read a Gmail API users.messages resource as `format=full` gives it. Never raises, whatever the input.

    Gmail's header values may be raw or decoded; both are understood. Bodies that Gmail keeps apart (a body
    with an `attachmentId`) are listed in `attachments`, with a defect when they are the message's text.
    """
    try:
        return _parse(resource if isinstance(resource, Mapping) else {})
    except Exception as error:  # the last net: a message that breaks the parser is a defect like others
        return _unreadable(resource, f"the parser failed on it ({type(error).__name__})")


def _parse(resource: Mapping[str, Any]) -> ParsedMessage:
    defects: list[str] = []
    payload = resource.get("payload")
    unreadable = not isinstance(payload, Mapping) or not payload
    if unreadable:
        defects.append("Gmail gave no payload")
    contents = read_tree(payload if isinstance(payload, Mapping) else {}, defects)
    return _assemble(resource, contents, defects, unreadable=unreadable)


def _assemble(
    resource: Mapping[str, Any], contents: Contents, defects: list[str], *, unreadable: bool
) -> ParsedMessage:
    headers = contents.headers
    text, rich = compose(contents.texts, defects)
    sender = next(iter(parse_addresses(headers.all("from"))), None)
    if sender is None and not unreadable:
        defects.append("no sender in From")
    subject = subject_of(headers, _MAX_SUBJECT, defects)
    calendars = tuple(contents.calendars)
    automatic = judge(headers, sender, subject, contents.mime_type, calendars)
    dates = _dates(resource, headers, defects)
    ids = message_ids(headers, "message-id")
    to, cc = parse_addresses(headers.all("to")), parse_addresses(headers.all("cc"))
    attachments = tuple(contents.attachments)
    message_id = ids[0] if ids else None
    identity = _identity(message_id, sender, to, cc, dates.header, subject, text, rich, attachments, automatic)
    return ParsedMessage(
        gmail_id=_string(resource.get("id")),
        gmail_thread_id=_string(resource.get("threadId")),
        history_id=_number(resource.get("historyId"), 2**64),
        internal_date=dates.internal,
        label_ids=_labels(resource.get("labelIds")),
        size_estimate=_number(resource.get("sizeEstimate"), 2**53),
        snippet=_snippet(resource.get("snippet"), text),
        message_id=message_id,
        in_reply_to=message_ids(headers, "in-reply-to"),
        references=message_ids(headers, "references"),
        date_header=dates.header,
        sent_at=dates.sent,
        utc_offset=dates.utc_offset,
        sender=sender,
        reply_to=parse_addresses(headers.all("reply-to")),
        to=to,
        cc=cc,
        bcc=parse_addresses(headers.all("bcc")),
        subject=subject,
        text=text,
        html=rich,
        attachments=attachments,
        calendars=calendars,
        headers=headers.pairs,
        automatic=automatic.reason,
        auto_reply=automatic.auto_reply,
        defects=tuple(defects),
        unreadable=unreadable,
        identity=identity,
    )


#: What Gmail itself says of a message, whatever its sender wrote into it.
_GMAILS_OWN = ("id", "threadId", "historyId", "internalDate", "labelIds", "sizeEstimate")


def _unreadable(resource: Mapping[str, Any], defect: str) -> ParsedMessage:
    """What stands for a message whose content can't be read: it keeps its place in the mailbox."""
    try:
        bare = {name: resource[name] for name in _GMAILS_OWN if name in resource}
        return _assemble(bare, read_tree({}, []), [defect], unreadable=True)
    except Exception:  # not even those: nothing that came from Gmail, but then `parse` never raises
        return _assemble({}, read_tree({}, []), [defect], unreadable=True)


@dataclass(frozen=True, slots=True)
class _Dates:
    internal: datetime
    header: str | None
    sent: datetime
    utc_offset: int | None


def _dates(resource: Mapping[str, Any], headers: Headers, defects: list[str]) -> _Dates:
    """Google's time and the sender's. Without Google's, the sender's stands for both, else 1970."""
    raw = headers.first("date")
    header = clean_line(raw)[:200] if raw else None
    written = written_date(header)
    if header and written.instant is None:
        defects.append("the Date header could not be read")
    milliseconds = _number(resource.get("internalDate"), _LATEST_MS)
    if not milliseconds:
        defects.append("Gmail gave no internalDate")
        internal = written.instant or _EPOCH
        return _Dates(internal, header, internal, written.utc_offset)
    internal = _EPOCH + timedelta(milliseconds=milliseconds)
    if written.instant is not None and written.instant > internal + _AHEAD:
        defects.append("the Date header is more than two days ahead of Gmail's time")
        return _Dates(internal, header, internal, written.utc_offset)
    return _Dates(internal, header, written.instant or internal, written.utc_offset)


def _identity(
    message_id: str | None,
    sender: Address | None,
    to: Iterable[Address],
    cc: Iterable[Address],
    date: str | None,
    subject: str,
    text: str,
    rich: str | None,
    attachments: Iterable[Attachment],
    automatic: Automatic,
) -> bytes:
    """SHA-256 over what every copy of a message shares, each item with its length so that none runs together.

    Bcc, hop headers, labels and Gmail's ids are left out: the sender's copy must equal the recipients'. Content
    is in, so that another message under a Message-ID that was used before is told from the first. Blanks count
    as one blank: servers fold lines and trim their ends on the way.
    """
    digest = hashlib.sha256(b"tracker message 1")
    files = [f"{each.size} {each.mime_type} {each.filename}" for each in attachments]
    people = [f"{role} {address.normalized}" for role, group in (("to", to), ("cc", cc)) for address in group]
    fixed = (message_id, sender.normalized if sender else None, date, subject, text, rich, automatic.reason)
    for item in (*fixed, f"{len(people)} {len(files)}", *people, *files):
        data = b"-" if item is None else b"+" + " ".join(item.split()).encode("utf-8", "replace")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()


def _string(value: object) -> str:
    return clean(value)[:256] if isinstance(value, str) else ""


def _number(value: object, limit: int) -> int:
    """A number from 0 up to `limit`, which Gmail writes as a string when it is long; else 0."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        value = int(value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and isinstance(value, int) and 0 <= value < limit else 0


def _labels(value: object) -> tuple[str, ...]:
    labels = value[:_MAX_LABELS] if isinstance(value, (list, tuple)) else ()
    return tuple(_string(label) for label in labels if isinstance(label, str))


def _snippet(value: object, text: str) -> str:
    """Gmail's snippet, which it writes as HTML ("&#39;"), or the start of the text."""
    if isinstance(value, str) and value:
        return clean_line(html.unescape(value[: _MAX_SNIPPET * 8]))[:_MAX_SNIPPET]
    return clean_line(text[: _MAX_SNIPPET * 2])[:200]
