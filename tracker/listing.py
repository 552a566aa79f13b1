"""Listing: a pipeline's boxes as the rows of a table: which, in what order, in what groups, page by page.

A page begins where the one before ended (a keyset), so that the last page costs what the first one does.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, false, func, literal, or_, select, true
from sqlalchemy.orm import Session, aliased, joinedload, selectinload

from tracker import boxes, columns
from tracker.box_filters import BoxFilter
from tracker.boxes import Box
from tracker.columns import Column, Grouping, Order, Row, Sorted
from tracker.contacts import Contact
from tracker.db import among
from tracker.facts import BoxFacts
from tracker.field_filters import FieldFilter
from tracker.field_filters import parse as parse_field_filters
from tracker.fields import Field
from tracker.people import Viewer
from tracker.pipelines import Pipeline, Stage

SORTS = 3  # columns to sort by at a time
SHOWN = 40  # columns at a time
COUNTED = 10_000  # boxes; more are not counted
NEWEST = "-created"


class CursorError(ValueError):
    """A place in a list that is none."""


@dataclass(frozen=True, slots=True)
class Place:
    """The last row of the page before: its group, what it was sorted by, and its box's key."""

    group: str
    values: tuple[Any, ...]
    key: str

    def __str__(self) -> str:
        told = [self.group, [None if value is None else str(value) for value in self.values], self.key]
        return base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Head:
    """What stands above a group's first row."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, the heads of the groups that begin among them (by the row's number), and where the next begin."""

    rows: Sequence[Row]
    heads: Mapping[int, Head]
    more: Place | None


@dataclass(frozen=True, slots=True)
class Look:
    """How somebody looks at a pipeline's boxes, as the address says it."""

    pipeline: Pipeline
    columns: Mapping[str, Column]
    fields: Sequence[Field]
    shown: tuple[Column, ...]
    sorts: tuple[tuple[Column, bool], ...]  #: with whether it is descending
    group: Column | None
    filter: BoxFilter
    wanted: tuple[FieldFilter, ...]
    problems: tuple[str, ...] = field(default=(), compare=False)

    @property
    def is_filtered(self) -> bool:
        """Whether anything is left out."""
        return bool(self.filter) or bool(self.wanted)

    def filter_params(self) -> dict[str, Any]:
        """The parameters of its filters."""
        found = self.filter.params()
        for one in self.wanted:
            found |= one.params()
        return found

    def params(self) -> dict[str, Any]:
        """The parameters of an address that says the same; what nobody chose is left out."""
        found: dict[str, Any] = {}
        keys = [one.key for one in self.shown]
        if keys != columns.first_shown(self.columns):
            found["cols"] = ",".join(keys)
        sort = ",".join(f"-{one.key}" if down else one.key for one, down in self.sorts)
        if sort != NEWEST:
            found["sort"] = sort
        if self.group:
            found["group"] = self.group.key
        return found | self.filter_params()

    def by(self, column: Column, also: bool = False) -> Look:
        """Sorted by a column, or, if it is already, the other way round; `also` keeps what it is sorted by."""
        now = {one.key: down for one, down in self.sorts}
        down = not now[column.key] if column.key in now else column.newest_first
        if also:
            kept = [(one, was) for one, was in self.sorts if one.key != column.key]
            position = next((n for n, (one, _) in enumerate(self.sorts) if one.key == column.key), len(kept))
            kept.insert(position, (column, down))
            return replace(self, sorts=tuple(kept[:SORTS]))
        return replace(self, sorts=((column, down),))


def parse(args: Mapping[str, Any], pipeline: Pipeline, fields: Sequence[Field], stages: Sequence[Stage]) -> Look:
    """Read a look from an address's parameters, or from those of a saved view."""
    known = columns.of_pipeline(fields, stages)
    money = columns.money_field(fields)
    names = {f"f.{money.key}": "value"} if money else {}
    wanted, problems = parse_field_filters(args, fields)
    filtered = BoxFilter.parse(args)
    shown = [known[key] for key in _list(args, "cols", SHOWN, names) if key in known]
    shown = shown or [known[key] for key in columns.first_shown(known)]
    shown = [known["name"], *(one for one in shown if one.key != "name")]
    group = known.get(_first(args, "group"))
    return Look(
        pipeline,
        known,
        fields,
        tuple(shown),
        _sorts(args, known, names),
        group if group and group.grouping else None,
        filtered,
        tuple(wanted),
        (*filtered.problems, *problems),
    )


def _first(args: Mapping[str, Any], name: str) -> str:
    value = args.get(name) or ""
    return str(value[0] if isinstance(value, list) and value else value)[:1000]


