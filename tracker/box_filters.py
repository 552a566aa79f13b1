"""Box filters: which boxes of a pipeline a board or a table shows, as an address says it.

The parameters, the same for every page: `owner` (several: a user's key, `me`, `nobody`), `tag` (several), `stage`
(several, keys), `created` (`week`, `month`, `quarter`, `year`: the present one) or `from` and `to` (ISO dates),
`min` and `max` (amounts), `q` (words of the name, a contact or the organization), `owes` (`us`, `them`),
`sleeping` (`1`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import ColumnElement, and_, false, func, literal, or_, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import aliased

from tracker.boxes import Box, BoxContact
from tracker.contacts import Contact, ContactAddress, Organization
from tracker.facts import BoxFacts
from tracker.fields import Field, FieldType, is_moderate
from tracker.people import User, Viewer
from tracker.pipelines import Kind, Stage

SEVERAL = 50  # of an owner, tag or stage at a time
WORDS = 8  # of the text
ME, NOBODY = "me", "nobody"
US, THEM = "us", "them"
PERIODS = {"week": "this week", "month": "this month", "quarter": "this quarter", "year": "this year"}
OWES = {US: "we owe an answer", THEM: "waiting for them"}
PARAMETERS = ("q", "owner", "tag", "stage", "created", "from", "to", "min", "max", "owes", "sleeping")


@dataclass(frozen=True, slots=True)
class Chip:
    """One part of a filter, and the filter's parameters without it."""

    name: str  #: what it is about; a mark has nothing else
    value: str
    without: dict[str, Any]

    @property
    def words(self) -> str:
        """All of it."""
        return f"{self.name}: {self.value}" if self.value else self.name


