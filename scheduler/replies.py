"""Replies: to whom they go, what they are called, what they refer to, and what they quote.

Pure. Gmail threads a reply when its References, its subject and the draft's thread all agree
(https://developers.google.com/workspace/gmail/api/guides/threads).
"""

from __future__ import annotations

import html as escapes
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from scheduler import rich_text
from scheduler.letters import trimmed
from tracker.addresses import Address
from tracker.charsets import clean_line

QUOTED_LIMIT = 200_000  #: characters of a mail that an answer repeats
_RE = re.compile(r"re(?:\s*\[\d{1,3}\]|\^\d{1,3})?\s*[:\uff1a]", re.IGNORECASE)
#: Gmail's own mark of a quotation, which it folds away; the form splits at it again.
_QUOTE = '<div class="gmail_quote">'


@dataclass(frozen=True, slots=True)
class Original:
    """The mail that is answered."""

    sender: Address
    reply_to: tuple[Address, ...] = ()
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    subject: str = ""
    message_id: str | None = None  #: without <>
    references: tuple[str, ...] = ()
    in_reply_to: tuple[str, ...] = ()
    written_at: datetime | None = None  #: wall time as its sender had it
    text: str = ""
    html: str = ""


def recipients(
    original: Original, own: Collection[str], *, everybody: bool
) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
    """To and Cc of an answer (RFC 5322 §3.6.3). `own` are the normal forms of the writer's own addresses.

    It goes to Reply-To, else to From; who answers a mail of their own writes to its recipients once more.
    """
    if original.sender.normalized in own:
        to = _without(original.to, own) or _without(original.cc, own)
        rest: Iterable[Address] = original.cc
    else:
        to = _without(original.reply_to, own) or _without((original.sender,), own)
        rest = (*original.to, *original.cc)
    to = to or (original.sender,)
    taken = {one.normalized for one in to} | set(own)
    return to, _without(rest, taken) if everybody else ()


def _without(addresses: Iterable[Address], taken: Collection[str]) -> tuple[Address, ...]:
    """Each once, without those that are taken."""
    return tuple({one.normalized: one for one in addresses if one.normalized not in taken}.values())


def subject(original: str) -> str:
    """The subject of an answer: "Re: " once. What follows stays as it is, or Gmail would begin a new thread."""
    line = clean_line(original)
    return line if _RE.match(line) else f"Re: {line}".strip()


def same_thread(one: str, other: str) -> bool:
    """Whether Gmail takes two subjects for one thread's: they differ in "Re:" and "Fwd:" only."""
    return _base(one) == _base(other)


def _base(line: str) -> str:
    line = clean_line(line).replace(r"\{{", "{{")  # as it goes out; see `placeholders.escaped`
    while found := _RE.match(line) or re.match(r"fwd?\s*:", line, re.IGNORECASE):
        line = line[found.end() :].strip()
    return line.casefold()


def references(original: Original) -> tuple[str, ...]:
    """References of an answer (RFC 5322 §3.6.4): those of the mail that it answers, and that one."""
    before: Sequence[str] = original.references
    if not before and len(original.in_reply_to) == 1:
        before = original.in_reply_to
    return trimmed((*(one for one in before if one != original.message_id), original.message_id or ""))


def attribution(original: Original) -> str:
    """ "On Tue 24 Nov 2026 at 09:00, Anna wrote:", by the clock of who wrote it."""
    who = clean_line(original.sender.name) or original.sender.address
    if original.written_at is None:
        return f"{who} wrote:"
    at = original.written_at
    return f"On {at:%a} {at.day} {at:%b %Y} at {at:%H:%M}, {who} wrote:"


def quoted_html(original: Original) -> str:
    """The quotation as HTML, as Gmail marks it; `rich_text.to_plain` makes "> " of it. Pictures and styles of the
    mail stay behind."""
    inner = rich_text.clean(original.html[:QUOTED_LIMIT]) if original.html else ""
    inner = inner or rich_text.from_plain(original.text[:QUOTED_LIMIT])
    told = escapes.escape(attribution(original), quote=False)
    return rich_text.clean(f"{_QUOTE}<div>{told}</div><blockquote>{inner}</blockquote></div>")


def split(markup: str) -> tuple[str, str]:
    """What was written, and the quotation under it, of cleaned HTML that was made here or in Gmail."""
    written, mark, quoted = markup.partition(_QUOTE)
    return written, mark + quoted
