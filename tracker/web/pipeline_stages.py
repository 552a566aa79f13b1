"""A pipeline's stages: added, changed, put in order, removed with a question where their boxes go."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from tracker import boxes, pipelines
from tracker.pipelines import Kind, PipelineError, Stage
from tracker.web.forms import done, number, or_show, text
from tracker.web.frame import Page, db, now, viewer
from tracker.web.pipeline_settings import found, ordered, shifted, shown

bp = Blueprint("pipeline_stages", __name__)
HERE = "pipeline_stages.show"
OWN_COLOR = "own"
#: Told apart by most eyes, and at 3:1 at least on light ground and on dark (WCAG 1.4.11).
PALETTE = (
    ("Slate", "#64748b"), ("Red", "#e0483d"), ("Orange", "#d9730d"), ("Amber", "#b7800b"), ("Green", "#2f9e5b"),
    ("Teal", "#12978f"), ("Cyan", "#0e93b0"), ("Blue", "#3b82f6"), ("Indigo", "#6d74e8"), ("Violet", "#8b5cf6"),
    ("Magenta", "#c255cf"), ("Pink", "#db4a86"),
)  # fmt: skip
KINDS = (
    (Kind.OPEN.value, "Open: still under way"),
    (Kind.WON.value, "Won: it ended well"),
    (Kind.LOST.value, "Lost: it ended without success"),
)


def page(key: str, **_: str) -> str:
    """The whole page."""
    pipeline = found(key)
    return shown(
        "pipeline_stages.html",
        HERE,
        pipeline,
        stages=pipelines.of_pipeline(db(), pipeline.id),
        counts=boxes.counts(db(), pipeline.id),
        palette=PALETTE,
        kinds=KINDS,
        longest=pipelines.LONGEST_SLEEP,
    )


@bp.get("/p/<key>/settings/stages")
def show(key: str) -> Page:
    """The page."""
    return page(key)


def _typed() -> dict[str, Any]:
    """A stage as its form tells it; a form that lacks the rest leaves the rest."""
    color = text("color")
    told: dict[str, Any] = {
        "name": text("name"),
        "color": text("own_color") if color == OWN_COLOR else color,
        "kind": text("kind"),
        "probability": number("probability"),
    }
    if "sleep_days" in request.form:
        told["sleep_days"] = number("sleep_days") if text("sleep_days") else None
    return told | {name: text(name) for name in ("objective", "actions", "exit_criteria") if name in request.form}


def _stage(key: str, stage: str) -> Stage:
    pipeline, there = found(key), pipelines.stage_by_key(db(), viewer().team_id, stage)
    if there is None or there.pipeline_id != pipeline.id:
        raise PipelineError("That stage is gone; look again")
    return there


@bp.post("/p/<key>/settings/stages")
@or_show(page)
def add(key: str) -> Page:
    """A stage at the end."""
    stage = pipelines.add_stage(db(), viewer(), found(key), **_typed())
    return done(f"{stage.name} added", HERE, f"stage-{stage.key}", key=key)


@bp.post("/p/<key>/settings/stages/<stage>")
@or_show(page)
def change(key: str, stage: str) -> Page:
    """Its name, colour, kind, probability, sleep limit and words."""
    there = _stage(key, stage)
    pipelines.change_stage(db(), viewer(), there, **_typed())
    return done(f"{there.name} saved", HERE, f"stage-{stage}", key=key)


@bp.post("/p/<key>/settings/stages/<stage>/shift")
@or_show(page)
def shift(key: str, stage: str) -> Page:
    """One place up or down."""
    pipeline, there = found(key), _stage(key, stage)
    keys = [one.key for one in pipelines.of_pipeline(db(), pipeline.id)]
    pipelines.reorder_stages(db(), viewer(), pipeline, shifted(keys, there.key))
    return done("", HERE, f"stage-{stage}", key=key)


@bp.post("/p/<key>/settings/stages/order")
@or_show(page)
def order(key: str) -> Page:
    """All stages in the order they were dragged into."""
    pipeline = found(key)
    return ordered(lambda keys: pipelines.reorder_stages(db(), viewer(), pipeline, keys), HERE, key=key)


@bp.post("/p/<key>/settings/stages/<stage>/remove")
@or_show(page)
def remove(key: str, stage: str) -> Page:
    """Remove it; boxes in it go where the form says."""
    there = _stage(key, stage)
    target = _stage(key, text("move_to")) if text("move_to") else None
    boxes.remove_stage(db(), viewer(), there, target, now())
    return done(f"{there.name} removed", HERE, "stages", key=key)