@dataclass(frozen=True, slots=True)
class BoxFilter:
    """Which boxes are meant. Without any part: all that are listed."""

    owners: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    period: str = ""
    created_from: date | None = None
    created_to: date | None = None  #: this day included
    at_least: Decimal | None = None
    at_most: Decimal | None = None
    text: str = ""
    owes: str = ""
    sleeping: bool = False
    problems: tuple[str, ...] = field(default=(), compare=False)  #: what could not be read, in words

    @classmethod
    def parse(cls, args: Mapping[str, Any]) -> BoxFilter:
        """Read a filter from an address's parameters, or from those of a saved view.

        What can't be read is left out and told in `problems`.
        """
        problems: list[str] = []

        def read(name: str, reader: Callable[[str], Any], words: str) -> Any:
            given = _one(args, name)
            try:
                return reader(given) if given else None
            except (ValueError, InvalidOperation):
                problems.append(f"“{given[:40]}” is no {words}")
                return None

        period = _one(args, "created")
        day = "date such as 2026-11-24"
        money = "amount such as 1250.50"
        owes = _one(args, "owes")
        return cls(
            owners=_several(args, "owner"),
            tags=_several(args, "tag"),
            stages=_several(args, "stage"),
            period=period if period in PERIODS else "",
            created_from=None if period in PERIODS else read("from", date.fromisoformat, day),
            created_to=None if period in PERIODS else read("to", date.fromisoformat, day),
            at_least=read("min", _amount, money),
            at_most=read("max", _amount, money),
            text=" ".join(_one(args, "q").split())[:200],
            owes=owes if owes in OWES else "",
            sleeping=_one(args, "sleeping") in ("1", "on", "true"),
            problems=tuple(problems),
        )

    def __bool__(self) -> bool:
        """Whether it leaves anything out."""
        return bool(self.params())

    def params(self) -> dict[str, Any]:
        """The parameters of an address that says the same, for `url_for(..., **params)`."""
        found: dict[str, Any] = {
            "q": self.text,
            "owner": list(self.owners),
            "tag": list(self.tags),
            "stage": list(self.stages),
            "created": self.period,
            "from": self.created_from and self.created_from.isoformat(),
            "to": self.created_to and self.created_to.isoformat(),
            "min": None if self.at_least is None else format(self.at_least, "f"),
            "max": None if self.at_most is None else format(self.at_most, "f"),
            "owes": self.owes,
            "sleeping": "1" if self.sleeping else "",
        }
        return {name: value for name, value in found.items() if value}

    def conditions(
        self, viewer: Viewer, now: datetime, columns: Sequence[Field], zone: tzinfo = UTC
    ) -> list[ColumnElement[bool]]:
        """SQL conditions on `Box`, with `BoxFacts` joined (`BoxFacts.box_id == Box.id`).

        `columns` are the pipeline's fields (tags stand in them), `zone` is where the viewer's days begin. That a
        box is of the pipeline and listed is for the caller to say.
        """
        parts = [
            self._owner(viewer),
            or_(*(_tagged(tag, columns) for tag in self.tags)) if self.tags else None,
            self._in_stage(viewer),
            *self._created(now, zone),
            None if self.at_least is None else Box.value_amount >= self.at_least,
            None if self.at_most is None else Box.value_amount <= self.at_most,
            *self._named(viewer),
            owed_by(self.owes) if self.owes else None,
            asleep(now) if self.sleeping else None,
        ]
        return [part for part in parts if part is not None]

    def _owner(self, viewer: Viewer) -> ColumnElement[bool] | None:
        if not self.owners:
            return None
        keys = set(self.owners) - {ME, NOBODY}
        wanted: list[ColumnElement[bool]] = []
        if ME in self.owners and viewer.user_id is not None:
            wanted.append(Box.owner_id == viewer.user_id)
        if NOBODY in self.owners:
            wanted.append(Box.owner_id.is_(None))
        if keys:
            named = select(User.id).where(User.team_id == viewer.team_id, User.key.in_(keys))
            wanted.append(Box.owner_id.in_(named))
        return or_(false(), *wanted)

    def _in_stage(self, viewer: Viewer) -> ColumnElement[bool] | None:
        if not self.stages:
            return None
        stage = aliased(Stage)
        return Box.stage_id.in_(
            select(stage.id).where(stage.team_id == viewer.team_id, stage.key.in_(self.stages))
        )

    def _created(self, now: datetime, zone: tzinfo) -> list[ColumnElement[bool] | None]:
        first, last = self.created_from, self.created_to
        if self.period:
            first, last = _period(self.period, now.astimezone(zone).date()), None
        return [
            Box.created_at >= _midnight(first, zone) if first else None,
            Box.created_at < _midnight(last + timedelta(days=1), zone) if last and last < date.max else None,
        ]

    def _named(self, viewer: Viewer) -> list[ColumnElement[bool]]:
        words = [word for word in self.text.split() if re.search(r"\w", word)][:WORDS]
        if self.text and not words:
            return [Box.name.icontains(self.text, autoescape=True)]
        return [_mentions(viewer, word) for word in words]

    def chips(self, people: Iterable[User], stages: Iterable[Stage]) -> list[Chip]:
        """Each part in words, to be taken away one by one."""
        names = {user.key: user.name for user in people} | {ME: "me", NOBODY: "nobody"}
        steps = {stage.key: stage.name for stage in stages}
        created = PERIODS.get(self.period) or _range(_day(self.created_from), _day(self.created_to))
        days = {"period": "", "created_from": None, "created_to": None}
        chips = [
            self._chip("Text", f"“{self.text}”" if self.text else "", text=""),
            *self._each("Owner", "owners", lambda key: names.get(key, "somebody who is gone")),
            *self._each("Tag", "tags", str),
            *self._each("Stage", "stages", lambda key: steps.get(key, "one that is gone")),
            self._chip("Created", created, **days),
            self._chip(
                "Value", _range(_number(self.at_least), _number(self.at_most)), at_least=None, at_most=None
            ),
            self._chip("Answer", OWES.get(self.owes, ""), owes=""),
        ]
        found = [chip for chip in chips if chip.value]
        return [*found, self._chip("Sleeping", "", sleeping=False)] if self.sleeping else found

    def _each(self, name: str, part: str, words: Callable[[str], str]) -> list[Chip]:
        values: tuple[str, ...] = getattr(self, part)
        return [
            self._chip(name, words(one), **{part: tuple(other for other in values if other != one)})
            for one in values
        ]

    def _chip(self, name: str, value: str, **without: Any) -> Chip:
        return Chip(name, value, replace(self, **without).params())


