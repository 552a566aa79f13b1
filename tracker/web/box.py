"""A box: its stage, its people and fields, its timeline, and why each conversation is in it."""

from __future__ import annotations

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from sqlalchemy import select

from tracker import autobox, boxes, contacts, fields, filing, people, pipelines
from tracker.addresses import parse_addresses
from tracker.boxes import Box, BoxConflict, BoxError
from tracker.contacts import ContactAddress
from tracker.db import lock_team
from tracker.events import Event
from tracker.filing import FILED
from tracker.matching import BY_CONTACT, BY_DOMAIN
from tracker.messages import Message, Recipient
from tracker.people import User
from tracker.sharing import may_read
from tracker.web import box_page, cursor, field_inputs, mails, rows
from tracker.web.box_page import PARTS, Shown, anyhow, changed, found, in_team, page
from tracker.web.forms import Refused, number, or_show, text, wants_json
from tracker.web.frame import Page, db, now, viewer

bp = Blueprint("box", __name__)


@bp.get("/b/<key>")
def show(key: str) -> Page:
    """The page; with `?after=` only the timeline goes on, for htmx. `?show=` filters the timeline."""
    box = anyhow(key)
    if box.key != key:  # it was merged into another
        return redirect(url_for("box.show", key=box.key), 301)
    if request.headers.get("HX-Request") and "after" in request.args:
        return render_template("_timeline.html", page=Shown(box), box=box)
    return page(key)


@bp.get("/b/<key>/part/<name>")
def part(key: str, name: str) -> Page:
    """One part of the page, as it is now; for live updates."""
    box = anyhow(key)
    if box.deleted_at is not None or box.key != key:
        return Response("", headers={"HX-Refresh": "true"})
    return box_page.render(Shown(box), name) if name in PARTS else abort(404)


@bp.get("/b/<key>/files")
def files(key: str) -> Page:
    """All attachments of its readable mail."""
    box = anyhow(key)
    if box.deleted_at is not None:
        return redirect(url_for("box.show", key=box.key))
    found_files, more = mails.files_of(db(), viewer(), box, cursor.parse(request.args.get("after")))
    return render_template("box_all_files.html", box=box, files=found_files, more=more)


@bp.post("/b/<key>/stage")
@or_show(page)
def move(key: str) -> Page:
    """Move to a stage. `version` is the box's as the person saw it; a teammate's move since is a conflict."""
    box = found(key)
    stage = pipelines.stage_by_key(db(), viewer().team_id, text("stage"))
    if stage is None:
        raise BoxError("That stage is gone; load the page again")
    if number("version") != box.version and stage.id != box.stage_id:
        raise BoxConflict(f"A teammate moved this box to {box.stage.name} meanwhile{_mover(box)}; look again")
    boxes.move(db(), viewer(), box, stage, now=now())
    if wants_json():
        return Response(f'{{"version": {box.version}}}', mimetype="application/json")
    return changed(box, "head", "timeline", told=f"Moved to {stage.name}")


def _mover(box: Box) -> str:
    """Who moved it last, in brackets."""
    query = (
        select(User.name)
        .join(Event, Event.user_id == User.id)
        .where(Event.box_id == box.id, Event.kind == "box.moved", User.id != viewer().user_id)
        .order_by(Event.id.desc())
    )
    name = db().scalars(query.limit(1)).first()
    return f" ({name})" if name else ""


@bp.post("/b/<key>/name")
@or_show(page)
def rename(key: str) -> Page:
    """Rename."""
    box = found(key)
    boxes.rename(db(), viewer(), box, text("name"))
    return changed(box, "head", "timeline", told="Renamed")


@bp.post("/b/<key>/owner")
@or_show(page)
def assign(key: str) -> Page:
    """Give it to somebody of the team, or to nobody."""
    box, owner = found(key), in_team(text("owner"))
    boxes.assign(db(), viewer(), box, owner)
    told = f"{owner.name} has it now" if owner else "Nobody has it now"
    return changed(box, "head", "timeline", told=told)


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
    return changed(box, "fields", "timeline", told="Saved", anchor="box-fields")


@bp.post("/b/<key>/contacts")
@or_show(page)
def add_contact(key: str) -> Page:
    """Add a contact by address, or one that is known by name; and let the rules look for their mail."""
    lock_team(db(), viewer().team_id)
    box, typed = found(key), text("address", 500)
    addresses = parse_addresses([typed])
    if not addresses:
        addresses = parse_addresses([_address_of(typed)])
    if people.own_addresses(db(), viewer().team_id) & {address.normalized for address in addresses}:
        raise Refused({"contacts": "That is one of the team's own addresses"})
    for address in addresses:
        boxes.add_contact(db(), viewer(), box, contacts.ensure(db(), viewer(), address))
    db().flush()
    autobox.consider_box(db(), box, now())
    parts = ("contacts", "conversations", "files", "timeline", "compose", "head")
    return changed(box, *parts, told="Contact added", anchor="box-contacts")


