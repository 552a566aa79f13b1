"""Boxes: one deal, contact or case moving through a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Computed,
    CursorResult,
    ForeignKey,
    Index,
    Numeric,
    Text,
    func,
    literal,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy import delete as delete_from
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR, insert
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from tracker import events, facts, fields, pipelines, topics
from tracker.contacts import Contact, Organization
from tracker.db import Base, Keyed, OfTeam, everything
from tracker.people import User, Viewer
from tracker.pipelines import Kind, Pipeline, PipelineError, Stage

NAME_LIMIT = 200  # characters


class BoxError(ValueError):
    """A change of a box can't be made; the text says why and what to do."""


class BoxConflict(BoxError):
    """A teammate changed the box meanwhile."""


class Box(OfTeam, Keyed, Base):
    """One deal, contact or case."""

    __tablename__ = "boxes"
    __table_args__ = (
        Index(
            "ix_boxes_stage_id_rank",
            "stage_id",
            "stage_entered_at",
            "id",
            postgresql_where=text("archived_at IS NULL AND deleted_at IS NULL"),
        ),
        Index("ix_boxes_pipeline_id_created_at", "pipeline_id", "created_at", "id"),
        Index("ix_boxes_search", "search", postgresql_using="gin"),
        Index("ix_boxes_differing", "pipeline_id", postgresql_where=text("access IS NOT NULL")),
        CheckConstraint("access in ('team', 'people')", name="access"),
    )

    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"), index=True)
    stage_id: Mapped[int] = mapped_column(ForeignKey("stages.id"))
    name: Mapped[str]
    access: Mapped[str | None]  #: who sees it: as its pipeline (None), the `team`, or named `people`; see access
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    organization_id: Mapped[int | None] = mapped_column(
        ForeignKey("organizations.id", ondelete="SET NULL"), index=True
    )
    values: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")  #: field key → value, see fields
    autobox_domain: Mapped[bool] = mapped_column(server_default="false")  #: its organization's domain matches too
    stage_entered_at: Mapped[datetime] = mapped_column(server_default=func.now())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    archived_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]  #: gone from every list; can be undone until it is purged
    merged_into_id: Mapped[int | None] = mapped_column(ForeignKey("boxes.id", ondelete="SET NULL"), index=True)
    #: What it is worth: the pipeline's first money field, kept here so that it can be summed and sorted by.
    value_amount: Mapped[Decimal | None] = mapped_column(Numeric)
    value_currency: Mapped[str | None]  #: ISO 4217
    search: Mapped[Any] = mapped_column(
        TSVECTOR, Computed("to_tsvector('simple'::regconfig, name)", persisted=True), deferred=True
    )
    version: Mapped[int] = mapped_column(server_default="1")

    stage: Mapped[Stage] = relationship()
    pipeline: Mapped[Pipeline] = relationship()
    owner: Mapped[User | None] = relationship()
    organization: Mapped[Organization | None] = relationship()
    contacts: Mapped[list[Contact]] = relationship(
        secondary="box_contacts", order_by="Contact.name", viewonly=True
    )


class BoxContact(OfTeam, Base):
    """A contact of a box."""

    __tablename__ = "box_contacts"

    box_id: Mapped[int] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"), primary_key=True)
    contact_id: Mapped[int] = mapped_column(
        ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True, index=True
    )


def create(
    session: Session,
    viewer: Viewer,
    pipeline: Pipeline,
    name: str,
    *,
    stage: Stage | None = None,
    owner_id: int | None = None,
    contacts: Sequence[Contact] = (),
    values: Mapping[fields.Field, Any] | None = None,
    now: datetime,
    why: str = "",
) -> Box:
    """Create a box, in the pipeline's first stage unless another is given.

    Raises `BoxError`, or `fields.FieldError` for a value that does not fit its field.
    """
    stages = pipelines.of_pipeline(session, pipeline.id)
    if not stages:
        raise BoxError(f"{pipeline.name} has no stages; add one first")
    organization_id = next((contact.organization_id for contact in contacts if contact.organization_id), None)
    box = Box(
        team_id=viewer.team_id,
        pipeline_id=pipeline.id,
        stage_id=(stage or stages[0]).id,
        name=_name(name),
        owner_id=owner_id or viewer.user_id,
        organization_id=organization_id,
        values={field.key: fields.parse(session, field, value) for field, value in (values or {}).items()},
        stage_entered_at=now,
        created_at=now,
    )
    session.add(box)
    session.flush()
    facts.refresh(session, [box.id])
    revalue(session, pipeline.id, box)
    data = {"name": box.name, "stage": (stage or stages[0]).name, "why": why}
    _record(session, viewer, "box.created", box, at=now, **data)
    for contact in contacts:
        add_contact(session, viewer, box, contact, at=now)
    return box


