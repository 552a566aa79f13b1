"""Pipelines and their stages: a process and its ordered steps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, SmallInteger, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from tracker import events, fields
from tracker.db import Base, Keyed, OfTeam, everything
from tracker.people import Viewer

LONGEST_SLEEP = 999  # days


class Kind(StrEnum):
    """What it means for a box to stand in a stage."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"


class NewConversation(StrEnum):
    """What happens when somebody of the team writes first to a person whom nobody knows."""

    OFF = "off"
    SUGGEST = "suggest"
    CREATE = "create"


class PipelineError(ValueError):
    """A change of a pipeline can't be made; the text says why and what to do."""


class Pipeline(OfTeam, Keyed, Base):
    """A process of the team."""

    __tablename__ = "pipelines"
    __table_args__ = (
        CheckConstraint("new_conversation in ('off', 'suggest', 'create')", name="new_conversation"),
        CheckConstraint("access in ('team', 'people')", name="access"),
    )

    name: Mapped[str]
    template: Mapped[str | None]  #: the shipped pipeline that it was made from
    position: Mapped[int]
    moves_itself: Mapped[bool] = mapped_column(server_default="true")  #: mail moves boxes, see Stage.enters_on
    new_conversation: Mapped[str] = mapped_column(server_default=NewConversation.OFF.value)
    access: Mapped[str] = mapped_column(server_default="team")  #: who sees it: the `team`, or named `people`
    archived_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    stages: Mapped[list[Stage]] = relationship(order_by="Stage.position", back_populates="pipeline")


class Stage(OfTeam, Keyed, Base):
    """One step of a pipeline."""

    __tablename__ = "stages"
    __table_args__ = (
        UniqueConstraint("pipeline_id", "position", deferrable=True, initially="DEFERRED"),
        CheckConstraint("kind in ('open', 'won', 'lost')", name="kind"),
        CheckConstraint("enters_on in ('sent', 'answer')", name="enters_on"),
        CheckConstraint("probability between 0 and 100", name="probability"),
    )

    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"))
    name: Mapped[str]
    position: Mapped[int]
    color: Mapped[str]  #: #rrggbb
    kind: Mapped[str]
    probability: Mapped[int] = mapped_column(SmallInteger)  #: of winning, percent
    objective: Mapped[str] = mapped_column(server_default="")
    actions: Mapped[str] = mapped_column(server_default="")
    exit_criteria: Mapped[str] = mapped_column(server_default="")
    sleep_days: Mapped[int | None] = mapped_column(SmallInteger)  #: without mail for longer, a box here sleeps
    enters_on: Mapped[str | None]  #: mail that moves a box here: `sent` to a contact, a contact's `answer`

    pipeline: Mapped[Pipeline] = relationship(back_populates="stages")


@dataclass(frozen=True, slots=True)
class StageTemplate:
    """A stage as a shipped pipeline tells it."""

    name: str
    color: str
    kind: str
    probability: int
    objective: str
    actions: str
    exit_criteria: str
    enters_on: str | None = None
    sleep_days: int | None = None  #: see `Stage.sleep_days`


@dataclass(frozen=True, slots=True)
class FieldTemplate:
    """A field as a shipped pipeline tells it."""

    name: str
    type: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Template:
    """A shipped pipeline."""

    slug: str
    name: str
    description: str
    new_conversation: str
    starts: bool  #: whether a new team has it from the start
    stages: tuple[StageTemplate, ...]
    fields: tuple[FieldTemplate, ...]
    moves_itself: bool = True


def add(session: Session, viewer: Viewer, template: Template, *, name: str | None = None) -> Pipeline:
    """Add a pipeline made from a template, behind the team's others. Raises `PipelineError`."""
    last = session.scalar(select(func.max(Pipeline.position)).where(Pipeline.team_id == viewer.team_id))
    pipeline = Pipeline(
        team_id=viewer.team_id,
        name=_pipeline_name(name or template.name),
        template=template.slug,
        position=0 if last is None else last + 1,
        new_conversation=template.new_conversation,
        moves_itself=template.moves_itself,
    )
    session.add(pipeline)
    session.flush()
    stages = [
        _stage(viewer, pipeline, position, **asdict(stage)) for position, stage in enumerate(template.stages)
    ]
    columns = [
        fields.define(viewer, pipeline.id, position, field.name, field.type, field.options)
        for position, field in enumerate(template.fields)
    ]
    session.add_all([*stages, *columns])
    session.flush()
    happened = [_event(viewer, "pipeline.added", pipeline, name=pipeline.name)]
    happened += [_event(viewer, "stage.added", pipeline, stage=one.key, name=one.name) for one in stages]
    happened += [fields.event_of(viewer, "field.added", one) for one in columns]
    events.record_many(session, happened)
    return pipeline


