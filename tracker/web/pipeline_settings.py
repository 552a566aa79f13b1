"""A pipeline's settings: its stages and fields, what moves by itself; and adding a shipped pipeline."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response, abort, render_template
from sqlalchemy import select

from tracker import boxes, fields, pipelines
from tracker.fields import Field, FieldType
from tracker.people import Role
from tracker.pipelines import Kind, NewConversation, Pipeline, PipelineError, Stage
from tracker.web import board, frame
from tracker.web.forms import done, number, or_show, text, wants_json
from tracker.web.frame import Page, db, now, viewer

bp = Blueprint("pipeline_settings", __name__)
HERE = "pipeline_settings.show"


def found(key: str) -> Pipeline:
    """The pipeline, for those who may change it; guests may not."""
    if viewer().role == Role.GUEST:
        abort(403)
    return board.found(key)


def page(key: str, **_: str) -> str:
    """The whole page."""
    pipeline = found(key)
    return render_template(
        "pipeline_settings.html",
        pipeline=pipeline,
        stages=pipelines.of_pipeline(db(), pipeline.id),
        counts=boxes.counts(db(), pipeline.id),
        fields=fields.of_pipeline(db(), pipeline.id),
        removed=_removed_fields(pipeline),
        kinds=list(Kind),
        types=list(FieldType),
        choices=list(NewConversation),
    )


@bp.get("/p/<key>/settings")
def show(key: str) -> Page:
    """The page."""
    return page(key)


@bp.post("/p/<key>/settings")
@or_show(page)
def change(key: str) -> Page:
    """Its name, whether mail moves boxes, and what a new conversation does."""
    pipelines.change(
        db(),
        viewer(),
        found(key),
        name=text("name"),
        moves_itself=text("moves_itself") == "on",
        new_conversation=text("new_conversation"),
    )
    return done("Saved", HERE, key=key)


# -- stages


def _stage(key: str, stage: str) -> Stage:
    pipeline, there = found(key), pipelines.stage_by_key(db(), viewer().team_id, stage)
    if there is None or there.pipeline_id != pipeline.id:
        raise PipelineError("That stage is gone; look again")
    return there


@bp.post("/p/<key>/settings/stages")
@or_show(page)
def add_stage(key: str) -> Page:
    """A stage at the end."""
    stage = pipelines.add_stage(
        db(),
        viewer(),
        found(key),
        text("name"),
        color=text("color"),
        kind=text("kind"),
        probability=number("probability"),
    )
    return done(f"{stage.name} added", HERE, f"stage-{stage.key}", key=key)


@bp.post("/p/<key>/settings/stages/<stage>")
@or_show(page)
def change_stage(key: str, stage: str) -> Page:
    """Its name, colour, kind, probability and words."""
    there = _stage(key, stage)
    pipelines.change_stage(
        db(),
        viewer(),
        there,
        name=text("name"),
        color=text("color"),
        kind=text("kind"),
        probability=number("probability"),
        enters_on=text("enters_on") or None,
        objective=text("objective"),
        actions=text("actions"),
        exit_criteria=text("exit_criteria"),
    )
    return done(f"{there.name} saved", HERE, f"stage-{stage}", key=key)


@bp.post("/p/<key>/settings/stages/<stage>/shift")
@or_show(page)
def shift_stage(key: str, stage: str) -> Page:
    """One place up or down."""
    pipeline, there = found(key), _stage(key, stage)
    keys = [one.key for one in pipelines.of_pipeline(db(), pipeline.id)]
    pipelines.reorder_stages(db(), viewer(), pipeline, _shifted(keys, there.key))
    return done("", HERE, f"stage-{stage}", key=key)


def _shifted(keys: list[str], key: str) -> list[str]:
    at = keys.index(key)
    to = min(max(at + (-1 if text("to") == "up" else 1), 0), len(keys) - 1)
    keys.insert(to, keys.pop(at))
    return keys


@bp.post("/p/<key>/settings/stages/order")
@or_show(page)
def order_stages(key: str) -> Page:
    """All stages in the order they were dragged into: `order`, their keys with commas between."""
    pipelines.reorder_stages(db(), viewer(), found(key), text("order").split(","))
    return Response("{}", mimetype="application/json") if wants_json() else done("", HERE, key=key)


@bp.post("/p/<key>/settings/stages/<stage>/remove")
@or_show(page)
def remove_stage(key: str, stage: str) -> Page:
    """Remove it; boxes in it go where the form says."""
    there = _stage(key, stage)
    target = _stage(key, text("move_to")) if text("move_to") else None
    boxes.remove_stage(db(), viewer(), there, target, now())
    return done(f"{there.name} removed", HERE, "stages", key=key)


# -- fields


def _field(key: str, field: str) -> Field:
    pipeline, there = found(key), fields.by_key(db(), viewer().team_id, field)
    if there is None or there.pipeline_id != pipeline.id:
        raise fields.FieldError("That field is gone; look again")
    return there


def _removed_fields(pipeline: Pipeline) -> Sequence[Field]:
    removed = select(Field).where(Field.pipeline_id == pipeline.id, Field.removed)
    return db().scalars(removed.order_by(Field.position)).all()


def _options() -> list[str]:
    return text("options").splitlines()


@bp.post("/p/<key>/settings/fields")
@or_show(page)
def add_field(key: str) -> Page:
    """A field at the end."""
    field = fields.add(db(), viewer(), found(key).id, text("name"), text("type"), _options())
    return done(f"{field.name} added", HERE, f"field-{field.key}", key=key)


@bp.post("/p/<key>/settings/fields/<field>")
@or_show(page)
def change_field(key: str, field: str) -> Page:
    """Its name, and a dropdown's choices."""
    there = _field(key, field)
    if text("name") != there.name:
        fields.rename(db(), viewer(), there, text("name"))
    if there.type == FieldType.DROPDOWN:
        fields.set_options(db(), viewer(), there, _options())
    return done(f"{there.name} saved", HERE, f"field-{field}", key=key)