def _name(name: str) -> str:
    name = " ".join(name.replace("\x00", "").split())
    if not name:
        raise BoxError("A box needs a name")
    return name[:NAME_LIMIT]


def rename(session: Session, viewer: Viewer, box: Box, name: str) -> None:
    """Rename a box. Raises `BoxError`."""
    before, box.name = box.name, _name(name)
    _record(session, viewer, "box.renamed", box, before=before, after=box.name)


def move(
    session: Session, viewer: Viewer, box: Box, stage: Stage, *, now: datetime, why: str = "", rule: str = ""
) -> None:
    """Move a box to a stage of its pipeline.

    Raises `BoxConflict` if somebody moved it since `box` was read, `BoxError` for a stage of another pipeline.
    """
    if stage.pipeline_id != box.pipeline_id:
        raise BoxError(f"{stage.name} is not a stage of this box's pipeline")
    if stage.id == box.stage_id:
        return
    before = box.stage
    moved = session.execute(
        update(Box)
        .where(Box.id == box.id, Box.version == box.version)
        .values(stage_id=stage.id, stage_entered_at=now, version=Box.version + 1),
        execution_options={"synchronize_session": False},
    )
    if not isinstance(moved, CursorResult) or moved.rowcount != 1:
        raise BoxConflict("A teammate changed this box meanwhile; look again")
    session.refresh(box)
    data = {"from": before.name, "to": stage.name, "from_key": before.key, "to_key": stage.key, "why": why}
    if rule:
        data["rule"] = rule
    _record(session, viewer, "box.moved", box, at=now, **data)


def assign(session: Session, viewer: Viewer, box: Box, owner: User | None) -> None:
    """Give a box to somebody of the team, or to nobody."""
    box.owner_id = owner.id if owner else None
    _record(session, viewer, "box.assigned", box, owner=owner.key if owner else None)
    if box.access is not None or box.pipeline.access != "team":  # owners see what is theirs
        topics.tell(session, box.team_id, ["access"])


def set_organization(session: Session, viewer: Viewer, box: Box, organization: Organization | None) -> None:
    """Say which organization a box is about, or none."""
    box.organization_id = organization.id if organization else None
    name = organization.name if organization else None
    _record(session, viewer, "box.organization", box, organization=organization and organization.key, name=name)


def set_value(session: Session, viewer: Viewer, box: Box, field: fields.Field, value: Any) -> None:
    """Set a field's value; what teammates set in other fields meanwhile stays. Raises `fields.FieldError`.

    `version` stays: it is about moves, and a board that is open must not refuse one because of a field.
    """
    if field.pipeline_id != box.pipeline_id or field.removed:
        raise fields.FieldError(f"{field.name} is not a field of this box's pipeline")
    stored = fields.parse(session, field, value)
    lock_values(session, box)
    before = box.values.get(field.key)
    if stored == before:
        return
    values: Any = Box.values
    one = literal(field.key, Text()) if stored is None else literal({field.key: stored}, JSONB())
    session.execute(
        update(Box).where(Box.id == box.id).values(values=values.op("-" if stored is None else "||")(one)),
        execution_options={"synchronize_session": False},
    )
    session.refresh(box, ["values"])
    if field.type == fields.FieldType.MONEY:
        revalue(session, box.pipeline_id, box)
    _record(session, viewer, "box.field", box, field=field.key, name=field.name, before=before, after=stored)