def _list(args: Mapping[str, Any], name: str, most: int, names: Mapping[str, str]) -> list[str]:
    getlist = getattr(args, "getlist", None)  # a form of ticks sends one parameter each
    given = getlist(name) if getlist else [_first(args, name)]
    keys = [key.strip() for one in given for key in one.split(",")]
    return list(dict.fromkeys(names.get(key, key) for key in keys if key))[:most]


def _sorts(
    args: Mapping[str, Any], known: Mapping[str, Column], names: Mapping[str, str]
) -> tuple[tuple[Column, bool], ...]:
    found: dict[str, tuple[Column, bool]] = {}
    for given in _list(args, "sort", SORTS, {}):
        key = given.removeprefix("-")
        column = known.get(names.get(key, key))
        if column is not None and column.order is not None:
            found.setdefault(column.key, (column, given.startswith("-")))
    return tuple(found.values()) or ((known[NEWEST[1:]], True),)


@dataclass(frozen=True, slots=True)
class Listing:
    """A look, for a viewer, at a time."""

    session: Session
    viewer: Viewer
    look: Look
    now: datetime
    zone: tzinfo = UTC

    def page(self, after: str | None = None, limit: int = 50) -> Page:
        """The rows behind a place. Raises `CursorError`."""
        place = read_place(after, self._orders()) if after else None
        found = self._ids(place, limit + 1)
        more = found[limit - 1] if len(found) > limit else None
        found = found[:limit]
        rows = self._rows([one.id for one in found])
        groups = ["" if one.g is None else str(one.g) for one in found] if self.look.group else []
        last = None if more is None else Place(groups[-1] if groups else "", tuple(more.sorted), more.key)
        return Page(rows, self._heads(rows, groups, place.group if place else None), last)

    def count(self) -> int:
        """How many rows there are in all; more than `COUNTED` are not counted."""
        some = self._base(select(literal(1))).limit(COUNTED + 1).subquery()
        return self.session.scalar(select(func.count()).select_from(some)) or 0

    def _orders(self) -> list[tuple[Order, bool]]:
        """What to sort by, with whether its expression descends."""
        found = [(one, False) for one in self._grouping.orders] if self._grouping else []
        for column, down in self.look.sorts:
            assert column.order is not None
            found.append((column.order, down != column.order.flipped))
        return found

    @property
    def _grouping(self) -> Grouping | None:
        return self.look.group.grouping if self.look.group else None

    def _base(self, query: Any) -> Select[Any]:
        conditions = [
            Box.pipeline_id == self.look.pipeline.id,
            boxes.is_listed(),
            *self.look.filter.conditions(self.viewer, self.now, self.look.fields, self.zone),
            *(one.condition(self.viewer) for one in self.look.wanted),
        ]
        found: Select[Any] = query.select_from(Box)
        return found.outerjoin(BoxFacts, BoxFacts.box_id == Box.id).where(*conditions)

    def _ids(self, place: Place | None, limit: int) -> list[_Found]:
        """The next boxes with what they are sorted by.

        Those without the first thing to sort by come last, in a query of their own: an index gives the others
        in their order, whichever direction it is.
        """
        orders = self._orders()
        first, _ = orders[0]
        if not first.nullable:
            return self._some(orders, place, limit, true())
        found: list[_Found] = []
        if place is None or place.values[0] is not None:
            some: ColumnElement[bool] = first.expression.is_not(None)
            if first.of_facts:  # its index begins with the pipeline
                some = and_(some, BoxFacts.pipeline_id == self.look.pipeline.id)
            found = self._some(orders, place, limit, some)
            place = None
        if len(found) < limit:
            found += self._some(orders, place, limit - len(found), first.expression.is_(None))
        return found

    def _some(
        self, orders: list[tuple[Order, bool]], place: Place | None, limit: int, part: ColumnElement[bool]
    ) -> list[_Found]:
        group = self._grouping.identity if self._grouping else literal(None)
        values = [order.expression.label(f"s{number}") for number, (order, _) in enumerate(orders)]
        query = self._base(select(Box.id, Box.key, group.label("g"), *values)).where(part)
        if place is not None:
            query = query.where(_behind(orders, place, self.viewer.team_id))
        query = query.order_by(*_order_by(orders), Box.id.desc()).limit(limit)
        if len(orders) == 1 and self.look.sorts[0][0].key == "days":
            query = self._by_stage(query, orders, limit)
        return [_Found(row[0], row[1], row[2], tuple(row[3:])) for row in self.session.execute(query)]

    def _by_stage(self, query: Select[Any], orders: list[tuple[Order, bool]], limit: int) -> Select[Any]:
        """By days in stage: an index has each stage's in order, so take the first of each stage, then of those."""
        some = query.where(Box.stage_id == Stage.id).correlate(Stage).lateral("some")
        place = some.c.s0.desc() if orders[0][1] else some.c.s0
        return (
            select(some.c.id, some.c.key, some.c.g, some.c.s0)
            .select_from(Stage)
            .join(some, true())
            .where(Stage.pipeline_id == self.look.pipeline.id)
            .order_by(place, some.c.id.desc())
            .limit(limit)
        )

    def _rows(self, ids: Sequence[int]) -> list[Row]:
        if not ids:
            return []
        query = (
            select(Box, BoxFacts)
            .outerjoin(BoxFacts, BoxFacts.box_id == Box.id)
            .where(among(Box.id, ids))
            .options(joinedload(Box.owner), joinedload(Box.organization), joinedload(Box.stage))
        )
        shown = {one.key for one in self.look.shown}
        if "contacts" in shown:
            query = query.options(selectinload(Box.contacts).selectinload(Contact.addresses))
        by_id = {box.id: Row(box, facts) for box, facts in self.session.execute(query)}
        for column in self.look.shown:
            if column.load is not None:
                for box_id, value in column.load(self.session, ids).items():
                    by_id[box_id].extra[column.key] = value
        return [by_id[one] for one in ids if one in by_id]

    def _heads(self, rows: Sequence[Row], groups: Sequence[str], before: str | None) -> dict[int, Head]:
        if self._grouping is None or not rows:
            return {}
        begins = [n for n, one in enumerate(groups) if one != (groups[n - 1] if n else before)]
        counts = self._counts(rows, begins)
        return {n: Head(self._grouping.name(rows[n]), counts.get(groups[n], 0)) for n in begins}

    def _counts(self, rows: Sequence[Row], begins: Sequence[int]) -> dict[str, int]:
        """How many boxes there are in the groups that begin here, and in no others."""
        assert self._grouping is not None
        if not begins:
            return {}
        identity = self._grouping.identity
        here = select(identity).where(among(Box.id, [rows[n].box.id for n in begins])).distinct()
        found = self.session.scalars(here).all()
        wanted = or_(
            identity.in_([one for one in found if one is not None]),
            identity.is_(None) if None in found else false(),
        )
        query = self._base(select(identity, func.count())).where(wanted).group_by(identity)
        return {"" if one is None else str(one): count for one, count in self.session.execute(query)}