@bp.post("/p/<key>/settings/fields/<field>/shift")
@or_show(page)
def shift_field(key: str, field: str) -> Page:
    """One place up or down."""
    pipeline, there = found(key), _field(key, field)
    keys = [one.key for one in fields.of_pipeline(db(), pipeline.id)]
    if there.key in keys:
        fields.reorder(db(), viewer(), pipeline.id, _shifted(keys, there.key))
    return done("", HERE, f"field-{field}", key=key)


@bp.post("/p/<key>/settings/fields/<field>/remove")
@or_show(page)
def remove_field(key: str, field: str) -> Page:
    """Take it off the pipeline; what stands in boxes is kept."""
    there = _field(key, field)
    fields.remove(db(), viewer(), there)
    return done(f"{there.name} removed; its values are kept", HERE, "fields", key=key)


@bp.post("/p/<key>/settings/fields/<field>/restore")
@or_show(page)
def restore_field(key: str, field: str) -> Page:
    """Bring a removed one back, with what stood in boxes."""
    there = _field(key, field)
    fields.restore(db(), viewer(), there)
    return done(f"{there.name} is back, with its values", HERE, f"field-{field}", key=key)


# -- another pipeline


@bp.get("/pipelines/new")
def choose() -> Page:
    """The shipped pipelines to choose from."""
    return _choose()


def _choose() -> str:
    if viewer().role == Role.GUEST:
        abort(403)
    return render_template("pipelines.html", templates=frame.frame().templates)


@bp.post("/pipelines/new")
@or_show(_choose)
def add() -> Page:
    """Add one of them."""
    _choose()
    template = next((one for one in frame.frame().templates if one.slug == text("template")), None)
    if template is None:
        raise PipelineError("Choose one of the pipelines below")
    pipeline = pipelines.add(db(), viewer(), template, name=text("name") or None)
    return done(f"{pipeline.name} is ready", "board.show", key=pipeline.key)
