"""@mentions in what people write: typed as names, stored as keys, so that a renamed user stays mentioned. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_STORED = re.compile(r"@\{([A-Za-z0-9_-]{1,40})\}")
_MOST = 200  # mentions read in one text


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can be mentioned."""

    key: str
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text, or a mention: then `key` is the user's, and `text` their name."""

    text: str
    key: str | None = None


def handles(people: Iterable[Person]) -> dict[str, str]:
    """What is typed behind the @ for each person, by key: the name, or the address where two share a name."""
    people = list(people)
    shared = Counter(one.name.casefold() for one in people)
    return {one.key: one.name if shared[one.name.casefold()] == 1 else one.address for one in people}


def store(typed: str, people: Sequence[Person]) -> tuple[str, list[str]]:
    """A typed text with its mentions as keys, and the keys of those mentioned, each once.

    "@Bob Baker", "@bob@team.example" and, if there is one Bob, "@bob" mention him; an address in running text
    ("mail bob@team.example") does not.
    """
    found = _spellings(people)
    if not found:
        return typed, []
    names = "|".join(re.escape(name) for name in sorted(found, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w.+@-])@({names})(?![\w@-])", re.IGNORECASE)
    text = pattern.sub(lambda match: f"@{{{found[match[1].casefold()]}}}", typed, count=_MOST)
    known = {one.key for one in people}
    return text, list(dict.fromkeys(key for key in _STORED.findall(text) if key in known))


def _spellings(people: Sequence[Person]) -> dict[str, str]:
    """How people may be called, each spelling of one person only: first name, name, address; by key."""
    spelled: dict[str, str] = {}
    for kind in range(3):
        called = [((one.name.split(" ")[0], one.name, one.address)[kind].casefold(), one.key) for one in people]
        counted = Counter(name for name, _ in called)
        spelled |= {name: key for name, key in called if name and counted[name] == 1}
    return spelled


def pieces(stored: str, names: Mapping[str, str]) -> list[Piece]:
    """A stored text as pieces to show; whoever is not among `names` (by key) is told as "somebody"."""
    made: list[Piece] = []
    end = 0
    for match in _STORED.finditer(stored):
        made.append(Piece(stored[end : match.start()]))
        made.append(Piece(names.get(match[1], "somebody"), match[1] if match[1] in names else ""))
        end = match.end()
    made.append(Piece(stored[end:]))
    return [piece for piece in made if piece.text]


def typed(stored: str, handles: Mapping[str, str]) -> str:
    """A stored text as it can be typed again."""
    return _STORED.sub(lambda match: f"@{handles.get(match[1], 'somebody')}", stored)
