"""The boxes that a box is linked with, and choosing another box by its name."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from tracker import boxes, links
from tracker.boxes import Box, BoxError
from tracker.web.box_page import anyhow, changed, found, other_box, page
from tracker.web.forms import or_show, text
from tracker.web.frame import Page, db, viewer

bp = Blueprint("box_links", __name__)
CHOICES = 12


def named_like(box: Box, typed: str, *, same_pipeline: bool = False) -> list[Box]:
    """Other boxes whose name contains what was typed, the newest first, with stage and pipeline."""
    typed = typed.replace("\x00", "").strip()[:100]
    if not typed:
        return []
    like = typed.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    query = (
        select(Box)
        .where(Box.team_id == box.team_id, Box.id != box.id, boxes.is_listed(), Box.name.ilike(f"%{like}%"))
        .options(joinedload(Box.stage), joinedload(Box.pipeline), joinedload(Box.owner))
        .order_by(Box.created_at.desc(), Box.id.desc())
    )
    if same_pipeline:
        query = query.where(Box.pipeline_id == box.pipeline_id)
    return list(db().scalars(query.limit(CHOICES)))


@bp.get("/b/<key>/links/choices")
def choices(key: str) -> Page:
    """Boxes to link with, while a name is typed: a list of buttons of the form that asks."""
    box = anyhow(key)
    typed = request.args.get("name", "")
    return render_template("box_choices.html", choices=named_like(box, typed), typed=typed)


@bp.post("/b/<key>/links")
@or_show(page)
def add(key: str) -> Page:
    """Link with the box that was chosen, or the only one of the name that was typed."""
    box = found(key)
    if text("box"):
        other = other_box(text("box"))
    else:
        there = named_like(box, text("name"))
        exact = [one for one in there if one.name.casefold() == text("name").casefold()]
        if len(exact or there) != 1:
            raise BoxError(
                "Several boxes have such a name; choose one" if there else "There is no other box of such a name"
            )
        other = (exact or there)[0]
    new = links.link(db(), viewer(), box, other)
    told = f"Linked with {other.name}" if new else f"{other.name} is linked already"
    return changed(box, "links", "timeline", told=told, anchor="box-links")


@bp.post("/b/<key>/links/<other>/remove")
@or_show(page)
def remove(key: str, other: str) -> Page:
    """Take a link away."""
    box, there = found(key), other_box(other)
    links.unlink(db(), viewer(), box, there)
    undo = {"url": f"/b/{box.key}/links", "fields": {"box": there.key}}
    return changed(box, "links", "timeline", told=f"No longer linked with {there.name}", undo=undo)