@dataclass(frozen=True, slots=True)
class _Found:
    id: int
    key: str
    g: Any
    sorted: tuple[Any, ...]


def _order_by(orders: Sequence[tuple[Order, bool]]) -> list[ColumnElement[Any]]:
    found: list[ColumnElement[Any]] = []
    for number, (order, down) in enumerate(orders):
        one = order.expression.desc() if down else order.expression.asc()
        found.append(one.nulls_last() if order.nullable and number else one)
    return found


def _behind(orders: Sequence[tuple[Order, bool]], place: Place, team_id: int) -> ColumnElement[bool]:
    """SQL: in the order of these, behind the place."""
    seen = aliased(Box)
    number = func.coalesce(
        select(seen.id).where(seen.team_id == team_id, seen.key == place.key).scalar_subquery(), 0
    )
    behind: list[ColumnElement[bool]] = []
    same: list[ColumnElement[bool]] = []
    for (order, down), value in zip(orders, place.values, strict=True):
        expression = order.expression
        if value is None:
            same.append(expression.is_(None))
            continue
        there = order.literal(value)
        beyond = expression < there if down else expression > there
        behind.append(and_(*same, or_(beyond, expression.is_(None)) if order.nullable else beyond))
        same.append(expression == there)
    behind.append(and_(*same, Box.id < number))
    first, value = orders[0], place.values[0]
    bound: ColumnElement[bool] = true()
    if value is not None:  # says the same once more, in a way that an index can begin at
        there = first[0].literal(value)
        bound = first[0].expression <= there if first[1] else first[0].expression >= there
    return and_(bound, or_(*behind))


def read_place(given: str, orders: Sequence[tuple[Order, bool]]) -> Place:
    """The place in an address. Raises `CursorError`."""
    try:
        told = json.loads(base64.urlsafe_b64decode(given + "=" * (-len(given) % 4)))
        json.dumps(told, ensure_ascii=False).encode()  # JSON can write half a letter, the database can't
        group, values, key = told
        read = [order.read(value) for (order, _), value in zip(orders, values, strict=True)]
    except (ValueError, TypeError, ArithmeticError, binascii.Error, RecursionError) as error:
        raise CursorError("That is no place in this list") from error
    for (order, _), value in zip(orders, read, strict=True):
        if order.by == Sorted.INSTANT and value is not None and value.tzinfo is None:
            raise CursorError("That is no place in this list")
    return Place(str(group), tuple(read), str(key).replace("\x00", ""))
