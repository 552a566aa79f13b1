"""What is kept of a contact's reading, on their page: how much, to hand out, to erase."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, abort, jsonify, render_template, request

from tracker.contacts import Contact
from tracker.people import Role, Viewer
from tracker.web import contact as contact_page
from tracker.web import words
from tracker.web.contact import ContactPanel
from tracker.web.directory_forms import members_only
from tracker.web.forms import Refused, done, or_show
from tracker.web.frame import Page, db, now, viewer
from webhooks import privacy, privacy_export

bp = Blueprint("contact_privacy", __name__, template_folder="templates")
PLACE = "contact-privacy"  #: of the form, on the page


def panel(asking: Viewer, contact: Contact) -> str | None:
    """The panel of a contact's page; none where nothing is kept."""
    kept = privacy.kept(db(), asking, _addresses(contact))
    if not kept.mails:
        return None
    return render_template(
        "webhooks/_contact_privacy.html", contact=contact, kept=kept,
        may_change=asking.role != Role.GUEST,
    )  # fmt: skip


def _addresses(contact: Contact) -> list[str]:
    return [one.normalized for one in contact.addresses]


@bp.get("/contacts/<key>/privacy.json")
def export(key: str) -> Page:
    """What is kept of them, as a file."""
    members_only()
    contact = contact_page.found(key)
    answer: Response = jsonify(privacy_export.export(db(), viewer(), _addresses(contact), now()))
    answer.headers["Content-Disposition"] = f'attachment; filename="reads-of-{contact.key}.json"'
    answer.headers["Cache-Control"] = "no-store"
    return answer


@bp.post("/contacts/<key>/privacy/erase")
@or_show(contact_page.page)
def erase(key: str) -> Page:
    """Erase it, once they are sure."""
    members_only()
    contact = contact_page.found(key)
    if not contact.addresses:
        abort(404)
    if "sure" not in request.form:
        raise Refused({PLACE: "Tick that you are sure: it can’t be taken back"})
    why = "noted when what was kept of them was erased"
    privacy.erase(db(), viewer(), _addresses(contact), now(), never="never" in request.form, why=why)
    return done(f"What was heard of {contact.name} is erased", contact_page.HERE, key=key)


def init_app(app: Flask) -> None:
    """Add the panel to an application that has the frame."""
    app.register_blueprint(bp)
    contact_page.register_contact_panel(app, ContactPanel("What is kept of their reading", panel, order=70))
    words.register(privacy.ERASED, "erased what was heard of somebody’s reading")
