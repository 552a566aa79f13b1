"""Headers of a message: looked up, and their fields read (RFC 5322, RFC 2045, RFC 2231).

Pure. Every function takes what a stranger wrote, never raises, and takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_tz
from urllib.parse import unquote_to_bytes

from tracker.charsets import clean, clean_line, decode_bytes, decode_words

#: What one message may bring. RFC 5322 2.1.1 folds lines at 998; DKIM and ARC headers reach some thousands.
MAX_HEADERS = 1_000
MAX_HEADER = 64 * 1024
MAX_ALL_HEADERS = 256 * 1024
_MAX_NAME = 256
_MAX_ID = 998
_MAX_IDS = 200

_BRACKETED = re.compile(r"<([^<>]*)>")
_PARAMETER = re.compile(r';\s*([^\s=;"]{1,100})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))')
_ESCAPED = re.compile(r"\\(.)")
_CONTINUED = re.compile(r"(.+?)\*(?:(\d{1,3})(\*)?)?")
_NUMERIC_ZONE = re.compile(r"([+-])(\d{2})(\d{2})\s*$")
_NAMED_ZONE = re.compile(r"\b(UT|UTC|GMT|EST|EDT|CST|CDT|MST|MDT|PST|PDT)\s*$", re.IGNORECASE)
_COMMENT = re.compile(r"\([^()]*\)")
#: RFC 5322 4.3; any other zone name is to be read as "-0000".
_ZONES = {"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)


class Headers:
    """The headers of one part, as written and in order, and looked up by name in any case."""

    __slots__ = ("_by_name", "pairs")

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self.pairs = tuple(pairs)
        self._by_name: dict[str, list[str]] = {}
        for name, value in pairs:
            self._by_name.setdefault(name.lower(), []).append(value)

    def first(self, name: str) -> str | None:
        """The first value of the header `name`, given in lower case."""
        values = self._by_name.get(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return self._by_name.get(name, [])

    def __contains__(self, name: str) -> bool:
        return name in self._by_name


def read_headers(raw: object, defects: list[str]) -> Headers:
    """Headers from Gmail's list of {name, value}; what is cut or unreadable is noted in `defects`."""
    if not isinstance(raw, list):
        if raw is not None:
            defects.append("the headers are not a list")
        return Headers(())
    pairs: list[tuple[str, str]] = []
    left = MAX_ALL_HEADERS
    for name, value in _pairs(raw[:MAX_HEADERS], defects):
        if len(value) > MAX_HEADER or len(value) > left:
            cut = min(MAX_HEADER, left)
            defects.append(f"the header {clean_line(name)[:40]} was cut at {cut} characters")
            value = _cut(value, cut)
        pairs.append((clean(name[:_MAX_NAME]), clean(value)))
        left -= len(name) + len(value)
        if left <= 0:
            defects.append(f"headers beyond {MAX_ALL_HEADERS} characters were left out")
            break
    if len(raw) > MAX_HEADERS:
        defects.append(f"headers beyond the first {MAX_HEADERS} were left out")
    return Headers(pairs)


def _pairs(raw: list[object], defects: list[str]) -> Iterator[tuple[str, str]]:
    for entry in raw:
        name, value = (entry.get("name"), entry.get("value")) if isinstance(entry, Mapping) else (None, None)
        if isinstance(name, str) and isinstance(value, str):
            yield name, value
        elif "a header is not a name and a value" not in defects:
            defects.append("a header is not a name and a value")


def _cut(value: str, length: int) -> str:
    """`value` up to `length`, at a comma if there is one: half an address would be another address."""
    head = value[:length]
    whole, comma, _ = head.rpartition(",")
    return whole if comma else head


def subject_of(headers: Headers, limit: int, defects: list[str]) -> str:
    """The subject on one line, decoded."""
    subject = clean_line(decode_words(headers.first("subject") or ""))
    if len(subject) > limit:
        defects.append(f"the subject was cut at {limit} characters")
    return subject[:limit]