def _address_of(name: str) -> str:
    """The address of the one contact of this name. Raises `Refused`."""
    if not name:
        raise Refused({"contacts": "Expected an address such as anna@example.com"})
    contact = contacts.Contact
    query = select(contact.id).where(contact.team_id == viewer().team_id, contact.name.ilike(_like(name)))
    ids = db().scalars(query.limit(2)).all()
    if len(ids) != 1:
        why = "Several contacts have this name: type the address" if ids else "Nobody is known by this name"
        raise Refused({"contacts": f"{why}. Expected an address such as anna@example.com"})
    address = select(ContactAddress.address).where(ContactAddress.contact_id == ids[0]).order_by(ContactAddress.id)
    return db().scalars(address.limit(1)).first() or ""


def _like(name: str) -> str:
    return name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


@bp.get("/b/<key>/contacts/known")
def known_contacts(key: str) -> Page:
    """Contacts to choose from while a name is typed: `<option>`s."""
    typed = request.args.get("address", "").replace("\x00", "").strip()[:100]
    if len(typed) < 2:
        return ""
    contact = contacts.Contact
    query = (
        select(contact.name, ContactAddress.address)
        .join(ContactAddress, ContactAddress.contact_id == contact.id)
        .where(contact.team_id == viewer().team_id)
        .where(contact.name.ilike(f"%{_like(typed)}%") | ContactAddress.address.ilike(f"{_like(typed)}%"))
        .order_by(contact.name, ContactAddress.id)
    )
    return render_template("box_known.html", choices=db().execute(query.limit(10)).all())


@bp.post("/b/<key>/contacts/<contact>/remove")
@or_show(page)
def remove_contact(key: str, contact: str) -> Page:
    """Take a contact off."""
    box, who = found(key), contacts.by_key(db(), viewer().team_id, contact)
    boxes.remove_contact(db(), viewer(), box, who or abort(404))
    told = "Contact taken off; conversations that are here stay"
    return changed(box, "contacts", "timeline", "compose", told=told, anchor="box-contacts")


@bp.post("/b/<key>/fields")
@or_show(page)
def set_values(key: str) -> Page:
    """Set the fields that the person changed; if one is wrong none is set, and each message stands by its field.

    A field that somebody else changed since the page was opened is wrong too: the person sees both and chooses.
    """
    box = found(key)
    boxes.lock_values(db(), box)
    columns = fields.of_pipeline(db(), box.pipeline_id)
    known = field_inputs.known_names(db(), box, columns, people.of_team(db(), box.team_id, removed=True))
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
    part_of = "head" if request.form.get("_place") == "money" else "fields"
    return changed(box, part_of, "timeline", told="Saved", anchor="box-fields")


@bp.post("/b/<key>/conversations/<conversation>/remove")
@or_show(page)
def take_out(key: str, conversation: str) -> Page:
    """Take a conversation out; no rule files it here again. `never` also stops the rule that had filed it.

    The team's lock is taken, so that no sync merges it away meanwhile.
    """
    lock_team(db(), viewer().team_id)
    box, there = found(key), rows.readable(db(), viewer(), conversation) or abort(404)
    told = "Taken out; no rule files it here again"
    if text("never"):
        told = _stop_rule(box, there.id) or told
    filing.remove(db(), viewer(), there, box)
    parts = ("timeline", "conversations", "contacts", "files", "head", "fields")
    return changed(box, *parts, told=told, anchor="box-conversations")


def _stop_rule(box: Box, conversation_id: int) -> str:
    """Stop the rule that filed a conversation from filing more here; what was done, in words."""
    decided = filing.of_conversations(db(), [conversation_id])[conversation_id]
    rule = next((one.rule for one in decided if one.box_id == box.id and one.state == FILED), None)
    if rule == BY_DOMAIN:
        boxes.set_autobox_domain(db(), viewer(), box, False)
        return "Taken out; mail is no longer filed here by the organization's domain"
    if rule != BY_CONTACT:
        return ""
    readable = (Message.conversation_id == conversation_id, may_read(viewer()))
    writers = select(Message.sender_normalized).where(*readable)
    readers = select(Recipient.normalized).join(Message, Message.id == Recipient.message_id).where(*readable)
    addresses = set(db().scalars(writers.union(readers)))
    taken = [one for one in box.contacts if addresses & {address.normalized for address in one.addresses}]
    for contact in taken:
        boxes.remove_contact(db(), viewer(), box, contact)
    names = ", ".join(contact.name for contact in taken)
    return f"Taken out; new mail with {names} is no longer filed here" if names else ""
