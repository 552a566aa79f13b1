"""Reading a mailbox file: any mbox, gzipped or not, Google Takeout's too.

Sources: RFC 4155, "mboxrd" quoting (a line of ">"s and "From " loses one ">"), Takeout's
`X-GM-THRID` (decimal thread id) and `X-Gmail-Labels` (comma-separated names).
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from gmail_sync.sandbox.headers import addresses, date_of, first, read_headers, without
from gmail_sync.sandbox.ids import UNSIGNED_SHIFT
from gmail_sync.sandbox.store import Store

if TYPE_CHECKING:
    from gmail_sync.sandbox.mailbox import SandboxMailbox

#: Messages that are committed together.
BATCH = 500
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
_BARE_LF = re.compile(rb"(?<!\r)\n")
_YEAR = re.compile(r"\b(\w{3}) +(\d{1,2}) (\d\d:\d\d:\d\d)(?: ([+-]\d{4}))? (\d{4})")
#: Takeout's names of Gmail's own labels; None for those that say nothing.
_NAMES: dict[str, str | None] = {
    "inbox": "INBOX", "sent": "SENT", "sent mail": "SENT", "unread": "UNREAD", "starred": "STARRED",
    "important": "IMPORTANT", "trash": "TRASH", "bin": "TRASH", "spam": "SPAM", "draft": "DRAFT",
    "drafts": "DRAFT", "chat": "CHAT", "opened": None, "archived": None, "all mail": None,
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A message of an mbox: its separator line and its bytes with CRLF line ends."""

    separator: str
    raw: bytes


def read(path: Path) -> Iterator[Entry]:
    """The messages of a file, one at a time."""
    with _open(path) as lines:
        separator: bytes | None = None
        held: list[bytes] = []
        after_blank = True
        for line in lines:
            if after_blank and line.startswith(b"From "):
                if separator is not None:
                    yield _entry(separator, held)
                separator, held = line, []
            elif separator is not None:
                held.append(line)
            after_blank = not line.strip(b"\r\n")
        if separator is not None:
            yield _entry(separator, held)


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if zipped else path.open("rb")


def _entry(separator: bytes, held: list[bytes]) -> Entry:
    if held and not held[-1].strip(b"\r\n"):
        held = held[:-1]
    raw = b"".join(held)
    if b">From " in raw:
        raw = _QUOTED.sub(rb"\1", raw)
    raw = _BARE_LF.sub(b"\r\n", raw) if b"\r" in raw else raw.replace(b"\n", b"\r\n")
    return Entry(separator.decode("latin-1"), raw)


def fingerprint(path: Path) -> str:
    """A digest of a file's bytes, by which a second load is recognised."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(path: Path, store: Store, mailbox: SandboxMailbox) -> int:
    """Put a file's messages in a mailbox, in batches; returns how many were new.

    What an earlier load of the same file has put in is skipped, finished or not.
    """
    mark = fingerprint(path)
    sql = "SELECT loaded FROM loads WHERE user_id = ? AND fingerprint = ?"
    done = store.value(sql, mailbox.user_id, mark) or 0
    count, batch = done, []
    for index, entry in enumerate(read(path)):
        if index >= done:
            batch.append(entry)
        if len(batch) == BATCH:
            count += _commit(batch, store, mailbox, mark, count)
            batch = []
    count += _commit(batch, store, mailbox, mark, count)
    return int(count - done)


def _commit(batch: list[Entry], store: Store, mailbox: SandboxMailbox, mark: str, before: int) -> int:
    with store.transaction():
        for entry in batch:
            _put(entry, mailbox)
        store.run("INSERT OR REPLACE INTO loads VALUES (?, ?, ?)", mailbox.user_id, mark, before + len(batch))
    return len(batch)


def _put(entry: Entry, mailbox: SandboxMailbox) -> None:
    head = read_headers(entry.raw)
    named = first(head, "X-Gmail-Labels")
    thread = first(head, "X-GM-THRID")
    raw = without(entry.raw, "X-GM-THRID", "X-Gmail-Labels") if named or thread else entry.raw
    own = mailbox.address.lower() in addresses(first(head, "From"))
    labels = _labels(named, mailbox) if named else ["SENT"] if own else ["INBOX"]
    moment = separator_date(entry.separator) or date_of(first(head, "Date"))
    known = thread.isdigit() and 0 < int(thread) < UNSIGNED_SHIFT
    mailbox.messages.add(raw, labels, internal_date=moment, stay_in=int(thread) if known else None)


def _labels(named: str, mailbox: SandboxMailbox) -> list[str]:
    found = []
    for name in next(csv.reader([" ".join(named.split())], skipinitialspace=True), []):
        key = name.strip().lower()
        if key in _NAMES:
            label = _NAMES[key]
        elif key.startswith("category "):
            label = f"CATEGORY_{key.removeprefix('category ').upper()}"
            label = label if label in mailbox.labels.ids() else None
        else:
            label = mailbox.labels.id_of(name.strip(), create=True) if key else None
        found += [label] if label else []
    return found


def separator_date(line: str) -> datetime | None:
    """The instant in a "From " line, taken as UTC when it names no offset."""
    found = _YEAR.search(line)
    if not found:
        return None
    month, day, clock, offset, year = found.groups()
    moment = date_of(f"{day} {month} {year} {clock} {offset or '+0000'}")
    return moment.astimezone(UTC) if moment else None
