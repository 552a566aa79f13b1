"""A hit on its way into the table: one line of JSON, the same for the database and for the journal (pure)."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

KEY_IN_LINE = slice(8, 40)  #: where a line has its key

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_quoted = json.encoder.encode_basestring_ascii

MOST_AGENT = 1000  # characters as it is quoted; beyond, what isn't ASCII is a question mark
MOST_TELLING = 1200  # characters of all other headers as they are quoted; those that no longer fit are left out


@dataclass(slots=True, eq=False)
class Hit:
    """One request that is kept, and how many more of the same were only counted."""

    key: str  #: 32 hexadecimal digits
    body: str  #: the line without what changes
    repeats: int = 0  #: only the process that made the key counts up, so that the larger number is the later
    flood: bool = field(default=False, kw_only=True)  #: from an address that sends more than anybody would

    def line(self) -> str:
        """All of it, ASCII in one line."""
        return f'{self.body},"repeats":{self.repeats}}}'


def a_hit(
    kind: str,
    token: str,
    at: datetime,
    address: str | None,
    agent: str | None,
    headers: Mapping[str, str],
    user_key: str | None,
    flood: bool = False,
) -> Hit:
    """A hit that came at this instant, with a key of its own. Names of headers and tokens need no quoting."""
    return a_hit_saying(kind, token, at, address, saying(agent, headers), user_key, flood)


def a_hit_saying(
    kind: str, token: str, at: datetime, address: str | None, said: str, user_key: str | None, flood: bool = False
) -> Hit:
    """A hit by what `saying` makes of its headers."""
    key = uuid7(at.timestamp())
    body = (  # by hand: it takes a third of the time
        f'{{"key":"{key}","kind":"{kind}","token":"{token}","at":"{at.isoformat()}","address":{_text(address)},'
        f'{said},"user_key":{_text(user_key)}'
    )
    return Hit(key, body, flood=flood)


def saying(agent: str | None, headers: Mapping[str, str]) -> str:
    """The part of a line that tells of a program, which thousands of requests have in common."""
    telling = ",".join([f'"{name}":{_quoted(value)}' for name, value in headers.items()])
    if len(telling) > MOST_TELLING:
        telling = _fitting(headers)
    quoted = _text(agent)
    if agent is not None and len(quoted) > MOST_AGENT:
        quoted = _quoted(agent.encode("ascii", "replace").decode())
    return f'"agent":{quoted},"headers":{{{telling}}}'


def _fitting(headers: Mapping[str, str]) -> str:
    fitting: list[str] = []
    room = MOST_TELLING
    for name, value in headers.items():
        said = f'"{name}":{_quoted(value)}'
        if len(said) < room:
            fitting.append(said)
            room -= len(said) + 1
    return ",".join(fitting)


def _text(value: str | None) -> str:
    return "null" if value is None else _quoted(value)


def uuid7(at: float) -> str:
    """RFC 9562, section 5.7: the milliseconds of an instant (seconds since 1970) and 74 random bits."""
    noise = random.getrandbits(74)  # a key is no secret
    whole = int(at * 1000) << 80 | 7 << 76 | noise >> 62 << 64 | 2 << 62 | noise & (1 << 62) - 1
    return f"{whole:032x}"


def words(raw: bytes, most: int) -> str:
    """A header's value as text of at most so many characters that PostgreSQL takes: UTF-8, else Latin-1."""
    cut = raw[: most * 4]
    try:
        text = cut.decode()
    except UnicodeDecodeError as error:
        through = len(raw) > len(cut) and error.start >= len(cut) - 3  # it is our cut that makes it invalid
        text = cut[: error.start].decode() if through else cut.decode("latin-1")
    return (text if text.isprintable() else _UNPRINTABLE.sub(" ", text))[:most]
