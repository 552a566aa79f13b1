"""Gmail's search language (`q=`) as a condition in SQL.

Source: https://support.google.com/mail/answer/7190. Words match whole words, case apart; dates
without a time are midnight UTC (Gmail takes Pacific time for the API).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from gmail_sync.sandbox import payload
from gmail_sync.sandbox.store import Store, Value

_TOKEN = re.compile(r'\s*(?:(-)(?=\S)|([A-Za-z_0-9]+:)(?=\S)|"([^"]*)"?|([(){}])|([^\s(){}"]+))')
_WORD = re.compile(r"\w+")
_COLUMNS = {"from": "sender", "to": "to_", "cc": "cc", "bcc": "bcc", "subject": "subject"}
_PLACES = {"draft": "DRAFT", "drafts": "DRAFT"}
_OPERATORS = frozenset(
    {*_COLUMNS, "in", "label", "is", "has", "after", "before", "newer", "older", "newer_than", "older_than",
     "rfc822msgid", "filename", "larger", "smaller", "category"}
)  # fmt: skip
_DAYS = {"d": 1, "m": 30, "y": 365}
_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20}
_NONE = "0"
#: Texts of messages kept for word searches.
_CACHE_SIZE = 20_000


@dataclass
class Condition:
    """A piece of SQL over the table alias `m`, with its values."""

    sql: str
    values: list[Value] = field(default_factory=list)

    def over(self, alias: str) -> str:
        """The same over another alias of the table of messages."""
        return re.sub(r"\bm\.", f"{alias}.", self.sql)


def _joined(word: str, parts: list[Condition]) -> Condition:
    if len(parts) <= 1:
        return parts[0] if parts else Condition("1")
    sql = f" {word} ".join(f"({part.sql})" for part in parts)
    return Condition(sql, [value for part in parts for value in part.values])


def words(text: str) -> str:
    """A text as its words in lower case, each between spaces, so that a phrase is a substring."""
    return f" {' '.join(_WORD.findall(text.lower()))} "


def register(store: Store) -> None:
    """Teach the store the functions that searches use."""
    texts: OrderedDict[int, tuple[str, str, bool]] = OrderedDict()

    def seen(message_id: int, raw: bytes) -> tuple[str, str, bool]:
        if message_id not in texts:
            root = payload.parse(raw)
            names = words(" ".join(part.filename for part in root.walk()))
            texts[message_id] = words(payload.body_text(root)), names, payload.has_attachment(root)
            while len(texts) > _CACHE_SIZE:
                texts.popitem(last=False)
        return texts[message_id]

    store.function("gm_words", 2, lambda text, phrase: phrase in words(text))
    store.function("gm_body", 3, lambda number, raw, phrase: phrase in seen(number, raw)[0])
    store.function("gm_file", 3, lambda number, raw, phrase: phrase in seen(number, raw)[1])
    store.function("gm_attached", 2, lambda number, raw: seen(number, raw)[2])


class Query:
    """One search, compiled: `condition` in SQL, and whether it reaches into spam and trash."""

    def __init__(self, text: str, *, now: datetime, me: str, label_id: Callable[[str], str | None]) -> None:
        self._tokens = _TOKEN.findall(text)
        self._place = 0
        self._now = now
        self._me = me
        self._label_id = label_id
        self.hidden_too = False
        parts = []
        while self._place < len(self._tokens):
            parts.append(self._all(""))
            self._place += 1  # a closing bracket that nothing opened
        self.condition = _joined("AND", parts)

    def _peek(self) -> tuple[str, str, str, str, str] | None:
        if self._place >= len(self._tokens):
            return None
        token: tuple[str, str, str, str, str] = self._tokens[self._place]
        return token

    def _all(self, field_name: str, join: str = "AND") -> Condition:
        """Terms up to a closing bracket. OR binds closer than their side by side."""
        groups: list[list[Condition]] = []
        either = False
        while (token := self._peek()) and not (token[3] and token[3] in ")}"):
            if token[4] in ("OR", "AND", "|"):
                either = token[4] != "AND" and bool(groups)
                self._place += 1
                continue
            term = self._term(field_name)
            if either:
                groups[-1].append(term)
            else:
                groups.append([term])
            either = False
        return _joined(join, [_joined("OR", group) for group in groups])

    def _term(self, field_name: str) -> Condition:
        token = self._peek()
        if token is None:
            return Condition("1")
        self._place += 1
        minus, operator, phrase, bracket, word = token
        if minus:
            inner = self._term(field_name)
            return Condition(f"NOT ({inner.sql})", inner.values)
        if operator and operator[:-1].lower() in _OPERATORS:
            return self._term(operator[:-1].lower())
        if bracket in ("(", "{"):
            group = self._all(field_name, "AND" if bracket == "(" else "OR")
            self._place += 1
            return group
        if operator:  # "http:", "12:" and the like are plain words
            following = self._peek()
            if following and following[4]:
                self._place += 1
                word = following[4]
            return self._value(field_name, operator + word)
        return self._value(field_name, word or phrase)

    def _value(self, name: str, value: str) -> Condition:
        if name in _COLUMNS:
            return self._column(name, value)
        find = getattr(self, f"_by_{name}" if name else "_by_word")
        found: Condition = find(value)
        return found

    def _column(self, name: str, value: str) -> Condition:
        phrase = words(self._me if value.lower() == "me" and name != "subject" else value)
        columns = ["to_", "cc", "bcc"] if name == "to" else [_COLUMNS[name]]
        return _joined("OR", [Condition(f"gm_words(m.{column}, ?)", [phrase]) for column in columns])

    def _by_word(self, value: str) -> Condition:
        phrase = words(value)
        if not phrase.strip():
            return Condition("1")
        parts = [Condition(f"gm_words(m.{column}, ?)", [phrase]) for column in ("subject", "sender", "to_", "cc")]
        return _joined("OR", [*parts, Condition(_over_raw("gm_body", ", ?"), [phrase])])

    def _by_label(self, value: str) -> Condition:
        name = value.lower()
        label = self._label_id(_PLACES.get(name, value)) or self._label_id(value.replace("-", " "))
        label = label or self._label_id(value.replace("-", "/"))
        self.hidden_too |= label in ("SPAM", "TRASH")
        return _has_label(label) if label else Condition(_NONE)

    def _by_in(self, value: str) -> Condition:
        if value.lower() == "anywhere":
            self.hidden_too = True
            return Condition("1")
        if value.lower() == "archive":
            return Condition(f"NOT ({_has_label('INBOX').sql})", ["INBOX"])
        return self._by_label(value)

    def _by_is(self, value: str) -> Condition:
        name = value.lower()
        if name == "read":
            return Condition(f"NOT ({_has_label('UNREAD').sql})", ["UNREAD"])
        return _has_label(name.upper()) if name in ("unread", "starred", "important") else Condition(_NONE)

    def _by_category(self, value: str) -> Condition:
        name = "PERSONAL" if value.lower() == "primary" else value.upper()
        return _has_label(f"CATEGORY_{name}")

    def _by_has(self, value: str) -> Condition:
        if value.lower() == "attachment":
            return Condition(_over_raw("gm_attached"))
        if value.lower() in ("userlabels", "nouserlabels"):
            some = "' ' || m.labels LIKE '% Label_%'"
            return Condition(some if value.lower() == "userlabels" else f"NOT ({some})")
        return Condition(_NONE)

    def _by_filename(self, value: str) -> Condition:
        return Condition(_over_raw("gm_file", ", ?"), [words(value)])

    def _by_rfc822msgid(self, value: str) -> Condition:
        return Condition("m.rfc822 = ?", [value.strip("<>")])

    def _by_after(self, value: str) -> Condition:
        return _dated(">=", _instant(value))

    def _by_before(self, value: str) -> Condition:
        return _dated("<", _instant(value))

    _by_newer, _by_older = _by_after, _by_before

    def _by_newer_than(self, value: str) -> Condition:
        return _dated(">=", self._ago(value))

    def _by_older_than(self, value: str) -> Condition:
        return _dated("<", self._ago(value))

    def _by_larger(self, value: str) -> Condition:
        return _sized(">=", value)

    def _by_smaller(self, value: str) -> Condition:
        return _sized("<", value)

    def _ago(self, value: str) -> datetime | None:
        found = re.fullmatch(r"(\d{1,4})([dmy])", value.lower())
        return self._now - timedelta(days=int(found[1]) * _DAYS[found[2]]) if found else None


def _over_raw(function: str, more: str = "") -> str:
    raw = "(SELECT raw FROM raws WHERE raws.id = m.id)"
    return f"{function}(m.id, {raw}{more})"


def _has_label(label_id: str) -> Condition:
    return Condition(
        "EXISTS (SELECT 1 FROM message_labels x WHERE x.user_id = m.user_id AND x.label_id = ? "
        "AND x.internal_date = m.internal_date AND x.message_id = m.id)",
        [label_id],
    )


def _instant(value: str) -> datetime | None:
    """A date as 2004/04/16, 04/16/2004 or seconds since the epoch."""
    try:
        if re.fullmatch(r"\d{5,12}", value):
            return datetime.fromtimestamp(int(value), UTC)
        numbers = [int(piece) for piece in re.split(r"[/-]", value)]
        year, month, day = numbers if numbers[0] > 31 else (numbers[2], numbers[0], numbers[1])
        return datetime(year, month, day, tzinfo=UTC)
    except (ValueError, IndexError, OverflowError, OSError):
        return None


def _dated(comparison: str, moment: datetime | None) -> Condition:
    if moment is None:
        return Condition(_NONE)
    return Condition(f"m.internal_date {comparison} ?", [int(moment.timestamp() * 1000)])


def _sized(comparison: str, value: str) -> Condition:
    found = re.fullmatch(r"(\d{1,12})([km]?)", value.lower())
    if not found:
        return Condition(_NONE)
    return Condition(f"m.size {comparison} ?", [int(found[1]) * _SIZES[found[2]]])
