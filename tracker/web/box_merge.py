"""Merging two boxes: choosing the other, a preview of what moves and which values win, and doing it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for

from tracker import contacts, merging
from tracker.contacts import Organization
from tracker.fields import FieldType
from tracker.merging import BOTH, OTHER, THIS, Difference
from tracker.people import User, by_key
from tracker.pipelines import Stage
from tracker.web import words
from tracker.web.box_links import named_like
from tracker.web.box_page import anyhow, found, other_box
from tracker.web.forms import done, or_show, text
from tracker.web.frame import Page, db, now, viewer

bp = Blueprint("box_merge", __name__)


def page(key: str, **_: str) -> str:
    """The page; with the other box in `other` the preview."""
    box = anyhow(key)
    asked = request.values.get("other", "")
    other = other_box(asked) if asked else None
    if box.deleted_at is not None or (other is not None and other.id == box.id):
        return render_template("box_merged.html", box=box)
    if other is None:
        typed = request.args.get("name", "")
        found_boxes = named_like(box, typed, same_pipeline=True)
        return render_template("box_merge.html", box=box, choices=found_boxes, typed=typed, other=None)
    preview = merging.preview(db(), viewer(), box, other) if other.pipeline_id == box.pipeline_id else None
    shown = [(one, told(one, one.this), told(one, one.other)) for one in preview.differences] if preview else []
    return render_template("box_merge.html", box=box, other=other, preview=preview, differences=shown)


@bp.get("/b/<key>/merge")
def show(key: str) -> Page:
    """The page; for htmx, while a name is typed, the boxes to choose from."""
    box = anyhow(key)
    if request.headers.get("HX-Request") and "other" not in request.args:
        there = named_like(box, request.args.get("name", ""), same_pipeline=True)
        return render_template(
            "box_merge_choices.html", box=box, choices=there, typed=request.args.get("name", "")
        )
    if box.deleted_at is not None:
        return redirect(url_for("box.show", key=box.key))
    return page(key)


@bp.post("/b/<key>/merge")
@or_show(page)
def merge(key: str) -> Page:
    """Merge the other into this one; for good."""
    box, other = found(key), other_box(text("other"))
    name = other.name
    chosen = {
        field.removeprefix("win-"): value
        for field, value in request.form.items()
        if field.startswith("win-") and value in (THIS, OTHER, BOTH)
    }
    merging.merge(db(), viewer(), box, other, chosen, fingerprint=text("fingerprint", 64), now=now())
    return done(f"{name} is part of this box now", "box.show", key=box.key)


def told(difference: Difference, value: Any) -> str:
    """One side of a difference in words."""
    if isinstance(value, Stage | User | Organization):
        return value.name
    return _field_value(difference, value) if difference.field is not None else str(value)


def _field_value(difference: Difference, value: Any) -> str:
    field = difference.field
    assert field is not None
    finders = {FieldType.CONTACT: contacts.by_key, FieldType.ORGANIZATION: contacts.organization_by_key}
    found_by = finders.get(FieldType(field.type))
    if found_by is not None:
        named = found_by(db(), field.team_id, str(value))
        return named.name if named is not None else "somebody unknown"
    if field.type == FieldType.PERSON:
        user = by_key(db(), str(value))
        return user.name if user is not None and user.team_id == field.team_id else "somebody unknown"
    return words.shown(value)