def owed_by(whom: str) -> ColumnElement[bool]:
    """SQL: who has to answer next in the box. A stage that is won or lost waits for nobody."""
    sent, received = BoxFacts.last_sent_at, BoxFacts.last_received_at
    if whom == US:
        return and_(received.is_not(None), or_(sent.is_(None), received > sent))
    stage = aliased(Stage)
    unfinished = select(stage.id).where(stage.id == Box.stage_id, stage.kind == Kind.OPEN.value)
    return and_(sent.is_not(None), or_(received.is_(None), sent > received), unfinished.correlate(Box).exists())


def asleep(now: datetime) -> ColumnElement[bool]:
    """SQL: neither mail nor a move for longer than the box's stage allows (`Stage.sleep_days`)."""
    stage = aliased(Stage)
    stirred = func.greatest(Box.stage_entered_at, BoxFacts.last_mail_at)
    limit = literal(now) - func.make_interval(0, 0, 0, stage.sleep_days)
    late = select(stage.id).where(stage.id == Box.stage_id, stage.sleep_days.is_not(None), stirred < limit)
    return late.correlate(Box, BoxFacts).exists()


def _one(args: Mapping[str, Any], name: str) -> str:
    value = args.get(name)
    if isinstance(value, list | tuple):
        value = value[0] if value else ""
    return str(value or "").replace("\x00", "").strip()[:500]


def _several(args: Mapping[str, Any], name: str) -> tuple[str, ...]:
    getlist = getattr(args, "getlist", None)  # a request's MultiDict
    values = getlist(name) if getlist else args.get(name) or ()
    if isinstance(values, str):
        values = [values]
    cleaned = (str(value).replace("\x00", "").strip()[:100] for value in values)
    return tuple(dict.fromkeys(value for value in cleaned if value))[:SEVERAL]


def _amount(given: str) -> Decimal:
    number = Decimal(given.replace("\u00a0", "").replace(" ", "").replace(",", ""))
    if not is_moderate(number):
        raise ValueError(given)
    return number


def _period(name: str, today: date) -> date:
    """The first day of the present week (Monday), month, quarter or year."""
    if name == "week":
        return today - timedelta(days=today.weekday())
    month = {"month": today.month, "quarter": 3 * ((today.month - 1) // 3) + 1, "year": 1}[name]
    return today.replace(month=month, day=1)


def _midnight(day: date, zone: tzinfo) -> datetime:
    try:
        return datetime.combine(day, time(), zone).astimezone(UTC)
    except OverflowError:  # the first or the last day that there is
        return datetime.combine(day, time(), UTC)


def _tagged(tag: str, columns: Sequence[Field]) -> ColumnElement[bool]:
    keys = [column.key for column in columns if column.type == FieldType.TAGS]
    return or_(false(), *(Box.values[key].contains(literal([tag], JSONB())) for key in keys))


def _mentions(viewer: Viewer, word: str) -> ColumnElement[bool]:
    """SQL: the box's name, a contact of it or its organization has a word that begins so."""
    quoted = word.replace("\\", "\\\\").replace("'", "''")
    query = func.to_tsquery("simple", f"'{quoted}':*")
    box = aliased(Box)
    of_team = box.team_id == viewer.team_id
    companies = select(Organization.id).where(
        Organization.team_id == viewer.team_id, Organization.search.bool_op("@@")(query)
    )
    contacts = select(Contact.id).where(Contact.team_id == viewer.team_id, Contact.search.bool_op("@@")(query))
    found = [
        select(box.id).where(of_team, box.search.bool_op("@@")(query)),
        select(BoxContact.box_id).where(BoxContact.contact_id.in_(contacts)),
        select(box.id).where(of_team, box.organization_id.in_(companies)),
    ]
    if "@" in word:
        written = select(ContactAddress.contact_id).where(
            ContactAddress.team_id == viewer.team_id, ContactAddress.normalized.istartswith(word, autoescape=True)
        )
        found.append(select(BoxContact.box_id).where(BoxContact.contact_id.in_(written)))
    return or_(*(Box.id.in_(one) for one in found))


def _range(first: str, last: str) -> str:
    if first and last:
        return f"{first} to {last}"
    return f"from {first}" if first else f"up to {last}" if last else ""


def _day(day: date | None) -> str:
    return f"{day.day} {day:%b %Y}" if day else ""


def _number(amount: Decimal | None) -> str:
    return "" if amount is None else f"{amount:,f}"
