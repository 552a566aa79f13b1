"""The people of the story: who they are, where they sit and how they end a mail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Organization:
    """A made-up company, the place it is in, and its mail domain."""

    key: str
    name: str
    domain: str
    place: str
    time_zone: str
    language: str


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who writes mail, or a machine that does (*automatic*)."""

    key: str
    address: str
    name: str
    organization: Organization
    language: str
    time_zone: str
    #: What this person ends a mail with, by language; used in turn.
    closings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    signature: str = ""
    #: Whether this person's program writes an HTML alternative too.
    html: bool = False
    charset: str = "utf-8"
    automatic: bool = False

    @property
    def zone(self) -> ZoneInfo:
        """The person's time zone."""
        return ZoneInfo(self.time_zone)

    @property
    def domain(self) -> str:
        """What follows the ``@`` of the address."""
        return self.address.rpartition("@")[2]

    def closing(self, language: str, written: int = 0) -> str:
        """The closing of a mail in *language* after *written* others; empty where there is none."""
        known = self.closings.get(language) or self.closings.get(self.language) or ("",)
        return known[written % len(known)]


@dataclass(frozen=True, slots=True)
class Rep(Person):
    """A member of the team, with the role that Tracker gives: admin, member or guest."""

    role: str = "member"


class Cast:
    """Everyone in ``people.toml``, by key."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.team: str = table["team"]
        self.organizations = {row["key"]: Organization(**row) for row in table["organization"]}
        self.reps = tuple(Rep(**self._arguments(row), role=row["role"]) for row in table["rep"])
        self.others = tuple(Person(**self._arguments(row)) for row in table["person"])
        self._by_key = {person.key: person for person in (*self.others, *self.reps)}
        if len(self._by_key) < len(self.reps) + len(self.others):
            raise ValueError("two people have the same key")

    def __getitem__(self, key: str) -> Person:
        return self._by_key[key]

    def addresses(self, keys: list[str]) -> tuple[str, ...]:
        """The addresses of the people with *keys*."""
        return tuple(self[key].address for key in keys)

    def _arguments(self, row: dict[str, Any]) -> dict[str, Any]:
        """What a Person is made of, with what its organization gives."""
        organization = self.organizations[row["organization"]]
        person = {name: row[name] for name in ("key", "name", "html", "charset", "automatic") if name in row}
        language = row.get("language", organization.language)
        return person | {
            "address": f"{row['local']}@{organization.domain}",
            "organization": organization,
            "language": language,
            "time_zone": row.get("time_zone", organization.time_zone),
            "closings": _closings(row.get("closings", []), language),
            "signature": _signature(row, organization),
        }


def _closings(listed: list[str] | dict[str, list[str]], language: str) -> dict[str, tuple[str, ...]]:
    """Closings by language; a plain list is in the person's own *language*."""
    by_language = {language: listed} if isinstance(listed, list) else listed
    return {name: tuple(texts) for name, texts in by_language.items() if texts}


def _signature(row: dict[str, Any], organization: Organization) -> str:
    """The block under a person's first mail, without the ``-- `` line; empty for who has none."""
    if "title" not in row:
        return ""
    place = row.get("place", organization.place)
    lines = [row["name"], row["title"], f"{organization.name}, {place}"]
    return "\n".join([*lines, row["phone"]] if "phone" in row else lines)
