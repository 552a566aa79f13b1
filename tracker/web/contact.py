"""A contact: who it is, how to reach them, the boxes they are in, what is to be done, and their mail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flask import Blueprint, Flask, abort, current_app, redirect, render_template, request, url_for
from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, selectinload

from tracker import contacts, directory, organizations, phones, unions
from tracker.boxes import Box
from tracker.contacts import Contact
from tracker.db import among, lock_team
from tracker.people import Viewer
from tracker.tasks import Task
from tracker.web import correspondence, cursor
from tracker.web.directory_forms import given, is_fragment, members_only, saved
from tracker.web.forms import or_show, text
from tracker.web.frame import Page, db, now, viewer

bp = Blueprint("contact", __name__)
HERE = "contact.show"
PANELS = "tracker.contact_panels"
TASKS = 20


@dataclass(frozen=True, slots=True)
class ContactPanel:
    """A panel that another room adds to a contact's page; `render` gives its HTML, or None to leave it out."""

    title: str
    render: Callable[[Viewer, Contact], str | None]
    order: int = 50


def register_contact_panel(app: Flask, panel: ContactPanel) -> None:
    """Add a panel to the contact page, as `frame.register_box_panel` does to the box page."""
    panels: list[ContactPanel] = app.extensions.setdefault(PANELS, [])
    panels.append(panel)
    panels.sort(key=lambda entry: entry.order)


def _panels(contact: Contact) -> list[tuple[str, str]]:
    registered: list[ContactPanel] = current_app.extensions.get(PANELS, [])
    rendered = [(panel.title, panel.render(viewer(), contact)) for panel in registered]
    return [(title, Markup(html)) for title, html in rendered if html is not None]  # noqa: S704 - a room's own


def found(key: str) -> Contact:
    """The team's contact, or 404."""
    query = (
        select(Contact)
        .where(Contact.team_id == viewer().team_id, Contact.key == key)
        .options(selectinload(Contact.addresses), joinedload(Contact.organization))
    )
    contact = db().scalar(query)
    return contact if contact is not None else abort(404)


def page(key: str, **_: str) -> str:
    """The whole page."""
    contact = found(key)
    return render_template(
        "contact.html",
        contact=contact,
        phones=[(number, phones.shown(number)) for number in phones.of(contact.phone)],
        organizations=organizations.of_team(db(), contact.team_id),
        panels=_panels(contact),
        **_lists(contact),
    )


def _lists(contact: Contact) -> dict[str, object]:
    """What changes by itself: boxes, tasks, mail."""
    boxes, more_boxes = directory.boxes_of(db(), contact, request.args.get("boxes", ""))
    mail, more_mail = correspondence.page(
        db(), viewer(), directory.addresses_of(contact), cursor.parse(request.args.get("mail"))
    )
    tasks = open_tasks(db(), directory.open_box_ids(db(), contact))
    return {"boxes": boxes, "more_boxes": more_boxes, "mail": mail, "more_mail": more_mail, "tasks": tasks}


def open_tasks(session: Session, box_ids: Sequence[int]) -> Sequence[Task]:
    """What is to be done in these boxes, the most urgent first."""
    query = (
        select(Task)
        .where(among(Task.box_id, box_ids), Task.done_at.is_(None))
        .options(joinedload(Task.box).joinedload(Box.stage), joinedload(Task.assignee))
        .order_by(Task.due_on.nulls_last(), Task.id)
    )
    return session.scalars(query.limit(TASKS)).all()


@bp.get("/contacts/<key>")
def show(key: str) -> Page:
    """The page; a contact that was merged away leads to what it became."""
    if contacts.by_key(db(), viewer().team_id, key) is None:
        became = unions.merged_into(db(), viewer().team_id, unions.CONTACT_MERGED, key)
        return redirect(url_for(HERE, key=became)) if became else abort(404)
    return page(key)


@bp.get("/contacts/<key>/lists")
def lists(key: str) -> Page:
    """What changes by itself, for a page that is open."""
    contact = found(key)
    return render_template("_contact_lists.html", contact=contact, **_lists(contact))


@bp.get("/contacts/<key>/boxes")
def boxes_page(key: str) -> Page:
    """More of the boxes: `after` a box's key."""
    contact, after = found(key), request.args.get("after", "")
    if not is_fragment():
        return redirect(url_for(HERE, key=key, boxes=after))
    boxes, more = directory.boxes_of(db(), contact, after)
    return render_template("_box_lines.html", boxes=boxes, more=more, of=contact, endpoint="contact.boxes_page")


@bp.get("/contacts/<key>/mail")
def mail_page(key: str) -> Page:
    """More of the mail."""
    contact, after = found(key), request.args.get("after", "")
    if not is_fragment():
        return redirect(url_for(HERE, key=key, mail=after))
    mail, more = correspondence.page(db(), viewer(), directory.addresses_of(contact), cursor.parse(after))
    return render_template("_mail_lines.html", mail=mail, more=more, of=contact, endpoint="contact.mail_page")


@bp.post("/contacts/<key>")
@or_show(page)
def change(key: str) -> Page:
    """Correct what the form holds of name, title, phone, location, notes and organization."""
    contact = found(key)
    contacts.change(db(), viewer(), contact, **given("name", "title", "phone", "location", "notes"))
    if "organization" in given("organization"):
        lock_team(db(), viewer().team_id)
        name = text("organization", organizations.NAME_LIMIT)
        there = organizations.named(db(), contact.team_id, name) if name else None
        contacts.set_organization(db(), viewer(), contact, there)
    return saved("Saved", HERE, key=key)


@bp.post("/contacts/<key>/addresses")
@or_show(page)
def add_address(key: str) -> Page:
    """Another address; the rules look for its mail."""
    lock_team(db(), viewer().team_id)
    contact = found(key)
    address = contacts.add_address(db(), viewer(), contact, text("address", 500))
    unions.look_again(db(), contact, now())
    return saved(f"{address.address} added", HERE, "addresses", key=key)


@bp.post("/contacts/<key>/addresses/main")
@or_show(page)
def make_main(key: str) -> Page:
    """The address that is written to."""
    contacts.make_main(db(), viewer(), found(key), text("address", 500))
    return saved(f"{text('address', 500)} is the main address", HERE, "addresses", key=key)


@bp.post("/contacts/<key>/addresses/remove")
@or_show(page)
def remove_address(key: str) -> Page:
    """Take an address off."""
    members_only()
    contacts.remove_address(db(), viewer(), found(key), text("address", 500))
    return saved("Address removed; mail that is filed stays where it is", HERE, "addresses", key=key)