def message_ids(headers: Headers, name: str) -> tuple[str, ...]:
    """The ids of a Message-ID, In-Reply-To or References header (RFC 5322 3.6.4), without brackets, each once.

    Old mailers write "Your message of Monday <id>", or no brackets at all. Of very many the last are kept:
    those are the nearest ancestors.
    """
    found: dict[str, None] = {}
    for value in headers.all(name):
        ids = [bare for bare in ("".join(each.split()) for each in _BRACKETED.findall(value)) if bare]
        for one in ids or [word.strip("<>,;") for word in value.split() if "@" in word]:
            if one:
                found[one[:_MAX_ID]] = None
    return tuple(found)[-_MAX_IDS:]


@dataclass(frozen=True, slots=True)
class WrittenDate:
    """A Date header: the instant, and the minutes east of UTC that the sender wrote (None: unknown)."""

    instant: datetime | None
    utc_offset: int | None


def written_date(value: str | None) -> WrittenDate:
    """Read a Date header (RFC 5322 3.3 and 4.3).

    "-0000" and unknown zone names mean that the sender's zone is not known; the instant is then UTC. An
    offset that no place has (beyond -12:00…+14:00, or not in quarters of an hour) is taken for neither: no
    offset and no instant. So is a year before 1990 or from 2100 on.
    """
    if not value:
        return WrittenDate(None, None)
    text = _COMMENT.sub(" ", value[:200]).strip()
    try:
        parts = parsedate_tz(text)
        naive = datetime(*parts[:6]) if parts else None  # noqa: DTZ001 - the zone is read below
    except (ValueError, TypeError, IndexError, OverflowError):
        naive = None
    offset, is_absurd = _offset(text)
    if naive is None or is_absurd or not _EARLIEST.year - 1 <= naive.year <= _LATEST.year:
        return WrittenDate(None, None)
    instant = naive.replace(tzinfo=timezone(timedelta(minutes=offset or 0))).astimezone(UTC)
    return WrittenDate(instant, offset) if _EARLIEST <= instant < _LATEST else WrittenDate(None, None)


def _offset(text: str) -> tuple[int | None, bool]:
    """Minutes east of UTC, and whether they are absurd."""
    numeric = _NUMERIC_ZONE.search(text)
    if numeric is None:
        named = _NAMED_ZONE.search(text)
        return (_ZONES.get(named[1].upper(), 0) * 60 if named else None), False
    if numeric[0].strip() == "-0000":
        return None, False
    minutes = int(numeric[2]) * 60 + int(numeric[3])
    minutes = -minutes if numeric[1] == "-" else minutes
    is_absurd = not -720 <= minutes <= 840 or minutes % 15 != 0
    return (None if is_absurd else minutes), is_absurd


def parameter(value: str | None, name: str) -> str | None:
    """One parameter of a Content-Type or Content-Disposition, such as `charset` or `filename`.

    Decodes RFC 2231 (language, continuations) and, against RFC 2047 5 but as mailers do, encoded words.
    """
    if not value or name not in value.lower():
        return None
    plain: str | None = None
    pieces: dict[int, tuple[str, bool]] = {}
    for match in _PARAMETER.finditer(value[:MAX_HEADER]):
        key = match[1].lower()
        text = _ESCAPED.sub(r"\1", match[2]) if match[2] is not None else (match[3] or "").strip().strip('"')
        continued = _CONTINUED.fullmatch(key)
        if key == name:
            plain = text if plain is None else plain
        elif continued and continued[1] == name:
            pieces[int(continued[2] or 0)] = (text, continued[2] is None or continued[3] is not None)
    if pieces:
        return _rfc2231(pieces)
    return decode_words(plain) if plain is not None else None


def _rfc2231(pieces: Mapping[int, tuple[str, bool]]) -> str:
    """The pieces of a continued or encoded parameter put together: charset'language'percent-encoded."""
    charset = None
    data = b""
    for number, (text, is_encoded) in sorted(pieces.items()):
        if is_encoded and number == 0 and text.count("'") >= 2:
            charset, _, text = text.split("'", 2)
        data += unquote_to_bytes(text) if is_encoded else text.encode("utf-8", "ignore")
    return decode_bytes(data, charset or None)[0]
