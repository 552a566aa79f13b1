"""Names: from boxes to labels' paths and back. Pure.

A path is `Boxes/<Pipeline>/<Box>`. A "/" inside a name would make another level, so it is written as its
look-alike. Gmail takes two labels for one that differ in their case only; a rep on a phone, also in their spaces.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from dataclasses import dataclass

LIMIT = 225  # characters of a label's name
PIPELINE_LIMIT = 60  # of a pipeline's part, so that enough is left for a box's
ROOM = 6  # for a number behind a name that another has too
SLASH, LIKE_SLASH = "/", "\u2215"
CUT = "…"


def key(name: str) -> str:
    """What is the same of two names, or paths, that are taken for one."""
    return SLASH.join(" ".join(part.split()).casefold() for part in name.split(SLASH))


def size(name: str) -> int:
    """Its length as the Web counts it, in UTF-16 units."""
    return len(name.encode("utf-16-le", "surrogatepass")) // 2


def segment(name: str, room: int) -> str:
    """A name as one part of a path, in at most `room` characters."""
    part = " ".join(name.replace(SLASH, LIKE_SLASH).replace("\x00", "").split())
    if part.startswith("@"):  # which stands for a stage
        part = f"\uff20{part[1:]}"
    if size(part) > room:
        while size(part) > room - 1:
            part = part[:-1]
        part = part.rstrip() + CUT
    return part or "Box"


def spoken(part: str) -> str:
    """The name that a part of a path stands for."""
    name = part.replace(LIKE_SLASH, SLASH)
    return " ".join((f"@{name[1:]}" if name.startswith("\uff20") else name).split())


def last(path: str) -> str:
    """A path's own part."""
    return path.rpartition(SLASH)[2]


def parts(path: str, roots: Iterable[str]) -> list[str] | None:
    """The parts of a path below one of the roots; None for a path that is not there, [] for a root itself."""
    for root in sorted(roots, key=len, reverse=True):
        if key(path) == key(root):
            return []
        depth = root.count(SLASH) + 1
        pieces = path.split(SLASH)
        if len(pieces) > depth and key(SLASH.join(pieces[:depth])) == key(root):
            return pieces[depth:]
    return None


@dataclass(frozen=True, slots=True)
class Named:
    """Something that wants a path: below `parent`, for its `name`; `now` is the path that it has."""

    id: int
    parent: str
    name: str
    now: str = ""
    limit: int = LIMIT  #: of its own part


def paths(
    wanted: Iterable[Named], taken: Collection[str] = (), refused: Collection[tuple[int, str]] = ()
) -> dict[int, str]:
    """A path for each, no two the same for Gmail: of two boxes of one name the second gets " (2)".

    What has a fitting path keeps it; a number goes once nobody else has the name. taken: paths of others.
    refused: paths (with the id) that Gmail did not take.
    """
    used, found, rest = {key(path) for path in taken}, {}, []
    no = {(id_, key(path)) for id_, path in refused}
    for one in wanted:
        if one.now == _plain(one) and key(one.now) not in used and (one.id, key(one.now)) not in no:
            found[one.id] = one.now
            used.add(key(one.now))
        else:
            rest.append(one)
    for one in sorted(rest, key=lambda one: not _fits(one)):
        tried = itertools.chain([_plain(one)], [one.now] if _fits(one) else [], _choices(one))
        path = next(path for path in tried if key(path) not in used and (one.id, key(path)) not in no)
        found[one.id] = path
        used.add(key(path))
    return found


def _plain(one: Named) -> str:
    return next(iter(_choices(one)))


def _choices(one: Named) -> Iterable[str]:
    part = segment(one.name, min(one.limit, LIMIT - size(one.parent) - 1 - ROOM))
    yield f"{one.parent}/{part}"
    number = 2
    while True:
        yield f"{one.parent}/{part} ({number})"
        number += 1


def _fits(one: Named) -> bool:
    """Whether the path that it has is its name's, perhaps with a number."""
    if not one.now:
        return False
    plain = _plain(one)
    head, _, number = one.now.rpartition(" (")
    return one.now == plain or (head == plain and number[:-1].isdigit() and number.endswith(")"))
