"""Organizations: the list, and a page each with its domains, people, boxes and mail."""

from __future__ import annotations

from flask import Blueprint, abort, redirect, render_template, request, url_for

from tracker import directory, organizations, unions
from tracker.directory import Search
from tracker.organizations import Organization
from tracker.web import correspondence, cursor
from tracker.web.directory_forms import given, is_fragment, members_only, saved
from tracker.web.forms import done, or_show, text
from tracker.web.frame import Page, db, viewer

bp = Blueprint("organizations", __name__)
HERE = "organizations.show"
PEOPLE = 20


def index_page(**_: str) -> str:
    """The list, or, for htmx, a page of its rows."""
    wanted = request.args.get("text", "").replace("\x00", "").strip()[:200]
    after = request.args.get("after", "").replace("\x00", "")
    entries, more = directory.all_organizations(db(), viewer().team_id, wanted, after)
    template = "_organization_rows.html" if is_fragment() else "organizations.html"
    return render_template(template, entries=entries, more=more, text=wanted, is_first=not after)


@bp.get("/organizations")
def index() -> Page:
    """The list."""
    return index_page()


@bp.post("/organizations")
@or_show(index_page)
def add() -> Page:
    """An organization typed in by hand."""
    made = organizations.add(db(), viewer(), text("name", 300), text("domain", 300))
    return done(f"{made.name} is here now", HERE, key=made.key)


def found(key: str) -> Organization:
    """The team's organization, or 404."""
    return organizations.by_key(db(), viewer().team_id, key) or abort(404)


def page(key: str, **_: str) -> str:
    """The whole page."""
    organization = found(key)
    return render_template(
        "organization.html",
        organization=organization,
        domains=organizations.domains(db(), [organization.id])[organization.id],
        **_lists(organization),
    )


def _lists(organization: Organization) -> dict[str, object]:
    """What changes by itself: people, boxes, mail."""
    boxes, more_boxes = directory.boxes_of(db(), organization, request.args.get("boxes", ""))
    mail, more_mail = correspondence.page(
        db(), viewer(), directory.addresses_of(organization), cursor.parse(request.args.get("mail"))
    )
    team = organization.team_id
    people, more_people = directory.contacts(db(), team, Search(organization_id=organization.id), limit=PEOPLE)
    return {
        "boxes": boxes,
        "more_boxes": more_boxes,
        "mail": mail,
        "more_mail": more_mail,
        "people": people,
        "more_people": more_people,
    }


@bp.get("/organizations/<key>")
def show(key: str) -> Page:
    """The page; one that was merged away leads to what it became."""
    if organizations.by_key(db(), viewer().team_id, key) is None:
        became = unions.merged_into(db(), viewer().team_id, unions.ORGANIZATION_MERGED, key)
        return redirect(url_for(HERE, key=became)) if became else abort(404)
    return page(key)


@bp.get("/organizations/<key>/people")
def people_page(key: str) -> Page:
    """More of the people: `after` a contact's key."""
    organization, after = found(key), request.args.get("after", "").replace("\x00", "")
    team = organization.team_id
    people, more = directory.contacts(db(), team, Search(organization_id=organization.id), after, limit=PEOPLE)
    template = "_people_lines.html" if is_fragment() else "organization_people.html"
    return render_template(template, people=people, more_people=more, organization=organization)


@bp.get("/organizations/<key>/boxes")
def boxes_page(key: str) -> Page:
    """More of the boxes: `after` a box's key."""
    organization, after = found(key), request.args.get("after", "")
    if not is_fragment():
        return redirect(url_for(HERE, key=key, boxes=after))
    boxes, more = directory.boxes_of(db(), organization, after)
    asked = {"of": organization, "endpoint": "organizations.boxes_page"}
    return render_template("_box_lines.html", boxes=boxes, more=more, **asked)


@bp.get("/organizations/<key>/mail")
def mail_page(key: str) -> Page:
    """More of the mail."""
    organization, after = found(key), request.args.get("after", "")
    if not is_fragment():
        return redirect(url_for(HERE, key=key, mail=after))
    mail, more = correspondence.page(db(), viewer(), directory.addresses_of(organization), cursor.parse(after))
    asked = {"of": organization, "endpoint": "organizations.mail_page"}
    return render_template("_mail_lines.html", mail=mail, more=more, **asked)


@bp.post("/organizations/<key>")
@or_show(page)
def change(key: str) -> Page:
    """Correct what the form holds of name, website, location and notes."""
    organizations.change(db(), viewer(), found(key), **given("name", "website", "location", "notes"))
    return saved("Saved", HERE, key=key)


@bp.post("/organizations/<key>/domains")
@or_show(page)
def add_domain(key: str) -> Page:
    """A mail domain by which its people are known."""
    domain = organizations.add_domain(db(), viewer(), found(key), text("domain", 300))
    return saved(f"{domain} added", HERE, "domains", key=key)


@bp.post("/organizations/<key>/domains/remove")
@or_show(page)
def remove_domain(key: str) -> Page:
    """Take a domain off."""
    members_only()
    organizations.remove_domain(db(), viewer(), found(key), text("domain", 300))
    return saved("Domain removed; its people stay", HERE, "domains", key=key)
