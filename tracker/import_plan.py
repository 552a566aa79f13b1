"""The plan of an import: what each line of a file would do, or what is wrong with it, in words.

Everything that lines may speak of is read at once, before the lines: a file of 20,000 lines takes as many queries
as one of 20.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import fields, imports, pipelines
from tracker.addresses import Address, person_name
from tracker.boxes import NAME_LIMIT, Box, BoxContact
from tracker.contacts import Contact, ContactAddress
from tracker.csv_files import unguard
from tracker.db import among
from tracker.fields import Field, FieldError, FieldType
from tracker.import_cells import Cells
from tracker.imports import Import
from tracker.people import User, Viewer
from tracker.pipelines import Stage

NEW, CHANGE, SAME, WRONG = "new", "change", "same", "wrong"
NAMES_LIMIT = 200  # characters of an organization's or a contact's name


@dataclass(slots=True)
class Existing:
    """A box of the pipeline as it is."""

    id: int
    key: str
    name: str
    stage_id: int
    owner_id: int | None
    organization_id: int | None
    values: dict[str, Any]
    contacts: dict[str, str] = field(default_factory=dict)  #: normalized address → name
    nameless: set[str] = field(default_factory=set)  #: names of contacts without an address, case-folded


@dataclass(slots=True)
class Line:
    """A line of the file, and what it wants of its box. What it does not speak of is None or missing."""

    number: int
    cells: Sequence[str]
    errors: list[str] = field(default_factory=list)
    key: str = ""
    name: str | None = None
    stage: Stage | None = None
    owner: User | None = None
    organization: str | None = None
    addresses: list[Address] = field(default_factory=list)
    nameless: str = ""  #: contacts without an address: fine only if the box has them already
    contact_name: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    cleared: set[str] = field(default_factory=set)  #: `owner`, `organization` or fields' keys that are emptied
    box: Existing | None = None
    changes: list[str] = field(default_factory=list)  #: what would change, as `name`, `stage` … or a field's key
    added: list[Address] = field(default_factory=list)  #: contacts that the box has not got yet

    @property
    def state(self) -> str:
        """What would become of it."""
        if self.errors:
            return WRONG
        if self.box is None:
            return NEW
        return CHANGE if self.changes else SAME


@dataclass(slots=True)
class Plan:
    """What an import would do."""

    lines: list[Line]
    columns: dict[str, Field]  #: the fields that lines speak of, new ones too, by key
    new_fields: dict[str, Field]  #: those that would be made
    stages: Sequence[Stage]
    first_stage: Stage  #: of new boxes whose line names none
    organizations: dict[str, tuple[int, str, str]]  #: case-folded name → id, key, name
    contacts: dict[str, tuple[int, str, str, int | None]]  #: normalized → id, key, name, organization's id

    def counts(self) -> dict[str, int]:
        """How many lines are new, change something, change nothing, are wrong."""
        found = Counter(line.state for line in self.lines)
        return {state: found[state] for state in (NEW, CHANGE, SAME, WRONG)}

    def wrong(self) -> list[Line]:
        """The lines with errors."""
        return [line for line in self.lines if line.errors]


def new_field(made: Import, number: int, kind: str) -> Field:
    """A field that would be made from a column; it is not of the database yet."""
    cells = [unguard(cell).strip() for cell in imports.column_of(made, number)]
    options = list(dict.fromkeys(cell for cell in cells if cell)) if kind == FieldType.DROPDOWN else []
    title = unguard(str(made.header[number])).strip()[:100]
    return Field(
        team_id=made.team_id, pipeline_id=made.pipeline_id, key=f"new-{number}", name=title, type=kind,
        options=options[:200], removed=False,
    )  # fmt: skip


def make(session: Session, viewer: Viewer, made: Import, *, locked: bool = False) -> Plan:
    """The plan of an import as things are now; `locked` keeps its boxes as they are until it is carried out.

    Raises `ImportFailed` if a column goes to a field that was removed since.
    """
    return _Planner(session, viewer, made, locked).plan()


class _Planner:
    def __init__(self, session: Session, viewer: Viewer, made: Import, locked: bool) -> None:
        self.session, self.viewer, self.made, self.locked = session, viewer, made, locked
        self.mapping: Mapping[str, Any] = made.mapping
        targets: dict[str, str] = made.mapping["columns"]
        self.targets = {int(number): target for number, target in targets.items() if target}
        known = {f"f.{one.key}": one for one in fields.of_pipeline(session, made.pipeline_id)}
        gone = [one for one, target in self.targets.items() if target.startswith("f.") and target not in known]
        if gone:
            title = made.header[gone[0]]
            raise imports.ImportFailed(f"“{title}” goes to a field that is gone; choose another, or leave it out")
        self.new_fields = {
            number: new_field(made, number, target.removeprefix("new:"))
            for number, target in self.targets.items()
            if target.startswith("new:")
        }
        self.fields = {n: known[target] for n, target in self.targets.items() if target in known} | self.new_fields
        self.stages = pipelines.of_pipeline(session, made.pipeline_id, locked=locked)
        self.lines = [Line(int(number), cells) for number, cells in made.rows]

    def plan(self) -> Plan:
        if not self.stages:
            raise imports.ImportFailed("The pipeline has no stages; add one first")
        self.cells = Cells(self.session, self.viewer, self.made, self.targets, self.fields, self.stages)
        for line in self.lines:
            self._read(line)
        self._match()
        for line in self.lines:
            if not line.errors:
                self._compare(line)
        chosen = self.mapping.get("stage")
        first = next((one for one in self.stages if one.key == chosen), None if chosen else self.stages[0])
        if first is None:
            raise imports.ImportFailed("The stage for new boxes is gone; choose another")
        columns = {one.key: one for one in self.fields.values()}
        made = {one.key: one for one in self.new_fields.values()}
        return Plan(self.lines, columns, made, self.stages, first, self.cells.organizations, self.cells.contacts)

    # -- a line by itself

    def _read(self, line: Line) -> None:
        if any(cell.strip() for cell in line.cells[len(self.made.header) :]):
            line.errors.append(
                f"It has {len(line.cells)} cells and the header {len(self.made.header)}; is a quotation mark lost?"
            )
            return
        for number, target in self.targets.items():
            cell = unguard(line.cells[number]).strip() if number < len(line.cells) else ""
            try:
                self._take(line, number, target, cell)
            except FieldError as error:
                line.errors.append(f"{self.made.header[number]}: {error}")

    def _take(self, line: Line, number: int, target: str, cell: str) -> None:
        if not cell:
            self._take_empty(line, number, target)
        elif number in self.fields:
            line.values[self.fields[number].key] = self.cells.remembered(number, cell, self.cells.value)
        elif target == imports.KEY:
            line.key = cell
        elif target == imports.NAME:
            line.name = " ".join(cell.split())[:NAME_LIMIT]
        elif target == imports.STAGE:
            line.stage = self.cells.remembered(number, cell, lambda _, text: self.cells.stage(text))
        elif target == imports.OWNER:
            line.owner = self.cells.remembered(number, cell, lambda _, text: self.cells.person(text))
        elif target == imports.ORGANIZATION:
            line.organization = " ".join(cell.split())[:NAMES_LIMIT]
        elif target == imports.CONTACT_NAME:
            line.contact_name = " ".join(cell.split())[:NAMES_LIMIT]
        elif target == imports.CONTACT:
            line.addresses = self.cells.people_of(cell)
            line.nameless = "" if line.addresses else cell

    def _take_empty(self, line: Line, number: int, target: str) -> None:
        if self.mapping.get("empty") != "clear":
            return
        if number in self.fields:
            line.cleared.add(self.fields[number].key)
        elif target in (imports.OWNER, imports.ORGANIZATION):
            line.cleared.add(target)

    # -- which box a line is about

    def _match(self) -> None:
        named, keyed = self._boxes()
        with_address = self._by_address() if self.mapping.get("match") == "contact" else {}
        found: dict[int, int] = {}
        for position, line in enumerate(self.lines):
            id_ = self._box_of(line, keyed, named, with_address)
            if id_ is not None:
                found[position] = id_
        there = self._existing(set(found.values()))
        for position, id_ in found.items():
            self.lines[position].box = there[id_]
        self._refuse_doubles()

    def _boxes(self) -> tuple[dict[str, list[int]], dict[str, int]]:
        """The pipeline's boxes by case-folded name (those that are not archived, if there are such) and by key."""
        query = select(Box.id, Box.key, Box.name, Box.archived_at).where(
            Box.pipeline_id == self.made.pipeline_id, Box.deleted_at.is_(None)
        )
        live: dict[str, list[int]] = defaultdict(list)
        away: dict[str, list[int]] = defaultdict(list)
        keyed: dict[str, int] = {}
        for id_, key, name, archived_at in self.session.execute(query.order_by(Box.id)):
            (live if archived_at is None else away)[name.casefold()].append(id_)
            keyed[key] = id_
        return {**away, **live}, keyed

    def _by_address(self) -> dict[str, list[int]]:
        wanted = {one.normalized for line in self.lines for one in line.addresses}
        query = (
            select(ContactAddress.normalized, Box.id)
            .join(BoxContact, BoxContact.contact_id == ContactAddress.contact_id)
            .join(Box, Box.id == BoxContact.box_id)
            .where(
                Box.pipeline_id == self.made.pipeline_id,
                Box.deleted_at.is_(None),
                ContactAddress.team_id == self.viewer.team_id,
                among(ContactAddress.normalized, wanted),
            )
        )
        found: dict[str, list[int]] = defaultdict(list)
        for normalized, id_ in self.session.execute(query):
            found[normalized].append(id_)
        return found

    def _box_of(
        self, line: Line, keyed: Mapping[str, int], named: Mapping[str, list[int]], having: Mapping[str, list[int]]
    ) -> int | None:
        if line.key:
            if line.key not in keyed:
                line.errors.append("Box key: no box of this pipeline has it; empty the cell to make a new box")
            return keyed.get(line.key)
        if self.mapping.get("match") == "contact" and line.addresses:
            ids = {id_ for one in line.addresses for id_ in having.get(one.normalized, ())}
            what = f"have {line.addresses[0].address} as a contact"
        else:
            self._name(line)
            ids = set(named.get((line.name or "").casefold(), ()))
            what = f"are called “{line.name}”"
        if len(ids) > 1:
            line.errors.append(f"{len(ids)} boxes {what}; say which one in a column “Box key”")
            return None
        return next(iter(ids), None)

    def _name(self, line: Line) -> None:
        """A new box without a name is called by its contact."""
        if line.name or not line.addresses:
            return
        first = line.addresses[0]
        known = self.cells.contacts.get(first.normalized)
        line.name = (known[2] if known else line.contact_name or person_name(first))[:NAME_LIMIT]

    def _existing(self, ids: set[int]) -> dict[int, Existing]:
        if not ids:
            return {}
        query = select(
            Box.id, Box.key, Box.name, Box.stage_id, Box.owner_id, Box.organization_id, Box.values
        ).where(among(Box.id, ids))
        if self.locked:
            query = query.order_by(Box.id).with_for_update(key_share=True)
        found = {row[0]: Existing(*row) for row in self.session.execute(query)}
        if not {one.stage_id for one in found.values()} <= {stage.id for stage in self.stages}:
            raise imports.ImportFailed("The pipeline’s stages changed at this very moment; try again")
        contacts = (
            select(BoxContact.box_id, Contact.name, ContactAddress.normalized)
            .join(Contact, Contact.id == BoxContact.contact_id)
            .outerjoin(ContactAddress, ContactAddress.contact_id == Contact.id)
            .where(among(BoxContact.box_id, ids))
        )
        for box_id, name, normalized in self.session.execute(contacts):
            if normalized is None:
                found[box_id].nameless.add(name.casefold())
            else:
                found[box_id].contacts[normalized] = name
        return found

    def _refuse_doubles(self) -> None:
        seen: dict[Any, int] = {}
        for line in self.lines:
            if line.errors:
                continue
            for one in self._identities(line):
                if one in seen:
                    line.errors.append(f"The same box as line {seen[one]}; keep one of the two")
                    break
                seen[one] = line.number

    def _identities(self, line: Line) -> Iterator[Any]:
        if line.box is not None:
            yield line.box.id
        elif self.mapping.get("match") == "contact" and line.addresses:
            yield from (("address", one.normalized) for one in line.addresses)
        elif line.name:
            yield ("name", line.name.casefold())

    # -- what would change

    def _compare(self, line: Line) -> None:
        had = line.box.nameless if line.box else set()
        if line.nameless and any(one.strip().casefold() not in had for one in line.nameless.split(";")):
            line.errors.append(f"“{line.nameless[:60]}” is no address such as anna@example.com")
            return
        if line.box is None:
            self._name(line)
            if not line.name:
                line.errors.append("A new box needs a name")
            line.added = line.addresses
            return
        box = line.box
        if line.name and line.name != box.name:
            line.changes.append("name")
        if line.stage and line.stage.id != box.stage_id:
            line.changes.append("stage")
        if (line.owner and line.owner.id != box.owner_id) or ("owner" in line.cleared and box.owner_id):
            line.changes.append("owner")
        company = self.cells.organizations.get(line.organization.casefold()) if line.organization else None
        other = line.organization and (company is None or company[0] != box.organization_id)
        if other or ("organization" in line.cleared and box.organization_id):
            line.changes.append("organization")
        line.added = [one for one in line.addresses if one.normalized not in box.contacts]
        if line.added:
            line.changes.append("contact")
        line.values |= dict.fromkeys(line.cleared - {"owner", "organization"})
        line.changes += [key for key, value in line.values.items() if not same(value, box.values.get(key))]


def same(one: Any, other: Any) -> bool:
    """Whether two stored values say the same; amounts compare as numbers."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.get("currency") != other.get("currency"):
            return False
        return Decimal(str(one.get("amount") or 0)) == Decimal(str(other.get("amount") or 0))
    return bool(one == other)
