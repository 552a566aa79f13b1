"""A box: its stage, its people and fields, its timeline, and why each conversation is in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, abort, render_template, request
from sqlalchemy import select
from sqlalchemy.orm import joinedload, selectinload

from tracker import autobox, boxes, contacts, fields, filing, people, pipelines
from tracker.addresses import parse_addresses
from tracker.boxes import Box, BoxConflict, BoxError
from tracker.contacts import Contact
from tracker.db import lock_team
from tracker.web import cursor, field_inputs, frame, rows, timeline, words
from tracker.web.forms import Refused, done, number, or_show, text, wants_json
from tracker.web.frame import Page, db, now, viewer

bp = Blueprint("box", __name__)


def found(key: str) -> Box:
    """The team's box, with what its page shows of it; or 404."""
    query = (
        select(Box)
        .where(Box.team_id == viewer().team_id, Box.key == key)
        .options(
            joinedload(Box.stage), joinedload(Box.pipeline), joinedload(Box.owner), joinedload(Box.organization),
            selectinload(Box.contacts).selectinload(Contact.addresses),
        )
    )  # fmt: skip
    box = db().scalar(query)
    return box if box is not None else abort(404)


def page(key: str, **_: str) -> str:
    """The whole page."""
    box = found(key)
    session, who = db(), viewer()
    users = people.of_team(session, who.team_id)
    columns = fields.of_pipeline(session, box.pipeline_id)
    known = field_inputs.known_names(session, box, columns, users)
    panels = [(panel.title, panel.render(who, box)) for panel in frame.frame().box_panels]
    return render_template(
        "box.html",
        box=box,
        stages=pipelines.of_pipeline(session, box.pipeline_id),
        users=users,
        inputs=[field_inputs.shown(field, box.values.get(field.key), known).typed() for field in columns],
        organizations=contacts.organizations(session, who.team_id),
        filed=rows.of_box(session, who, box, filing.FILED),
        suggested=rows.of_box(session, who, box, filing.SUGGESTED, limit=5),
        panels=[(title, html) for title, html in panels if html is not None],
        **_timeline(box, users, columns, known),
    )


def _timeline(
    box: Box, users: Sequence[people.User], columns: Sequence[fields.Field], known: dict[str, str]
) -> dict[str, Any]:
    entries, more = timeline.of_box(db(), viewer(), box, cursor.parse(request.args.get("after")))
    names = {user.id: user.name for user in users}
    types = {field.key: field.type for field in columns}
    told = {entry.event.id: words.sentence(entry.event, names, known, types) for entry in entries if entry.event}
    return {"entries": entries, "more": more, "told": told}


@bp.get("/b/<key>")
def show(key: str) -> Page:
    """The page; with `?after=` only the timeline goes on, for htmx."""
    if request.headers.get("HX-Request") and "after" in request.args:
        box = found(key)
        users = people.of_team(db(), viewer().team_id)
        columns = fields.of_pipeline(db(), box.pipeline_id)
        known = {user.key: user.name for user in users}
        return render_template("_timeline.html", box=box, **_timeline(box, users, columns, known))
    return page(key)


@bp.post("/b/<key>/stage")
@or_show(page)
def move(key: str) -> Page:
    """Move to a stage. `version` is the box's as the person saw it; a teammate's move since is a conflict."""
    box = found(key)
    stage = pipelines.stage_by_key(db(), viewer().team_id, text("stage"))
    if stage is None:
        raise BoxError("That stage is gone; load the page again")
    if number("version") != box.version and stage.id != box.stage_id:
        raise BoxConflict(f"A teammate moved this box to {box.stage.name} meanwhile; look again")
    boxes.move(db(), viewer(), box, stage, now=now())
    if wants_json():
        return Response(f'{{"version": {box.version}}}', mimetype="application/json")
    return done(f"Moved to {stage.name}", "box.show", key=key)


@bp.post("/b/<key>/name")
@or_show(page)
def rename(key: str) -> Page:
    """Rename."""
    boxes.rename(db(), viewer(), found(key), text("name"))
    return done("Renamed", "box.show", key=key)


