"""The board of a pipeline: its stages as columns, its boxes as cards."""

from __future__ import annotations

from flask import Blueprint, abort, render_template, request

from tracker import autobox, boxes, contacts, pipelines
from tracker.addresses import parse_addresses
from tracker.db import lock_team
from tracker.pipelines import Pipeline
from tracker.web import cards, cursor, frame
from tracker.web.forms import Refused, done, or_show, text
from tracker.web.frame import Page, db, now, viewer

bp = Blueprint("board", __name__)


def found(key: str) -> Pipeline:
    """The team's pipeline, or 404."""
    pipeline = next((one for one in frame.nav_pipelines() if one.key == key), None)
    return pipeline if pipeline is not None else abort(404)


def page(key: str, **_: str) -> str:
    """The whole board."""
    pipeline = found(key)
    stages = pipelines.of_pipeline(db(), pipeline.id)
    columns = cards.board(db(), viewer(), pipeline, stages)
    return render_template(
        "board.html",
        pipeline=pipeline,
        columns=columns,
        total=sum(one.count for one in columns),
        stage_choices=[(stage.key, stage.name) for stage in stages],
    )


@bp.get("/p/<key>")
def show(key: str) -> Page:
    """The board."""
    return page(key)


@bp.get("/p/<key>/stages/<stage>")
def column(key: str, stage: str) -> Page:
    """One stage's cards from a cursor on: a page of its own, or for htmx the next cards."""
    pipeline = found(key)
    there = pipelines.stage_by_key(db(), viewer().team_id, stage)
    if there is None or there.pipeline_id != pipeline.id:
        abort(404)
    after = cursor.parse(request.args.get("after"))
    template = "_cards.html" if request.headers.get("HX-Request") else "column.html"
    return render_template(template, pipeline=pipeline, column=cards.column(db(), viewer(), there, after))


@bp.post("/p/<key>/boxes")
@or_show(page)
def new_box(key: str) -> Page:
    """A new box, with a contact if an address is given; their mail is filed at once."""
    lock_team(db(), viewer().team_id)
    pipeline, address = found(key), text("address", 500)
    stage = pipelines.stage_by_key(db(), viewer().team_id, text("stage")) if text("stage") else None
    if stage is not None and stage.pipeline_id != pipeline.id:
        abort(400)
    addresses = parse_addresses([address]) if address else ()
    if address and not addresses:
        raise Refused({"new-box": "Expected the contact's address, such as anna@example.com, or none"})
    made = [contacts.ensure(db(), viewer(), one) for one in addresses]
    name = text("name") or (made[0].name if made else "")
    box = boxes.create(db(), viewer(), pipeline, name, stage=stage, contacts=made, now=now())
    autobox.consider_box(db(), box, now())
    return done(f"{box.name} is in {pipeline.name}", "box.show", key=box.key)
