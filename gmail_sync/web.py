"""Pages of the slice: connecting a mailbox, and how the mailboxes are. Signing in is `web_sign_in`'s."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import Blueprint, Flask, abort, current_app, render_template, request, url_for
from sqlalchemy import func, select

from gmail_sync import backfill, farewell, flows, oauth, sync, web_sign_in
from gmail_sync.backfill import Progress
from gmail_sync.budget import Units
from gmail_sync.joining import Found, House
from gmail_sync.oauth import SignInError
from gmail_sync.session import Services
from gmail_sync.web_sign_in import Door
from tracker import mailboxes, people
from tracker.addresses import normalize
from tracker.jobs import Jobs
from tracker.mailboxes import Backfill, Health, Mailbox, State
from tracker.people import PeopleError, Role, User
from tracker.web import frame
from tracker.web.forms import done
from tracker.web.frame import NavItem, Page, db, now, user, viewer

bp = Blueprint("gmail_sync", __name__, template_folder="templates")
EXTENSION = "gmail_sync"


@dataclass(frozen=True, slots=True)
class Web:
    """What these pages are handed."""

    services: Services
    jobs: Jobs
    public_url: str


@dataclass(frozen=True, slots=True)
class Line:
    """A mailbox as the page tells of it."""

    mailbox: Mailbox
    owner: str
    health: Health
    progress: Progress | None
    units: int
    mine: bool


def handed() -> Web:
    """What the pages of mailboxes are handed."""
    found = current_app.extensions[EXTENSION]
    assert isinstance(found, Web)
    return found


# -- connecting


@bp.post("/mailboxes/connect")
def connect() -> Page:
    """Off to Google's consent page, to let us read, label, draft and send."""
    if viewer().role == Role.GUEST:
        abort(403)
    hint = request.form.get("address") or user().address
    return flows.begin(handed().services.google, "connect", _back(), "", now(), login_hint=hint[:320])


def _back() -> str:
    return handed().public_url + url_for("gmail_sync.connected")


@bp.get("/mailboxes/callback")
def connected() -> Page:
    """Back from Google: keep the credentials, and begin to read."""
    web, kept, who = handed(), flows.kept("connect", now()), user()
    frame.release()
    try:
        identity, credentials = oauth.finish(web.services.google, _back(), kept, request.args, gmail=True)
    except SignInError as error:
        return _page(str(error)), 400
    sealed = web.services.vault.seal(credentials)
    try:
        mailbox = mailboxes.connect(db(), who, identity.address, sealed, now())
    except PeopleError as error:  # removed, or made a guest, while they were at Google
        gone = db().scalar(select(User.removed_at).where(User.id == who.id)) is not None
        db().rollback()
        return web_sign_in.refused(str(error)) if gone else (_page(str(error)), 403)
    except PermissionError:
        problem = f"{identity.address} is connected by somebody else already; it needs to be connected only once"
        return _page(problem), 409
    _wake(mailbox)
    return done(f"{mailbox.address} is connected; your mail is being read, the newest first", "gmail_sync.show")


def _wake(mailbox: Mailbox) -> None:
    frame.after_commit(lambda: sync.wake(handed().jobs, mailbox.id))


# -- the page


@bp.get("/mailboxes")
def show() -> Page:
    """The viewer's mailboxes; an admin sees the team's."""
    return _page()


def _page(problem: str = "") -> str:
    return render_template("gmail_sync/mailboxes.html", lines=_lines(), problem=problem)


@bp.get("/mailboxes/<key>/line")
def line(key: str) -> Page:
    """One mailbox, for the page that is open and asks again."""
    _allowed(key)
    found = next((one for one in _lines() if one.mailbox.key == key), None)
    return render_template("gmail_sync/_mailbox.html", line=found or abort(404))


