"""A pipeline's fields: added, renamed, given choices, put in order, removed and brought back."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint
from sqlalchemy import select

from tracker import boxes, fields
from tracker.fields import Field, FieldError, FieldType
from tracker.pipelines import Pipeline
from tracker.web.forms import done, or_show, text
from tracker.web.frame import Page, db, viewer
from tracker.web.pipeline_settings import found, ordered, shifted, shown

bp = Blueprint("pipeline_fields", __name__)
HERE = "pipeline_fields.show"
#: What a field of each type holds, in words.
TYPES = {
    FieldType.TEXT: "Text",
    FieldType.NUMBER: "Number",
    FieldType.MONEY: "Money: an amount and a currency",
    FieldType.DATE: "Date",
    FieldType.DROPDOWN: "Dropdown: one of the choices that you list",
    FieldType.TAGS: "Tags: any number of words",
    FieldType.CHECKBOX: "Checkbox: yes or no",
    FieldType.PERSON: "Person: somebody of the team",
    FieldType.CONTACT: "Contact: a person outside the team",
    FieldType.ORGANIZATION: "Organization: a company",
    FieldType.URL: "Web address",
}


def page(key: str, **_: str) -> str:
    """The whole page."""
    pipeline = found(key)
    columns = fields.of_pipeline(db(), pipeline.id)
    worth = next((one for one in columns if one.type == FieldType.MONEY), None)
    types = {kind.value: words for kind, words in TYPES.items()}
    removed = _removed(pipeline)
    return shown("pipeline_fields.html", HERE, pipeline, fields=columns, removed=removed, types=types, worth=worth)


@bp.get("/p/<key>/settings/fields")
def show(key: str) -> Page:
    """The page."""
    return page(key)


def _field(key: str, field: str) -> Field:
    pipeline, there = found(key), fields.by_key(db(), viewer().team_id, field)
    if there is None or there.pipeline_id != pipeline.id:
        raise FieldError("That field is gone; look again")
    return there


def _removed(pipeline: Pipeline) -> Sequence[Field]:
    removed = select(Field).where(Field.pipeline_id == pipeline.id, Field.removed)
    return db().scalars(removed.order_by(Field.position)).all()


def _options() -> list[str]:
    return text("options").splitlines()


def _changed(pipeline_id: int, words: str, anchor: str, key: str) -> Page:
    """Fields decide what a box is worth: the first of money does."""
    db().flush()
    boxes.revalue(db(), pipeline_id)
    return done(words, HERE, anchor, key=key)


@bp.post("/p/<key>/settings/fields")
@or_show(page)
def add(key: str) -> Page:
    """A field at the end."""
    field = fields.add(db(), viewer(), found(key).id, text("name"), text("type"), _options())
    return _changed(field.pipeline_id, f"{field.name} added", f"field-{field.key}", key)


@bp.post("/p/<key>/settings/fields/<field>")
@or_show(page)
def change(key: str, field: str) -> Page:
    """Its name, and a dropdown's choices."""
    there = _field(key, field)
    if text("name") != there.name:
        fields.rename(db(), viewer(), there, text("name"))
    if there.type == FieldType.DROPDOWN:
        fields.set_options(db(), viewer(), there, _options())
    return done(f"{there.name} saved", HERE, f"field-{field}", key=key)


def _reorder(pipeline: Pipeline, keys: Sequence[str]) -> None:
    fields.reorder(db(), viewer(), pipeline.id, keys)
    boxes.revalue(db(), pipeline.id)


@bp.post("/p/<key>/settings/fields/<field>/shift")
@or_show(page)
def shift(key: str, field: str) -> Page:
    """One place up or down."""
    pipeline, there = found(key), _field(key, field)
    keys = [one.key for one in fields.of_pipeline(db(), pipeline.id)]
    if there.key in keys:
        _reorder(pipeline, shifted(keys, there.key))
    return done("", HERE, f"field-{field}", key=key)


@bp.post("/p/<key>/settings/fields/order")
@or_show(page)
def order(key: str) -> Page:
    """All fields in the order they were dragged into."""
    pipeline = found(key)
    return ordered(lambda keys: _reorder(pipeline, keys), HERE, key=key)


@bp.post("/p/<key>/settings/fields/<field>/remove")
@or_show(page)
def remove(key: str, field: str) -> Page:
    """Take it off the pipeline; what stands in boxes is kept."""
    there = _field(key, field)
    fields.remove(db(), viewer(), there)
    return _changed(there.pipeline_id, f"{there.name} removed; its values are kept", "fields", key)


@bp.post("/p/<key>/settings/fields/<field>/restore")
@or_show(page)
def restore(key: str, field: str) -> Page:
    """Bring a removed one back, with what stood in boxes."""
    there = _field(key, field)
    fields.restore(db(), viewer(), there)
    return _changed(there.pipeline_id, f"{there.name} is back, with its values", f"field-{field}", key)