def copy(session: Session, viewer: Viewer, pipeline: Pipeline, name: str) -> Pipeline:
    """Add a pipeline like another of the team: its stages, fields and rules, none of its boxes."""
    made = add(session, viewer, _template_of(session, pipeline), name=name)
    made.template = pipeline.template
    session.flush()
    return made


def _template_of(session: Session, pipeline: Pipeline) -> Template:
    stages = of_pipeline(session, pipeline.id)
    columns = [column.name for column in dataclass_fields(StageTemplate)]
    return Template(
        slug=pipeline.template or "",
        name=pipeline.name,
        description="",
        new_conversation=pipeline.new_conversation,
        starts=False,
        stages=tuple(StageTemplate(**{name: getattr(stage, name) for name in columns}) for stage in stages),
        fields=tuple(
            FieldTemplate(field.name, field.type, tuple(map(str, field.options)))
            for field in fields.of_pipeline(session, pipeline.id)
        ),
        moves_itself=pipeline.moves_itself,
    )


def add_stage(
    session: Session,
    viewer: Viewer,
    pipeline: Pipeline,
    name: str,
    *,
    color: str = "#64748b",
    kind: str = Kind.OPEN.value,
    probability: int = 0,
    **words: Any,
) -> Stage:
    """Add a stage at the end; `words` are its objective, actions, exit criteria, enters_on, sleep_days.

    Raises `PipelineError`.
    """
    stages = of_pipeline(session, pipeline.id)
    position = stages[-1].position + 1 if stages else 0
    stage = _stage(viewer, pipeline, position, name=name, color=color, kind=kind, probability=probability, **words)
    session.add(stage)
    session.flush()
    session.expire(pipeline, ["stages"])
    _record(session, viewer, "stage.added", pipeline, stage=stage.key, name=stage.name)
    return stage


def _stage(viewer: Viewer, pipeline: Pipeline, position: int, **columns: Any) -> Stage:
    return Stage(team_id=viewer.team_id, pipeline_id=pipeline.id, position=position, **_checked(**columns))


def change_stage(session: Session, viewer: Viewer, stage: Stage, **changes: Any) -> None:
    """Rename, colour or otherwise change a stage. Raises `PipelineError`."""
    for column, value in _checked(**changes).items():
        setattr(stage, column, value)
    session.flush()
    _record(session, viewer, "stage.changed", stage.pipeline, stage=stage.key, changes=sorted(changes))


def _checked(**changes: Any) -> dict[str, Any]:
    if "name" in changes:
        changes["name"] = str(changes["name"]).strip()
        if not 1 <= len(changes["name"]) <= 100:
            raise PipelineError("A stage's name has 1 to 100 characters")
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", str(changes.get("color", "#000000"))):
        raise PipelineError("A colour is written #rrggbb")
    if changes.get("kind", Kind.OPEN) not in {kind.value for kind in Kind}:
        raise PipelineError("A stage is open, won or lost")
    probability = changes.get("probability", 0)
    if not isinstance(probability, int) or not 0 <= probability <= 100:
        raise PipelineError("A probability is a whole number from 0 to 100")
    if changes.get("enters_on") not in (None, "sent", "answer"):
        raise PipelineError("Mail that moves a box into a stage is `sent` or `answer`")
    days = changes.get("sleep_days")
    if days is not None and not (isinstance(days, int) and 1 <= days <= LONGEST_SLEEP):
        raise PipelineError(f"A box sleeps after 1 to {LONGEST_SLEEP} days, or never")
    return changes


def reorder_stages(session: Session, viewer: Viewer, pipeline: Pipeline, keys: Sequence[str]) -> None:
    """Put the stages in this order. Raises `PipelineError` unless each is named exactly once."""
    stages = {stage.key: stage for stage in of_pipeline(session, pipeline.id)}
    if sorted(keys) != sorted(stages):
        raise PipelineError("The stages have changed meanwhile; load the page again")
    for position, key in enumerate(keys):
        stages[key].position = position
    session.flush()
    session.expire(pipeline, ["stages"])
    _record(session, viewer, "stages.reordered", pipeline, order=list(keys))


def change(session: Session, viewer: Viewer, pipeline: Pipeline, **changes: Any) -> None:
    """Change a pipeline's name, `moves_itself` or `new_conversation`. Raises `PipelineError`."""
    if "name" in changes:
        changes["name"] = _pipeline_name(str(changes["name"]))
    if changes.get("new_conversation", "off") not in {choice.value for choice in NewConversation}:
        raise PipelineError("For new conversations choose off, suggest or create")
    for column, value in changes.items():
        setattr(pipeline, column, value)
    session.flush()
    _record(session, viewer, "pipeline.changed", pipeline, changes=sorted(changes))


