"""Imports: a CSV file on its way into a pipeline; nothing is a box before its person says so.

A file is uploaded, its columns are mapped, the plan (`import_plan`) is looked at, then it is taken in as a whole
(`import_run`) or not at all. Only the person who uploaded it sees it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, delete, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from tracker import csv_files
from tracker.csv_files import CsvError, unguard
from tracker.db import Base, Keyed, OfTeam
from tracker.fields import Field, FieldError, FieldType
from tracker.fields import parse as parse_value
from tracker.people import Viewer
from tracker.pipelines import Pipeline, PipelineError

UPLOADED, MAPPED, DONE = "uploaded", "mapped", "done"
KEPT = 10  # files of a person; older ones are forgotten

KEY, NAME, STAGE, OWNER, ORGANIZATION = "key", "name", "stage", "owner", "organization"
CONTACT, CONTACT_NAME = "contact", "contact_name"
TARGETS = {
    KEY: "Box key",
    NAME: "Name",
    STAGE: "Stage",
    OWNER: "Owner",
    ORGANIZATION: "Organization",
    CONTACT: "Contact’s address",
    CONTACT_NAME: "Contact’s name",
}
#: What a column is for, by what its heading begins or ends with in other people's files.
GUESSES = (
    (KEY, r"box ?key"),
    (CONTACT, r"(contacts?|e-?mail|mail|e-?mail ?address|contact e-?mail|address(es)?|e-mail-adresse)"),
    (CONTACT_NAME, r"(contact ?name|full ?name|person|contact person|ansprechpartner)"),
    (NAME, r"(name|box|box ?name|deal|deal ?name|title|opportunity( ?name)?|titel)"),
    (STAGE, r"(stage|deal ?stage|status|phase)"),
    (OWNER, r"(owner|assigned ?to|assignee|deal ?owner|rep|sales ?rep|zuständig)"),
    (ORGANIZATION, r"(organi[sz]ation|company|company ?name|account|account ?name|firma|unternehmen)"),
)


class ImportFailed(PipelineError):
    """A file can't be imported so; the text says why and what to do."""


class Import(OfTeam, Keyed, Base):
    """One file: uploaded, mapped, looked at, then taken in as a whole or not at all."""

    __tablename__ = "imports"
    __table_args__ = (
        Index("ix_imports_pipeline_id_created_at", "pipeline_id", "created_at"),
        CheckConstraint("state in ('uploaded', 'mapped', 'done')", name="state"),
    )

    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    filename: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="uploaded")
    header: Mapped[list[Any]] = mapped_column(JSONB)
    rows: Mapped[list[Any]] = mapped_column(JSONB)  #: each a line's number and its cells; none once it is done
    mapping: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")  #: see `Mapped columns` below
    result: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    done_at: Mapped[datetime | None]

    pipeline: Mapped[Pipeline] = relationship()


# `Import.mapping`: `columns` is a column's number → one of TARGETS, `f.<field's key>`, `new:<field type>` or "";
# `match` is `name` or `contact` (a row with a Box key is matched by that); `bad` is `stop` or `leave`;
# `empty` is `keep` or `clear`; `stage` is the key of the stage for new boxes whose row names none, or "".
CHOICES = {"match": ("name", "contact"), "bad": ("stop", "leave"), "empty": ("keep", "clear")}


def upload(
    session: Session, viewer: Viewer, pipeline: Pipeline, filename: str, data: bytes, fields: Sequence[Field]
) -> Import:
    """Read a file and guess what its columns are. Raises `ImportFailed`."""
    try:
        read = csv_files.read(data)
    except CsvError as error:
        raise ImportFailed(str(error)) from error
    made = Import(
        team_id=viewer.team_id,
        pipeline_id=pipeline.id,
        user_id=viewer.user_id,
        filename=" ".join(filename.replace("\x00", "").split())[-120:] or "file.csv",
        state=UPLOADED,
        header=read.header,
        rows=[[line, cells] for line, cells in read.rows],
    )
    made.mapping = {
        **{name: choices[0] for name, choices in CHOICES.items()},
        "columns": _guess(made, fields),
    }
    session.add(made)
    session.flush()
    _forget_old(session, viewer)
    return made


