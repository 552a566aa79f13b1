"""Pages of the slice: signing in with Google, connecting a mailbox, and how the mailboxes are."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from flask import Blueprint, Flask, abort, current_app, redirect, render_template, request, session, url_for
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gmail_sync import backfill, oauth, sync
from gmail_sync.backfill import Progress
from gmail_sync.budget import Units
from gmail_sync.oauth import Identity, SignInError
from gmail_sync.session import Services
from tracker import mailboxes, people
from tracker.addresses import normalize
from tracker.jobs import Jobs
from tracker.mailboxes import Backfill, Health, Mailbox, State
from tracker.people import Role, User
from tracker.web import frame
from tracker.web.forms import done
from tracker.web.frame import NavItem, Page, db, now, public, user, viewer

bp = Blueprint("gmail_sync", __name__, template_folder="templates")
EXTENSION = "gmail_sync"
FLOW = "flow"  #: a sign-in or connection on its way, in the person's signed cookie
NEXT = "next"

#: Makes a team with its first admin out of an address and a name.
Found = Callable[[Session, str, str], User]


@dataclass(frozen=True, slots=True)
class Web:
    """What these pages are handed."""

    services: Services
    jobs: Jobs
    public_url: str
    found: Found
    admins: frozenset[str]  #: normal forms of the addresses that may found the team; empty: whoever is first


@dataclass(frozen=True, slots=True)
class Line:
    """A mailbox as the page tells of it."""

    mailbox: Mailbox
    owner: str
    health: Health
    progress: Progress | None
    units: int
    mine: bool


def _web() -> Web:
    found = current_app.extensions[EXTENSION]
    assert isinstance(found, Web)
    return found


# -- signing in


@bp.get("/sign-in")
@public
def sign_in() -> Page:
    """One button."""
    if frame.user_or_none() is not None:
        return redirect("/")
    return _sign_in_page()


def _sign_in_page(problem: str = "", status: int = 200) -> tuple[str, int]:
    return render_template("gmail_sync/sign_in.html", problem=problem, next=request.args.get(NEXT, "")), status


@bp.post("/sign-in")
@public
def begin_sign_in() -> Page:
    """Off to Google's consent page."""
    return _begin("sign-in", frame.local_path(request.form.get(NEXT)))


def _begin(kind: str, onwards: str, login_hint: str = "") -> Page:
    gmail = kind == "connect"
    begun = oauth.begin(
        _web().services.google,
        _redirect_uri(kind),
        gmail=gmail,
        nonce=secrets.token_urlsafe(24),
        login_hint=login_hint,
    )
    kept = {name: value for name, value in asdict(begun).items() if name != "address"}
    session[FLOW] = {**kept, "kind": kind, NEXT: onwards}
    return redirect(begun.address, 303)


def _redirect_uri(kind: str) -> str:
    endpoint = "gmail_sync.connected" if kind == "connect" else "gmail_sync.signed_in"
    return _web().public_url + url_for(endpoint)


def _kept(kind: str) -> Mapping[str, str]:
    """What was kept of the flow of this kind, once; nothing if it was not begun here."""
    kept = session.pop(FLOW, None)
    return kept if isinstance(kept, dict) and kept.get("kind") == kind else {}


@bp.get("/sign-in/callback")
@public
def signed_in() -> Page:
    """Back from Google."""
    kept = _kept("sign-in")
    try:
        identity, _ = oauth.finish(
            _web().services.google, _redirect_uri("sign-in"), kept, request.args, gmail=False
        )
    except SignInError as error:
        return _sign_in_page(str(error), 400)
    known = _known(identity)
    if known is None:
        admins = [one.address for one in _admins()]
        return render_template("gmail_sync/unknown.html", address=identity.address, admins=admins), 403
    frame.sign_in(known)
    return redirect(frame.local_path(kept.get(NEXT)))