def _pipeline_name(name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= 100:
        raise PipelineError("A pipeline's name has 1 to 100 characters")
    return name


def reorder(session: Session, viewer: Viewer, keys: Sequence[str]) -> None:
    """Put the team's pipelines in this order. Raises `PipelineError` unless each is named exactly once."""
    found = {pipeline.key: pipeline for pipeline in of_team(session, viewer.team_id)}
    if sorted(keys) != sorted(found):
        raise PipelineError("The pipelines have changed meanwhile; load the page again")
    for position, key in zip(_places(session, viewer, found), keys, strict=True):
        found[key].position = position
    session.flush()
    data = {"order": list(keys)}
    events.record(
        session, viewer.team_id, "pipelines.reordered", actor=viewer.actor, user_id=viewer.user_id, data=data
    )


def _places(session: Session, viewer: Viewer, seen: Mapping[str, Pipeline]) -> list[int]:
    """Where those stand that the viewer sees, among all: the others stay where they are."""
    with everything(session):
        return [place for place, one in enumerate(of_team(session, viewer.team_id)) if one.key in seen]


def archive(session: Session, viewer: Viewer, pipeline: Pipeline, now: datetime) -> None:
    """Put a pipeline away with all its boxes; everything is kept. Raises `PipelineError` for the last one."""
    with everything(session):
        others = len(of_team(session, viewer.team_id)) - 1
    if others == 0 and pipeline.archived_at is None:
        raise PipelineError("A team keeps at least one pipeline; add another before you archive this one")
    pipeline.archived_at = now
    session.flush()
    _record(session, viewer, "pipeline.archived", pipeline, name=pipeline.name)


def restore(session: Session, viewer: Viewer, pipeline: Pipeline) -> None:
    """Bring an archived pipeline back, behind the others."""
    others = of_team(session, viewer.team_id)
    pipeline.position = others[-1].position + 1 if others else 0
    pipeline.archived_at = None
    session.flush()
    _record(session, viewer, "pipeline.restored", pipeline, name=pipeline.name)


def of_team(session: Session, team_id: int) -> Sequence[Pipeline]:
    """The team's pipelines in order."""
    query = select(Pipeline).where(Pipeline.team_id == team_id, Pipeline.archived_at.is_(None))
    return session.scalars(query.order_by(Pipeline.position, Pipeline.id)).all()


def archived(session: Session, team_id: int) -> Sequence[Pipeline]:
    """The team's pipelines that were put away, the last first."""
    query = select(Pipeline).where(Pipeline.team_id == team_id, Pipeline.archived_at.is_not(None))
    return session.scalars(query.order_by(Pipeline.archived_at.desc(), Pipeline.id)).all()


def enter_on(session: Session, viewer: Viewer, pipeline: Pipeline, sign: str, target: Stage | None) -> None:
    """Say which stage a box moves into on this sign (`sent`, `answer`), or none. Raises `PipelineError`."""
    if target is not None and (target.pipeline_id != pipeline.id or target.kind != Kind.OPEN):
        raise PipelineError("Mail moves boxes only into open stages of the same pipeline")
    for stage in of_pipeline(session, pipeline.id):
        if stage.enters_on == sign and (target is None or stage.id != target.id):
            change_stage(session, viewer, stage, enters_on=None)
    if target is not None and target.enters_on != sign:
        change_stage(session, viewer, target, enters_on=sign)


def of_pipeline(session: Session, pipeline_id: int, *, locked: bool = False) -> Sequence[Stage]:
    """A pipeline's stages in order; `locked`, nobody removes one of them until the end of the transaction."""
    query = select(Stage).where(Stage.pipeline_id == pipeline_id).order_by(Stage.position)
    if locked:
        query = query.with_for_update(read=True, key_share=True).execution_options(populate_existing=True)
    return session.scalars(query).all()


def by_key(session: Session, team_id: int, key: str) -> Pipeline | None:
    """The team's pipeline with this key."""
    return session.scalar(select(Pipeline).where(Pipeline.team_id == team_id, Pipeline.key == key))


def stage_by_key(session: Session, team_id: int, key: str) -> Stage | None:
    """The team's stage with this key."""
    return session.scalar(select(Stage).where(Stage.team_id == team_id, Stage.key == key))


def _record(session: Session, viewer: Viewer, kind: str, pipeline: Pipeline, **data: Any) -> None:
    events.record_many(session, [_event(viewer, kind, pipeline, **data)])


def _event(viewer: Viewer, kind: str, pipeline: Pipeline, **data: Any) -> dict[str, Any]:
    return {
        "team_id": viewer.team_id,
        "kind": kind,
        "actor": viewer.actor,
        "user_id": viewer.user_id,
        "data": {"pipeline": pipeline.key, **data},
    }