def revalue(session: Session, pipeline_id: int, box: Box | None = None) -> None:
    """Work out what a box (or every box of a pipeline, after its fields changed) is worth."""
    money = next(
        (one for one in fields.of_pipeline(session, pipeline_id) if one.type == fields.FieldType.MONEY), None
    )
    value = Box.values[money.key] if money is not None else None
    statement = update(Box).where(Box.pipeline_id == pipeline_id)
    if box is not None:
        if value is None and box.value_amount is None:
            return
        statement = statement.where(Box.id == box.id)
    session.execute(
        statement.values(
            value_amount=None if value is None else value["amount"].astext.cast(Numeric),
            value_currency=None if value is None else value["currency"].astext,
        ),
        execution_options={"synchronize_session": False},
    )
    if box is not None:
        session.refresh(box, ["value_amount", "value_currency"])


def lock_values(session: Session, box: Box) -> None:
    """Read a box's values as they are now; nobody else changes them until the end of the transaction."""
    session.flush()
    session.refresh(box, ["values"], with_for_update={"key_share": True})


def set_autobox_domain(session: Session, viewer: Viewer, box: Box, on: bool) -> None:
    """Say whether mail with anybody of the box's organization joins it."""
    box.autobox_domain = on
    _record(session, viewer, "box.autobox", box, domain=on)


def add_contact(
    session: Session, viewer: Viewer, box: Box, contact: Contact, *, at: datetime | None = None
) -> None:
    """Add a contact to a box, `at` a time other than now if given; adding it again changes nothing."""
    added = session.execute(
        insert(BoxContact)
        .values(team_id=box.team_id, box_id=box.id, contact_id=contact.id)
        .on_conflict_do_nothing()
        .returning(BoxContact.contact_id)
    ).scalar_one_or_none()
    if added is not None:
        session.expire(box, ["contacts"])
        _record(session, viewer, "box.contact_added", box, at=at, contact=contact.key, name=contact.name)


def remove_contact(session: Session, viewer: Viewer, box: Box, contact: Contact) -> None:
    """Take a contact off a box; conversations that are filed already stay."""
    session.execute(
        delete_from(BoxContact).where(BoxContact.box_id == box.id, BoxContact.contact_id == contact.id)
    )
    session.expire(box, ["contacts"])
    _record(session, viewer, "box.contact_removed", box, contact=contact.key, name=contact.name)


def archive(session: Session, viewer: Viewer, box: Box, now: datetime) -> None:
    """Put a box away; it is kept whole."""
    box.archived_at = now
    _record(session, viewer, "box.archived", box)


def restore(session: Session, viewer: Viewer, box: Box) -> None:
    """Bring an archived box back."""
    box.archived_at = None
    _record(session, viewer, "box.restored", box)


def delete(session: Session, viewer: Viewer, box: Box, now: datetime) -> None:
    """Take a box out of every list; it can be brought back with all that is in it. Twice changes nothing."""
    if box.deleted_at is None:
        box.deleted_at = now
        box.version += 1
        session.flush()
        _record(session, viewer, "box.deleted", box, name=box.name)


def undelete(session: Session, viewer: Viewer, box: Box) -> None:
    """Bring a deleted box back. Raises `BoxError` for one that was merged into another: that is for good."""
    if box.merged_into_id is not None:
        raise BoxError("This box was merged into another; that can't be undone")
    if box.deleted_at is not None:
        box.deleted_at = None
        box.version += 1
        session.flush()
        _record(session, viewer, "box.undeleted", box)


def deleted(
    session: Session, pipeline_id: int, *, before: tuple[datetime, int] | None = None, limit: int = 50
) -> Sequence[Box]:
    """A pipeline's boxes that can be brought back, the last deleted first; those deleted before an instant."""
    query = select(Box).where(
        Box.pipeline_id == pipeline_id, Box.deleted_at.is_not(None), Box.merged_into_id.is_(None)
    )
    if before is not None:
        query = query.where(tuple_(Box.deleted_at, Box.id) < tuple_(*before))
    return session.scalars(query.order_by(Box.deleted_at.desc(), Box.id.desc()).limit(limit)).all()


