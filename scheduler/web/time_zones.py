"""Where a contact is, on their page: the zone, why, and another one in a click."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from flask import Blueprint, Flask, flash, render_template, request

from scheduler import time_zones
from scheduler.time_zones import Inferred, ZoneError
from scheduler.zones import evidence as zone_evidence
from scheduler.zones import places as zone_places
from scheduler.zones import rules as zone_rules
from tracker import phones
from tracker.addresses import domain_of
from tracker.contacts import Contact
from tracker.people import Viewer
from tracker.web import contact as contact_page
from tracker.web import frame, words
from tracker.web.contact import ContactPanel
from tracker.web.directory_forms import is_fragment
from tracker.web.forms import Refused, done, or_show, text
from tracker.web.frame import Page, db, now, viewer

bp = Blueprint("contact_zone", __name__, template_folder="templates")
PLACE = "zone"  #: of the form, on the page
OFFERED = 3
ICONS = {
    "hand": "edit", "calendar": "calendar", "mail": "mail", "stamped": "mail", "phone": "phone",
    "signature": "note", "location": "pin", "domain": "at", "colleagues": "people", "sender": "help",
}  # fmt: skip


def panel(_: Viewer, contact: Contact) -> str:
    """The panel of a contact's page."""
    standing = time_zones.look(db(), [contact.id], now())[contact.id]
    holds = standing.inferred or time_zones.stand_in(frame.user().time_zone, "your")
    told = standing.told if standing.set_zone is not None else None
    return render_template(
        "scheduler/_contact_zone.html",
        contact=contact,
        holds=holds,
        evidence=[(ICONS.get(one.kind, "info"), one.words) for one in holds.evidence],
        city=zone_places.city_of(holds.zone),
        offset=zone_evidence.utc(zone_rules.offset(holds.zone, now())),
        there=_clock(holds.zone, now()),
        standing=standing,
        told=told,
        told_city=zone_places.city_of(told.zone) if told else "",
        offers=[(zone, zone_places.city_of(zone)) for zone in _offers(contact, holds)],
    )


def _clock(zone: str, at: datetime) -> str:
    return f"{at.astimezone(ZoneInfo(zone)):%H:%M, %A}"


def _offers(contact: Contact, holds: Inferred) -> list[str]:
    """Other zones that it may be: of what is noted of the contact; unless it is sure, the viewer's own."""
    places = [zone_places.of_location(contact.location), *map(zone_places.of_phone, phones.of(contact.phone))]
    places += [zone_places.of_domain(domain_of(one.normalized)) for one in contact.addresses]
    zones = [max(place.zones, key=lambda zone: (place.zones[zone], zone)) for place in places if place]
    zones += [] if holds.confidence == "sure" else [frame.user().time_zone]
    return [zone for zone in dict.fromkeys(zones) if zone != holds.zone and zone_rules.is_zone(zone)][:OFFERED]


def page(key: str) -> str:
    """The panel to htmx, else the page it is on."""
    if is_fragment():
        return panel(viewer(), contact_page.found(key))
    return contact_page.page(key)


@bp.get("/contacts/<key>/zone")
def show(key: str) -> Page:
    """The panel, for a page that is open."""
    return page(key)


@bp.post("/contacts/<key>/zone")
@or_show(page)
def change(key: str) -> Page:
    """Set the zone by its name or a place in it, or let the evidence speak again."""
    contact = contact_page.found(key)
    zone = None if "evidence" in request.form else named(text("zone", 100) or text("place", 100))
    try:
        time_zones.set_by_hand(db(), viewer(), contact.id, zone, now())
    except ZoneError as error:
        raise Refused({PLACE: str(error)}) from None
    said = f"{contact.name} is in {zone_places.city_of(zone)} from now on" if zone else "The evidence speaks again"
    if is_fragment():
        return panel(viewer(), contact)
    flash(said, "done")
    return done("", contact_page.HERE, "contact-zone", key=key)


def named(typed: str) -> str:
    """The zone that somebody means by its name or a place. Raises `Refused`."""
    spelled = next((one for one in zone_rules.names() if one.casefold() == typed.replace(" ", "_").casefold()), "")
    if zone := spelled or zone_rules.current(typed):
        return zone
    if typed.casefold() in ("utc", "gmt", "etc/utc"):
        return "Etc/UTC"
    place = zone_places.of_location(typed)
    if place is None:
        raise Refused({PLACE: "No such place is known; give a larger city nearby, or a zone such as Europe/Paris"})
    zone = max(place.zones, key=lambda one: (place.zones[one], one))
    if place.zones[zone] < 0.9:
        raise Refused({PLACE: f"{place.name} has several time zones; give a city"})
    return zone


def init_app(app: Flask) -> None:
    """Add the panel to an application that has the frame."""
    app.register_blueprint(bp)
    contact_page.register_contact_panel(app, ContactPanel("Time zone", panel, order=20))
    words.register(time_zones.CHANGED, "noted that a contact is in {zone} now")