def _lines() -> list[Line]:
    who, services = viewer(), handed().services
    admin = who.role == Role.ADMIN
    found = mailboxes.of_team(db(), who.team_id) if admin else mailboxes.of_user(db(), user().id)
    names = {one.id: one.name for one in people.of_team(db(), who.team_id, removed=True)}
    spent = select(Units.mailbox_id, func.sum(Units.units)).where(Units.team_id == who.team_id)
    units = dict(db().execute(spent.group_by(Units.mailbox_id)).all())
    return [
        Line(
            mailbox,
            names.get(mailbox.user_id, ""),
            mailboxes.health(mailbox, now(), services.silence),
            _progress(mailbox),
            int(units.get(mailbox.id, 0)),
            mailbox.user_id == who.user_id,
        )
        for mailbox in found
    ]


def _progress(mailbox: Mailbox) -> Progress | None:
    """How far the first reading is, while it goes on."""
    if mailbox.backfill == Backfill.DONE or mailbox.state != State.CONNECTED:
        return None
    return backfill.progress(db(), mailbox, handed().services.units_per_minute)


def _allowed(key: str) -> Mailbox:
    """A mailbox of the viewer's own, or to an admin any of the team's; or 404."""
    found, who = mailboxes.by_key(db(), key), viewer()
    if (
        found is None
        or found.team_id != who.team_id
        or not (found.user_id == who.user_id or who.role == Role.ADMIN)
    ):
        abort(404)
    return found


@bp.post("/mailboxes/<key>/sync")
def sync_now(key: str) -> Page:
    """Wish for a sync."""
    mailbox = _allowed(key)
    mailboxes.want(db(), mailbox.id, "a person", now())
    _wake(mailbox)
    return done(f"{mailbox.address}: looking for new mail", "gmail_sync.show")


@bp.post("/mailboxes/<key>/check")
def check_now(key: str) -> Page:
    """Compare with Gmail."""
    mailbox = _allowed(key)
    lock = sync.lock(mailbox.id)
    frame.after_commit(lambda: handed().jobs.defer(sync.CHECK_JOB, lock=lock, mailbox_id=mailbox.id))
    return done(f"{mailbox.address}: comparing with Gmail; the result will be shown here", "gmail_sync.show")


@bp.post("/mailboxes/<key>/disconnect")
def disconnect(key: str) -> Page:
    """Stop reading, and have Google end our access; what was read stays."""
    mailbox = _allowed(key)
    words = f"{mailbox.address} is disconnected; what was read stays"
    if mailboxes.move(db(), mailbox.id, State.DISCONNECTED, reason=None, now=now()):
        db().refresh(mailbox)
        sealed, mailbox.credentials = mailbox.credentials, None
        frame.release()  # it is disconnected, whatever Google says
        if sealed is not None and not farewell.revoke_soon(handed().services, mailbox, sealed):
            words += ". Google did not confirm that our access ended: remove Tracker from the account’s apps there"
    return done(words, "gmail_sync.show")


def init_app(
    app: Flask,
    services: Services,
    jobs: Jobs,
    *,
    public_url: str,
    found: Found,
    admins: Sequence[str] = (),
) -> None:
    """Add the pages to an application that has the frame.

    `public_url` is how Google sends people back to us; `found` makes the first team; `admins` are the addresses
    that may do so (empty: whoever comes first).
    """
    house = House(found, frozenset(map(normalize, admins)))
    app.extensions[EXTENSION] = Web(services, jobs, public_url)
    app.extensions[web_sign_in.EXTENSION] = Door(services.google, public_url, house)
    app.register_blueprint(bp)
    app.register_blueprint(web_sign_in.bp)
    put_up = frame.of(app)
    put_up.sign_in_endpoint, put_up.sign_out_endpoint = "sign_in.show", "sign_in.leave"
    put_up.after_leaving.append(lambda left: [farewell.wake(jobs, one) for one in left])
    put_up.connect_endpoint = "gmail_sync.connect"
    parts = urlsplit(services.google.auth_url)
    # A form that leads to a redirect is held to `form-action` at every step.
    put_up.form_targets.append(f"{parts.scheme}://{parts.netloc}")
    frame.register_nav(app, NavItem("Mailboxes", "gmail_sync.show", "mailbox", order=90))
