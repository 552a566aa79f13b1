"""A pipeline's settings: what all their pages share; the pipeline itself; adding, ordering, archiving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask import Blueprint, Response, abort, redirect, render_template, url_for

from tracker import boxes, people, pipelines, sight
from tracker.people import Role
from tracker.pipelines import Pipeline, PipelineError
from tracker.web import frame
from tracker.web.access_said import Said
from tracker.web.forms import done, or_show, text, wants_json
from tracker.web.frame import Page, db, now, viewer

bp = Blueprint("pipeline_settings", __name__)
TABS = (
    ("Stages", "pipeline_stages.show"),
    ("Fields", "pipeline_fields.show"),
    ("Rules", "pipeline_rules.show"),
    ("Pipeline", "pipeline_settings.general"),
)
COPY = "copy-"  #: before the key of a pipeline that a new one is to be like


def found(key: str) -> Pipeline:
    """The pipeline, archived or not, for those who may change it; neither guests nor those who see but some of its
    boxes."""
    if viewer().role == Role.GUEST:
        abort(403)
    pipeline = pipelines.by_key(db(), viewer().team_id, key) or abort(404)
    return pipeline if sight.is_whole(db(), pipeline.id) else abort(403)


def shown(template: str, tab: str, pipeline: Pipeline, **values: Any) -> str:
    """One of the pages of settings."""
    key = pipeline.key
    tabs = [(label, url_for(endpoint, key=key), endpoint == tab) for label, endpoint in TABS]
    return render_template(template, pipeline=pipeline, tabs=tabs, **values)


def shifted(keys: Sequence[str], key: str) -> list[str]:
    """The keys with one of them a place up or down, as the form says."""
    order = list(keys)
    at = order.index(key)
    to = min(max(at + (-1 if text("to") == "up" else 1), 0), len(order) - 1)
    order.insert(to, order.pop(at))
    return order


def ordered(put: Callable[[list[str]], None], endpoint: str, **arguments: str) -> Page:
    """Put things into the order that they were dragged into: `order`, their keys with commas between."""
    put(text("order").split(","))
    return Response("{}", mimetype="application/json") if wants_json() else done("", endpoint, **arguments)


@bp.get("/p/<key>/settings")
def show(key: str) -> Page:
    """The page that most come for."""
    return redirect(url_for(TABS[0][1], key=found(key).key))


def page(key: str, **_: str) -> str:
    """The pipeline itself."""
    pipeline = found(key)
    counts = boxes.counts(db(), pipeline.id)
    more = {"inside": sum(counts.values()), "said": said(pipeline)}
    return shown("pipeline_general.html", "pipeline_settings.general", pipeline, **more)


def said(pipeline: Pipeline) -> Said:
    """Who sees it."""
    return Said.of(db(), viewer(), pipeline, people.of_team(db(), viewer().team_id, removed=True))


@bp.get("/p/<key>/settings/pipeline")
def general(key: str) -> Page:
    """The page."""
    return page(key)


@bp.post("/p/<key>/settings/pipeline")
@or_show(page)
def rename(key: str) -> Page:
    """Its name."""
    pipelines.change(db(), viewer(), found(key), name=text("name"))
    return done("Saved", "pipeline_settings.general", key=key)


@bp.post("/p/<key>/settings/archive")
@or_show(page)
def archive(key: str) -> Page:
    """Put it away with its boxes, or bring it back."""
    pipeline = found(key)
    if pipeline.archived_at is not None:
        pipelines.restore(db(), viewer(), pipeline)
        return done(f"{pipeline.name} is back, with its boxes", "board.show", key=key)
    pipelines.archive(db(), viewer(), pipeline, now())
    return done(f"{pipeline.name} is archived; everything in it is kept", "pipeline_settings.choose")


# -- all of them


def _choose(**_: str) -> str:
    if viewer().role == Role.GUEST:
        abort(403)
    return render_template(
        "pipelines.html",
        templates=frame.frame().templates,
        all_pipelines=frame.nav_pipelines(),
        archived=pipelines.archived(db(), viewer().team_id),
        copy=COPY,
    )


@bp.get("/pipelines/new")
def choose() -> Page:
    """The team's pipelines in order, the archived ones, and those that can be added."""
    return _choose()


@bp.post("/pipelines/new")
@or_show(_choose)
def add() -> Page:
    """Add a shipped one, or one like another of the team's."""
    _choose()
    wanted, name = text("template"), text("name")
    if wanted.startswith(COPY):
        model = pipelines.by_key(db(), viewer().team_id, wanted.removeprefix(COPY))
        if model is None:
            raise PipelineError("That pipeline is gone; look again")
        made = pipelines.copy(db(), viewer(), model, name or f"{model.name} 2")
    else:
        template = next((one for one in frame.frame().templates if one.slug == wanted), None)
        if template is None:
            raise PipelineError("Choose one of the pipelines below")
        made = pipelines.add(db(), viewer(), template, name=name or None)
    return done(f"{made.name} is ready", "board.show", key=made.key)


@bp.post("/pipelines/order")
@or_show(_choose)
def order() -> Page:
    """All pipelines in the order they were dragged into."""
    _choose()
    return ordered(lambda keys: pipelines.reorder(db(), viewer(), keys), "pipeline_settings.choose")


@bp.post("/pipelines/<key>/shift")
@or_show(_choose)
def shift(key: str) -> Page:
    """One place up or down."""
    pipeline, keys = found(key), [one.key for one in pipelines.of_team(db(), viewer().team_id)]
    if pipeline.key in keys:
        pipelines.reorder(db(), viewer(), shifted(keys, pipeline.key))
    return done("", "pipeline_settings.choose", f"pipeline-{key}")