def _forget_old(session: Session, viewer: Viewer) -> None:
    """A person's files beyond the last few are of no use any more."""
    mine = select(Import.id).where(Import.team_id == viewer.team_id, Import.user_id == viewer.user_id)
    old = session.scalars(mine.order_by(Import.id.desc()).offset(KEPT)).all()
    if old:
        session.execute(delete(Import).where(Import.id.in_(old)))


def by_key(session: Session, viewer: Viewer, key: str) -> Import | None:
    """The viewer's own import with this key."""
    query = select(Import).where(Import.key == key, Import.team_id == viewer.team_id)
    return session.scalar(query.where(Import.user_id == viewer.user_id))


def _guess(made: Import, fields: Sequence[Field]) -> dict[str, str]:
    named = {field.name.casefold(): f"f.{field.key}" for field in reversed(fields)}
    own = {words.casefold(): target for target, words in TARGETS.items()}
    found: dict[str, str] = {}
    for number, title in enumerate(made.header):
        plain = unguard(str(title)).strip().casefold()
        guessed = next((target for target, words in GUESSES if re.fullmatch(words, plain)), "")
        target = own.get(plain) or named.get(plain) or guessed
        found[str(number)] = target if target not in found.values() else ""
    return found


def set_mapping(session: Session, made: Import, given: Mapping[str, Any], fields: Sequence[Field]) -> None:
    """Say what each column is. Raises `ImportFailed`."""
    if made.state == DONE:
        raise ImportFailed("This file is imported already; upload it again to import it once more")
    allowed = {"", *TARGETS, *(f"f.{one.key}" for one in fields), *(f"new:{kind.value}" for kind in FieldType)}
    chosen: dict[str, str] = {}
    for number, title in enumerate(made.header):
        target = str(given.get("columns", {}).get(str(number), ""))
        if target not in allowed:
            raise ImportFailed(f"“{title}” goes to a field that is gone; choose another")
        if target and not target.startswith("new:") and target in chosen.values():
            raise ImportFailed(f"Two columns go to the same place; “{title}” is the second. Choose another for it")
        if target.startswith("new:") and not str(title).strip():
            raise ImportFailed(
                f"Column {number + 1} has no heading, so a new field would have no name; leave it out"
            )
        chosen[str(number)] = target
    if not set(chosen.values()) & {KEY, NAME, CONTACT}:
        raise ImportFailed("Choose the column that holds the boxes’ names, or their contacts’ addresses")
    options = {
        name: given[name] if given.get(name) in choices else choices[0] for name, choices in CHOICES.items()
    }
    made.mapping = {"columns": chosen, **options, "stage": str(given.get("stage") or "")[:40]}
    made.state = MAPPED
    session.flush()


def guess_type(session: Session, cells: Sequence[str], team_id: int) -> str:
    """Which type of field the cells of a column fit, for one that becomes a new field."""
    filled = [unguard(cell).strip() for cell in cells if cell.strip()][:500]
    if not filled:
        return FieldType.TEXT.value
    if all(cell.lower() in ("yes", "no", "true", "false") for cell in filled):
        return FieldType.CHECKBOX.value
    if all(re.match(r"https?://", cell) for cell in filled):
        return FieldType.URL.value
    for kind in (FieldType.DATE, FieldType.NUMBER, FieldType.MONEY):
        if kind == FieldType.MONEY and not all(re.search(r"[€$£¥]|\b[A-Z]{3}\b", cell) for cell in filled):
            continue
        if _all_fit(session, Field(team_id=team_id, name="", type=kind.value, options=[]), filled):
            return kind.value
    return FieldType.TEXT.value


def _all_fit(session: Session, field: Field, cells: Sequence[str]) -> bool:
    try:
        return all(parse_value(session, field, cell) is not None for cell in cells)
    except FieldError:
        return False


def column_of(made: Import, number: int) -> list[str]:
    """A column's cells."""
    return [str(cells[number]) if number < len(cells) else "" for _, cells in made.rows]
