"""Duplicates: pairs that may be one, each with its reasons; looked at side by side, merged, or told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from flask import Blueprint, abort, render_template, request

from tracker import contacts, directory, duplicates, organizations, phones, unions
from tracker.contacts import Contact, ContactError
from tracker.db import lock_team
from tracker.organizations import Organization
from tracker.web import contact as contact_page
from tracker.web.directory_forms import members_only
from tracker.web.forms import done, or_show, text
from tracker.web.frame import Page, db, now, viewer

bp = Blueprint("duplicates", __name__)
T = TypeVar("T", Contact, Organization)


@bp.get("/contacts/duplicates")
def show() -> Page:
    """The pairs."""
    members_only()
    after = request.args.get("after", "").replace("\x00", "")
    pairs, more = duplicates.find(db(), viewer(), after)
    companies = [] if after else duplicates.find_organizations(db(), viewer())
    return render_template("duplicates.html", pairs=pairs, more=more, companies=companies, is_first=not after)


def _two(find: Callable[[str], T | None]) -> tuple[T, T]:
    """The two that the address or the form names; 404 unless both are the team's."""
    one, other = (find(request.values.get(name, "").replace("\x00", "")) for name in ("one", "other"))
    if one is None or other is None or one.id == other.id:
        abort(404)
    return one, other


def _contact(key: str) -> Contact | None:
    return contacts.by_key(db(), viewer().team_id, key)


def _organization(key: str) -> Organization | None:
    return organizations.by_key(db(), viewer().team_id, key)


# -- contacts


Difference = tuple[str, str, list[str]]


def _differences(one: T, other: T, columns: Sequence[tuple[str, str]]) -> list[Difference]:
    """What differs: a column, its label, and the values to choose from."""
    found = []
    for name, label in columns:
        values = list(dict.fromkeys(str(getattr(each, name) or "") for each in (one, other)))
        if len(values) > 1:
            found.append((name, label, sorted(values, key=lambda value: not value)))
    return found


def compare_contacts(**_: str) -> str:
    """Both side by side, and what the one that they become is to be like."""
    members_only()
    one, other = _two(_contact)
    return render_template(
        "merge_contacts.html",
        sides=[directory.entry(db(), each) for each in (one, other)],
        reasons=duplicates.reasons(one, other),
        differences=_differences(one, other, (("name", "Name"), ("title", "Title"), ("location", "Location"))),
        companies=list(dict.fromkeys(each.organization for each in (one, other) if each.organization)),
        phones=list(dict.fromkeys([*phones.of(one.phone), *phones.of(other.phone)])),
        shown=phones.shown,
        side_phones=[", ".join(map(phones.shown, phones.of(each.phone))) for each in (one, other)],
        addresses=[*one.addresses, *other.addresses],
        notes="\n\n".join(dict.fromkeys(each.notes for each in (one, other) if each.notes)),
    )


@bp.get("/contacts/merge")
def look() -> Page:
    """Before a merge."""
    return compare_contacts()


@bp.get("/contacts/<key>/merge")
def look_for(key: str) -> Page:
    """From a contact's page: `other` is an address, or what somebody typed of a name."""
    members_only()
    one, typed = contact_page.found(key), request.args.get("with", "").replace("\x00", "").strip()[:200]
    found, _ = directory.contacts(db(), one.team_id, directory.Search(text=typed), limit=20) if typed else ([], "")
    others = [entry for entry in found if entry.contact.id != one.id]
    return render_template("merge_with.html", contact=one, typed=typed, others=others)


@bp.post("/contacts/merge")
@or_show(compare_contacts)
def merge() -> Page:
    """Make them one; the older is kept, and links to the other lead to it."""
    members_only()
    lock_team(db(), viewer().team_id)
    one, other = _two(_contact)
    kept, gone = (one, other) if one.id < other.id else (other, one)
    names = ("name", "title", "location", "notes", "organization", "main")
    chosen = {name: text(name) for name in names if name in request.form}
    if "phones" in request.form:
        chosen["phone"] = ", ".join(number.replace("\x00", "") for number in request.form.getlist("phone"))
    if chosen.get("organization") and _organization(chosen["organization"]) is None:
        raise ContactError("That organization is gone; look again")
    unions.merge_contacts(db(), viewer(), kept, gone, chosen, now())
    return done(f"{kept.name} is one contact now", "contact.show", key=kept.key)


@bp.post("/contacts/distinct")
def tell_apart() -> Page:
    """They are two people."""
    members_only()
    one, other = _two(_contact)
    duplicates.say_distinct(db(), viewer(), one, other)
    return done(f"{one.name} and {other.name} stay two; they are not shown again", "duplicates.show")


# -- organizations


def compare_organizations(**_: str) -> str:
    """Both side by side."""
    members_only()
    one, other = _two(_organization)
    named = organizations.domains(db(), [one.id, other.id])
    return render_template(
        "merge_organizations.html",
        sides=[(each, named[each.id]) for each in (one, other)],
        differences=_differences(one, other, (("name", "Name"), ("website", "Website"), ("location", "Location"))),
        notes="\n\n".join(dict.fromkeys(each.notes for each in (one, other) if each.notes)),
    )


@bp.get("/organizations/merge")
def look_organizations() -> Page:
    """Before a merge."""
    return compare_organizations()


@bp.get("/organizations/<key>/merge")
def look_for_organization(key: str) -> Page:
    """From an organization's page."""
    members_only()
    one, typed = _organization(key) or abort(404), request.args.get("with", "").replace("\x00", "").strip()[:200]
    found, _ = directory.all_organizations(db(), one.team_id, typed, limit=20) if typed else ([], "")
    others = [entry for entry in found if entry.organization.id != one.id]
    return render_template("merge_with.html", organization=one, typed=typed, others=others)


@bp.post("/organizations/merge")
@or_show(compare_organizations)
def merge_organizations() -> Page:
    """Make them one; the older is kept."""
    members_only()
    lock_team(db(), viewer().team_id)
    one, other = _two(_organization)
    kept, gone = (one, other) if one.id < other.id else (other, one)
    chosen = {name: text(name) for name in ("name", "website", "location", "notes") if name in request.form}
    unions.merge_organizations(db(), viewer(), kept, gone, chosen)
    return done(f"{kept.name} is one organization now", "organizations.show", key=kept.key)


@bp.post("/organizations/distinct")
def tell_organizations_apart() -> Page:
    """They are two companies."""
    members_only()
    one, other = _two(_organization)
    duplicates.say_distinct_organizations(db(), viewer(), one, other)
    return done(f"{one.name} and {other.name} stay two; they are not shown again", "duplicates.show")
