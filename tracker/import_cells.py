"""The cells of an import's file, read: what a text means as a stage, a person, an address or a field's value.

Everything that cells may speak of is read at once, before them; each text of a column is read once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import fields, imports, people
from tracker.addresses import Address, normalize, parse_addresses
from tracker.contacts import Contact, ContactAddress, Organization
from tracker.csv_files import unguard
from tracker.db import among
from tracker.fields import Field, FieldError, FieldType
from tracker.imports import Import
from tracker.people import User, Viewer
from tracker.pipelines import Stage

DATE_FORMATS = ("%Y-%m-%d", "%d.%m.%Y", "%Y/%m/%d")


class Cells:
    """What the cells of a file mean."""

    def __init__(
        self,
        session: Session,
        viewer: Viewer,
        made: Import,
        targets: Mapping[int, str],
        columns: Mapping[int, Field],
        stages: Sequence[Stage],
    ) -> None:
        self.session, self.viewer, self.made = session, viewer, made
        self.targets, self.fields, self.stages = targets, columns, stages
        self.own = people.own_addresses(session, viewer.team_id)
        self.readers: dict[int, Callable[[str], str]] = {}
        self.memory: dict[tuple[int, str], Any] = {}
        self._look_up()

    def _look_up(self) -> None:
        team_id = self.viewer.team_id
        named = select(Organization.id, Organization.key, Organization.name).where(Organization.team_id == team_id)
        self.organizations: dict[str, tuple[int, str, str]] = {}
        for id_, key, name in self.session.execute(named.order_by(Organization.id)):
            self.organizations.setdefault(name.casefold(), (id_, key, name))
        self.stage_names: dict[str, Stage] = {}
        for stage in self.stages:
            self.stage_names.setdefault(stage.name.casefold(), stage)
        self.people: dict[str, list[User]] = defaultdict(list)
        for user in people.of_team(self.session, team_id):
            for called in {user.key, user.normalized, user.name.casefold()}:
                self.people[called].append(user)
        self._look_up_contacts()

    def _look_up_contacts(self) -> None:
        wanted: set[str] = set()
        for number, target in self.targets.items():
            if target == imports.CONTACT or (
                number in self.fields and self.fields[number].type == FieldType.CONTACT
            ):
                for _, cells in self.made.rows:
                    cell = unguard(cells[number]) if number < len(cells) else ""
                    wanted |= {one.normalized for one in addresses_in(cell)}
        self.contacts: dict[str, tuple[int, str, str, int | None]] = {}
        if wanted:
            query = (
                select(ContactAddress.normalized, Contact.id, Contact.key, Contact.name, Contact.organization_id)
                .join(Contact)
                .where(ContactAddress.team_id == self.viewer.team_id, among(ContactAddress.normalized, wanted))
            )
            self.contacts = {row[0]: (row[1], row[2], row[3], row[4]) for row in self.session.execute(query)}

    def remembered(self, number: int, cell: str, read: Callable[[int, str], Any]) -> Any:
        """A column often says the same; what is wrong once is wrong again."""
        known = self.memory.get((number, cell))
        if known is None:
            try:
                known = read(number, cell)
            except FieldError as error:
                known = error
            self.memory[(number, cell)] = known
        if isinstance(known, FieldError):
            raise known
        return known

    def stage(self, cell: str) -> Stage:
        """The stage of this name. Raises `FieldError`, as all of these do."""
        found = self.stage_names.get(cell.casefold())
        if found is None:
            raise FieldError(
                f"there is no stage “{cell[:60]}”; there are {', '.join(one.name for one in self.stages)}"
            )
        return found

    def person(self, cell: str) -> User:
        """Somebody of the team, by name, address or key."""
        found = self.people.get(cell) or self.people.get(cell.casefold()) or self.people.get(normalize(cell)) or []
        if len(found) > 1:
            raise FieldError(f"two people are called {cell[:60]}; write their addresses")
        if not found:
            raise FieldError(f"“{cell[:60]}” is nobody of the team; write a name or an address as under Team")
        return found[0]

    def people_of(self, cell: str) -> list[Address]:
        """The addresses of contacts."""
        found = addresses_in(cell)
        own = next((one for one in found if one.normalized in self.own), None)
        if own is not None:
            raise FieldError(f"{own.address} is one of the team's own addresses, not a contact's")
        return list({one.normalized: one for one in found}.values())

    def value(self, number: int, cell: str) -> Any:
        """What is stored in the field of a column."""
        one = self.fields[number]
        if one.type == FieldType.PERSON:
            return self.person(cell).key
        if one.type == FieldType.CONTACT:
            found = next(
                (self.contacts[a.normalized] for a in addresses_in(cell) if a.normalized in self.contacts), None
            )
            if found is None:
                raise FieldError(f"“{cell[:60]}” is the address of no contact")
            return found[1]
        if one.type == FieldType.ORGANIZATION:
            company = self.organizations.get(cell.casefold())
            if company is None:
                raise FieldError(f"“{cell[:60]}” is no organization of the team")
            return company[1]
        if one.type == FieldType.DATE:
            cell = self._reader(number)(cell)
        return fields.parse(self.session, one, cell)

    def _reader(self, number: int) -> Callable[[str], str]:
        """How dates are written in a column: as all of its cells can be read."""
        if number not in self.readers:
            cells = [unguard(cell).strip() for cell in imports.column_of(self.made, number)]
            self.readers[number] = _date_reader([cell for cell in cells if cell])
        return self.readers[number]


def addresses_in(cell: str) -> list[Address]:
    """The addresses of a cell; none is no mistake here."""
    return list(parse_addresses([cell])) if "@" in cell else []


def _date_reader(cells: Sequence[str]) -> Callable[[str], str]:
    for pattern in DATE_FORMATS:
        if all(_fits(cell, pattern) for cell in cells):
            return lambda cell: datetime.strptime(cell, pattern).date().isoformat()  # noqa: DTZ007
    days, months = [all(_fits(cell, one) for cell in cells) for one in ("%d/%m/%Y", "%m/%d/%Y")]
    if days != months:
        pattern = "%d/%m/%Y" if days else "%m/%d/%Y"
        return lambda cell: datetime.strptime(cell, pattern).date().isoformat()  # noqa: DTZ007
    if days and months and cells:

        def refuse(cell: str) -> str:
            raise FieldError(f"{cell} may be two different days; write dates as 2026-11-24")

        return refuse
    return lambda cell: cell


def _fits(cell: str, pattern: str) -> bool:
    try:
        datetime.strptime(cell, pattern)  # noqa: DTZ007
    except ValueError:
        return False
    return True