def _known(identity: Identity) -> User | None:
    """The user that Google vouches for; the first one founds the team."""
    found = people.by_address(db(), identity.address) or _newcomer(identity)
    if found is None or found.google_subject not in (None, identity.subject):
        return None
    found.google_subject, found.signed_in_at = identity.subject, now()
    return found


def _newcomer(identity: Identity) -> User | None:
    team, may_found = people.first_team(db()), normalize(identity.address) in _web().admins
    if team is None:
        nobody_named = not _web().admins
        return _web().found(db(), identity.address, identity.name) if may_found or nobody_named else None
    if not may_found:
        return None
    return people.add_user(db(), team.id, identity.address, name=identity.name, role=Role.ADMIN)


def _admins() -> Sequence[User]:
    team = people.first_team(db())
    return [one for one in people.of_team(db(), team.id) if one.role == Role.ADMIN] if team else []


@bp.post("/sign-out")
@public
def sign_out() -> Page:
    """Forget who this is."""
    session.clear()
    return redirect(url_for("gmail_sync.sign_in"), 303)


# -- connecting


@bp.post("/mailboxes/connect")
def connect() -> Page:
    """Off to Google's consent page, to let us read, label, draft and send."""
    if viewer().role == Role.GUEST:
        abort(403)
    return _begin("connect", "", request.form.get("address") or user().address)


@bp.get("/mailboxes/callback")
def connected() -> Page:
    """Back from Google: keep the credentials, and begin to read."""
    web, kept, who = _web(), _kept("connect"), user()
    frame.release()
    try:
        identity, credentials = oauth.finish(
            web.services.google, _redirect_uri("connect"), kept, request.args, gmail=True
        )
    except SignInError as error:
        return _page(str(error)), 400
    sealed = web.services.vault.seal(credentials)
    try:
        mailbox = mailboxes.connect(db(), who, identity.address, sealed, now())
    except PermissionError:
        problem = (
            f"{identity.address} is connected by somebody else of the team; it needs to be connected only once"
        )
        return _page(problem), 409
    _wake(mailbox)
    return done(f"{mailbox.address} is connected; your mail is being read, the newest first", "gmail_sync.show")


def _wake(mailbox: Mailbox) -> None:
    frame.after_commit(lambda: sync.wake(_web().jobs, mailbox.id))


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
    who, services = viewer(), _web().services
    admin = who.role == Role.ADMIN
    found = mailboxes.of_team(db(), who.team_id) if admin else mailboxes.of_user(db(), user().id)
    names = {one.id: one.name for one in people.of_team(db(), who.team_id)}
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
    return backfill.progress(db(), mailbox, _web().services.units_per_minute)


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
    frame.after_commit(lambda: _web().jobs.defer(sync.CHECK_JOB, lock=lock, mailbox_id=mailbox.id))
    return done(f"{mailbox.address}: comparing with Gmail; the result will be shown here", "gmail_sync.show")


@bp.post("/mailboxes/<key>/disconnect")
def disconnect(key: str) -> Page:
    """Stop reading; what was read stays."""
    mailbox = _allowed(key)
    if mailboxes.move(db(), mailbox.id, State.DISCONNECTED, reason=None, now=now()):
        db().refresh(mailbox)
        mailbox.credentials = None
    return done(f"{mailbox.address} is disconnected; what was read stays", "gmail_sync.show")


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
    app.extensions[EXTENSION] = Web(services, jobs, public_url, found, frozenset(map(normalize, admins)))
    app.register_blueprint(bp)
    put_up = frame.of(app)
    put_up.sign_in_endpoint, put_up.sign_out_endpoint = "gmail_sync.sign_in", "gmail_sync.sign_out"
    put_up.connect_endpoint = "gmail_sync.connect"
    parts = urlsplit(services.google.auth_url)
    # A form that leads to a redirect is held to `form-action` at every step.
    put_up.form_targets.append(f"{parts.scheme}://{parts.netloc}")
    frame.register_nav(app, NavItem("Mailboxes", "gmail_sync.show", "mailbox", order=90))
