"""What is tracked: the page of settings, and the button on a contact's page that says "never".

Here too: mail on pages of ours is shown without our own pixels, its links leading where they led.
"""

from __future__ import annotations

from flask import Blueprint, Flask, abort, render_template, request

from tracker import mailboxes
from tracker.contacts import Contact
from tracker.people import Role, Viewer
from tracker.web import contact as contact_page
from tracker.web import frame, words
from tracker.web.contact import ContactPanel
from tracker.web.directory_forms import is_fragment, members_only
from tracker.web.forms import Refused, done, or_show, text
from tracker.web.frame import NavItem, Page, db, now, user, viewer
from webhooks import tracking, tracking_settings
from webhooks.tracking_settings import OPT_OUT_WORDS, Source, TrackingError
from webhooks.web.base import web

bp = Blueprint("tracking", __name__, template_folder="templates")
HERE = "tracking.show"
PLACE = "never"  #: of the form on a contact's page
LISTS = 120_000  # characters of a list

#: Events, in words; whose address it was is not in them.
TOLD = {
    "tracking.never": "noted that {of} is never to be tracked",
    "tracking.again": "noted that {of} may be tracked again",
    "tracking.changed": "changed what is tracked by default",
    "tracking.links": "changed which links always stay as they are",
}


def page(**_: str) -> str:
    """The whole page."""
    own = mailboxes.of_user(db(), user().id)
    team, mine = (tracking_settings.never_of(db(), viewer().team_id, one) for one in (None, user().id))
    return render_template(
        "webhooks/tracking.html", own=own, settings=tracking_settings.of_mailboxes(db(), own),
        links=tracking_settings.links_of(db(), user().id), mine=[one.value for one in mine],
        team=[one.value for one in team if one.source == Source.PERSON],
        asked=sum(one.source == Source.SELF for one in team), standard=OPT_OUT_WORDS,
        may_set=viewer().role != Role.GUEST, reachable=tracking.is_reachable(web().public_url),
        public_url=web().public_url, limit=tracking_settings.OPT_OUT_LIMIT,
    )  # fmt: skip


@bp.get("/tracking")
def show() -> Page:
    """The page."""
    return page()


@bp.post("/tracking/mailboxes/<key>")
@or_show(page)
def change(key: str) -> Page:
    """A mailbox's defaults."""
    mailbox = mailboxes.by_key(db(), key[:100].replace("\x00", ""))
    if mailbox is None or mailbox.user_id != viewer().user_id:
        abort(404)
    form = request.form
    tracking_settings.change_mailbox(
        db(), viewer(), mailbox, opens="opens" in form, clicks="clicks" in form, bare_links="bare_links" in form,
        opt_out="opt_out" in form, opt_out_words=text("opt_out_words", 1_000),
    )  # fmt: skip
    return done("Saved; it counts for mail that is written from now on", HERE)


@bp.post("/tracking/mine")
@or_show(page)
def change_mine() -> Page:
    """One's own links and one's own list."""
    try:
        tracking_settings.set_links(db(), viewer(), text("links", LISTS))
    except TrackingError as error:
        raise Refused({"links": str(error)}) from None
    try:
        shown = text("shown", LISTS).split()
        tracking_settings.set_never(db(), viewer(), text("never", LISTS), now(), shown=shown, user_id=user().id)
    except (TrackingError, PermissionError) as error:
        raise Refused({"mine": str(error)}) from None
    return done("Saved", HERE, "mine")


@bp.post("/tracking/team")
@or_show(page)
def change_team() -> Page:
    """The team's list."""
    members_only()
    try:
        shown = text("shown", LISTS).split()
        tracking_settings.set_never(db(), viewer(), text("never", LISTS), now(), shown=shown)
    except TrackingError as error:
        raise Refused({"team": str(error)}) from None
    return done("Saved", HERE, "team")


# -- a contact's page


def panel(asking: Viewer, contact: Contact) -> str | None:
    """The panel of a contact's page."""
    addresses = [one.normalized for one in contact.addresses]
    if not addresses:
        return None
    reason = tracking.may_track(db(), contact.team_id, addresses, asking.user_id)
    rows = tracking_settings.marks(db(), contact.team_id, addresses)
    return render_template(
        "webhooks/_contact_tracking.html", contact=contact, reason=reason, marked=bool(rows),
        asked=any(one.source == Source.SELF for one in rows), may_set=asking.role != Role.GUEST,
    )  # fmt: skip


def _panel_or_page(key: str) -> str:
    return panel(viewer(), contact_page.found(key)) or "" if is_fragment() else contact_page.page(key)


@bp.post("/contacts/<key>/never-track")
@or_show(_panel_or_page)
def never(key: str) -> Page:
    """Never track mail to them, by any of their addresses; or (`again`) track it again."""
    members_only()
    contact = contact_page.found(key)
    addresses = [one.normalized for one in contact.addresses]
    if "again" in request.form:
        tracking_settings.track_again(db(), contact.team_id, addresses, viewer=viewer())
        said = f"Mail to {contact.name} may be tracked again"
    else:
        tracking.never_track_any(db(), contact.team_id, addresses, now(), viewer=viewer())
        said = f"Mail to {contact.name} is never tracked from now on"
    return _panel_or_page(key) if is_fragment() else done(said, contact_page.HERE, "contact-tracking", key=key)


def init_app(app: Flask) -> None:
    """Add the pages to an application that has the frame."""
    app.register_blueprint(bp)
    frame.register_nav(app, NavItem("Tracking", HERE, "eye", order=63))
    contact_page.register_contact_panel(app, ContactPanel("Reads and clicks", panel, order=60))
    frame.of(app).mail_addresses = lambda markup: tracking.shown(db(), markup, web().public_url)
    for kind, told in TOLD.items():
        words.register(kind, told)