def remove_stage(session: Session, viewer: Viewer, stage: Stage, move_to: Stage | None, now: datetime) -> None:
    """Remove a stage; its boxes, archived ones too, go to `move_to`.

    Raises `PipelineError` if it has boxes and `move_to` is missing or no other stage of the pipeline, or if it
    is the last stage.
    """
    seen = session.scalar(select(func.count()).select_from(Box).where(Box.stage_id == stage.id)) or 0
    with everything(session):
        _remove_stage(session, viewer, stage, move_to, now, seen)


def _remove_stage(
    session: Session, viewer: Viewer, stage: Stage, move_to: Stage | None, now: datetime, seen: int
) -> None:
    """All its boxes move, those too that whoever removes it may not see; only what they see is counted."""
    if len(pipelines.of_pipeline(session, stage.pipeline_id)) == 1:
        raise PipelineError("A pipeline keeps at least one stage")
    inside = session.scalars(select(Box).where(Box.stage_id == stage.id).with_for_update()).all()
    if inside and (move_to is None or move_to.pipeline_id != stage.pipeline_id or move_to.id == stage.id):
        number = f" ({seen} boxes)" if seen else ""
        raise PipelineError(f"{stage.name} is not empty{number}; choose the stage that they go to")
    for box in inside:
        assert move_to is not None
        move(session, viewer, box, move_to, now=now, why=f"because the stage {stage.name} was removed")
    pipeline = stage.pipeline
    data = {"pipeline": pipeline.key, "stage": stage.key, "name": stage.name, "boxes": seen}
    events.record(session, viewer.team_id, "stage.removed", actor=viewer.actor, user_id=viewer.user_id, data=data)
    session.flush()
    session.execute(delete_from(Stage).where(Stage.id == stage.id))
    session.expire(pipeline, ["stages"])


def by_key(session: Session, team_id: int, key: str) -> Box | None:
    """The team's box with this key; one that was merged away leads to what it became.

    A deleted one is found too (its `deleted_at` is set), so that it can be brought back.
    """
    box = session.scalar(select(Box).where(Box.team_id == team_id, Box.key == key))
    while box is not None and box.merged_into_id is not None:
        box = session.get(Box, box.merged_into_id)
    return box


def ids_of(session: Session, box: Box) -> Sequence[int]:
    """The ids of a box and of those that were merged into it: their events are part of its story."""
    return [box.id, *session.scalars(select(Box.id).where(Box.merged_into_id == box.id))]


def is_listed(box: Any = Box) -> Any:
    """SQL: the box is neither archived nor deleted."""
    return box.archived_at.is_(None) & box.deleted_at.is_(None)


def is_open() -> Any:
    """SQL: the box is listed and stands in an open stage (joined as `Stage`) of a pipeline in use."""
    put_away = select(Pipeline.id).where(Pipeline.id == Box.pipeline_id, Pipeline.archived_at.is_not(None))
    return is_listed() & (Stage.kind == Kind.OPEN.value) & ~put_away.correlate(Box).exists()


def counts(session: Session, pipeline_id: int) -> dict[int, int]:
    """How many boxes each stage holds."""
    query = (
        select(Box.stage_id, func.count())
        .where(Box.pipeline_id == pipeline_id, is_listed())
        .group_by(Box.stage_id)
    )
    return dict(session.execute(query).all())


def named_like(session: Session, team_id: int, text: str, *, limit: int = 20) -> Sequence[Box]:
    """Boxes whose name contains `text`, the newest first; for choosing one to tag into."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    query = (
        select(Box)
        .where(Box.team_id == team_id, is_listed(), Box.name.ilike(f"%{escaped}%"))
        .order_by(Box.created_at.desc(), Box.id.desc())
    )
    return session.scalars(query.limit(limit)).all()


def _record(
    session: Session, viewer: Viewer, kind: str, box: Box, *, at: datetime | None = None, **data: Any
) -> None:
    actor = events.RULE if "rule" in data else viewer.actor
    when = {"at": at} if at else {}
    events.record(
        session, box.team_id, kind, actor=actor, user_id=viewer.user_id, box_id=box.id, data=data, **when
    )
