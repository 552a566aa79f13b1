"""A contact: who it is, how to reach them, and the boxes they are in."""

from __future__ import annotations

from flask import Blueprint, abort, render_template
from sqlalchemy import select
from sqlalchemy.orm import joinedload, selectinload

from tracker import contacts
from tracker.boxes import Box, BoxContact
from tracker.contacts import Contact
from tracker.web.forms import Refused, done, or_show, text
from tracker.web.frame import Page, db, viewer

bp = Blueprint("contact", __name__)


def found(key: str) -> Contact:
    """The team's contact, or 404."""
    query = (
        select(Contact)
        .where(Contact.team_id == viewer().team_id, Contact.key == key)
        .options(selectinload(Contact.addresses), joinedload(Contact.organization))
    )
    contact = db().scalar(query)
    return contact if contact is not None else abort(404)


def page(key: str) -> str:
    """The whole page."""
    contact = found(key)
    query = (
        select(Box)
        .join(BoxContact, BoxContact.box_id == Box.id)
        .where(BoxContact.contact_id == contact.id)
        .options(joinedload(Box.stage), joinedload(Box.pipeline), joinedload(Box.owner))
        .order_by(Box.archived_at.is_not(None), Box.stage_entered_at.desc())
        .limit(100)
    )
    return render_template("contact.html", contact=contact, boxes=db().scalars(query).all())


@bp.get("/contacts/<key>")
def show(key: str) -> Page:
    """The page."""
    return page(key)


@bp.post("/contacts/<key>")
@or_show(page)
def change(key: str) -> Page:
    """Correct what was read from the mail."""
    contact, name = found(key), " ".join(text("name", 200).split())
    if not name:
        raise Refused({"contact": "A contact needs a name"})
    phone, location = text("phone", 60), text("location", 200)
    contacts.change(db(), viewer(), contact, name=name, phone=phone, location=location)
    return done("Saved", "contact.show", key=key)