@bp.post("/b/<key>/owner")
@or_show(page)
def assign(key: str) -> Page:
    """Give it to somebody of the team, or to nobody."""
    box, owner = found(key), people.by_key(db(), text("owner")) if text("owner") else None
    if owner is not None and owner.team_id != viewer().team_id:
        abort(404)
    boxes.assign(db(), viewer(), box, owner)
    return done(f"{owner.name} has it now" if owner else "Nobody has it now", "box.show", key=key)


@bp.post("/b/<key>/organization")
@or_show(page)
def set_organization(key: str) -> Page:
    """Say which organization it is about; a name that is new makes one. Also whether its domain files mail."""
    lock_team(db(), viewer().team_id)
    box, name = found(key), text("organization", 200)
    organization = contacts.organization_named(db(), viewer().team_id, name) if name else None
    if (organization.id if organization else None) != box.organization_id:
        boxes.set_organization(db(), viewer(), box, organization)
    if (text("autobox_domain") == "on") != box.autobox_domain:
        boxes.set_autobox_domain(db(), viewer(), box, not box.autobox_domain)
    db().flush()
    return done("Saved", "box.show", key=key)


@bp.post("/b/<key>/contacts")
@or_show(page)
def add_contact(key: str) -> Page:
    """Add a contact by address, and let the rules look for their mail."""
    lock_team(db(), viewer().team_id)
    box, addresses = found(key), parse_addresses([text("address", 500)])
    if not addresses:
        raise Refused({"contacts": "Expected an address such as anna@example.com"})
    if people.own_addresses(db(), viewer().team_id) & {address.normalized for address in addresses}:
        raise Refused({"contacts": "That is one of the team's own addresses"})
    for address in addresses:
        boxes.add_contact(db(), viewer(), box, contacts.ensure(db(), viewer(), address))
    db().flush()
    autobox.consider_box(db(), box, now())
    return done("Contact added", "box.show", "contacts", key=key)


@bp.post("/b/<key>/contacts/<contact>/remove")
@or_show(page)
def remove_contact(key: str, contact: str) -> Page:
    """Take a contact off."""
    who = contacts.by_key(db(), viewer().team_id, contact)
    boxes.remove_contact(db(), viewer(), found(key), who or abort(404))
    return done("Contact taken off; conversations that are here stay", "box.show", "contacts", key=key)


@bp.post("/b/<key>/fields")
@or_show(page)
def set_values(key: str) -> Page:
    """Set the fields that the person changed; if one is wrong none is set, and each message stands by its field.

    A field that somebody else changed since the page was opened is wrong too: the person sees both and chooses.
    """
    box = found(key)
    boxes.lock_values(db(), box)
    columns = fields.of_pipeline(db(), box.pipeline_id)
    known = field_inputs.known_names(db(), box, columns, people.of_team(db(), box.team_id))
    stale, wrong = {}, {}
    for column in columns:
        there = field_inputs.shown(column, box.values.get(column.key), known)
        if not there.is_changed():
            continue
        if there.is_stale():
            stale[there.name] = there.meanwhile(known)
            continue
        try:
            boxes.set_value(db(), viewer(), box, column, there.given())
        except fields.FieldError as error:
            wrong[there.name] = str(error)
    if wrong or stale:
        place = {"fields": "Not saved: look at the marked fields"}
        raise Refused({**place, **wrong, **stale}, 409 if stale else 422)
    return done("Saved", "box.show", key=key)


@bp.post("/b/<key>/conversations/<conversation>/remove")
@or_show(page)
def take_out(key: str, conversation: str) -> Page:
    """Take a conversation out; no rule files it here again.

    The team's lock is taken, so that no sync merges it away meanwhile.
    """
    lock_team(db(), viewer().team_id)
    there = rows.readable(db(), viewer(), conversation)
    filing.remove(db(), viewer(), there or abort(404), found(key))
    return done("Taken out; no rule files it here again", "box.show", "conversations", key=key)


@bp.post("/b/<key>/archive")
@or_show(page)
def archive(key: str) -> Page:
    """Put it away, or bring it back."""
    box = found(key)
    if box.archived_at is None:
        boxes.archive(db(), viewer(), box, now())
        return done("Archived; everything in it is kept", "box.show", key=key)
    boxes.restore(db(), viewer(), box)
    return done("It is back on the board", "box.show", key=key)
