"""Pages: signing in with Google, and out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flask import Blueprint, current_app, make_response, redirect, render_template, request, session, url_for

from gmail_sync import flows, joining, oauth
from gmail_sync.flows import NEXT
from gmail_sync.joining import AnotherAccount, House, Several
from gmail_sync.oauth import Google, Identity, NotBegun, SignInError
from tracker.attempts import Attempts
from tracker.people import Team, User
from tracker.web import frame
from tracker.web.frame import Page, db, now, public

bp = Blueprint("sign_in", __name__, template_folder="templates")
EXTENSION = "gmail_sync.sign_in"
JOINING = "joining"  #: who chooses between teams, in their signed cookie
CHOOSE_WITHIN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Door:
    """What these pages are handed, and how often an address may try."""

    google: Google
    public_url: str
    house: House
    begun: Attempts = field(default_factory=lambda: Attempts(100, 600))
    failed: Attempts = field(default_factory=lambda: Attempts(20, 600))


def _door() -> Door:
    found = current_app.extensions[EXTENSION]
    assert isinstance(found, Door)
    return found


def _here() -> str:
    return frame.frame().client_address()


@bp.before_request
def _limit() -> Page | None:
    """Whoever fails too often waits."""
    tries = request.endpoint in ("sign_in.begin", "sign_in.back", "sign_in.join")
    wait = max(_door().begun.wait(_here()), _door().failed.wait(_here())) if tries else 0
    if not wait:
        return None
    minutes = -(-wait // 60)
    words = f"Too many tries came from where you are. Try again in {minutes} minute{'s' if minutes > 1 else ''}."
    page = make_response(_page(words, 429))
    page.headers["Retry-After"] = str(wait)
    return page


@bp.get("/sign-in")
@public
def show() -> Page:
    """One button."""
    if frame.user_or_none() is not None:
        return redirect("/")
    return _page()


def _page(problem: str = "", status: int = 200) -> tuple[str, int]:
    return render_template("gmail_sync/sign_in.html", problem=problem, next=request.args.get(NEXT, "")), status


@bp.post("/sign-in")
@public
def begin() -> Page:
    """Off to Google's consent page."""
    _door().begun.note(_here())
    return flows.begin(_door().google, "sign-in", _back(), frame.local_path(request.form.get(NEXT)), now())


def _back() -> str:
    return _door().public_url + url_for("sign_in.back")


@bp.get("/sign-in/callback")
@public
def back() -> Page:
    """Back from Google."""
    kept = flows.kept("sign-in", now())
    try:
        identity, _ = oauth.finish(_door().google, _back(), kept, request.args, gmail=False)
    except NotBegun as error:  # an image in any page could ask so, and lock an office out if it counted
        return _page(str(error), 400)
    except SignInError as error:
        _door().failed.note(_here())
        return _page(str(error), 400)
    onwards = frame.local_path(kept.get(NEXT))
    try:
        return _enter(joining.admit(db(), _door().house, identity, now()), identity, onwards)
    except AnotherAccount:
        return _another_account(identity)
    except Several as several:
        return _ask_which(several, identity, onwards)


def _enter(known: User | None, identity: Identity, onwards: str) -> Page:
    if known is None:
        _door().failed.note(_here())
        return render_template("gmail_sync/unknown.html", address=identity.address), 403
    try:
        frame.sign_in(known)
    except PermissionError:  # removed at this very moment
        db().rollback()
        return refused("You were just removed from the team")
    return redirect(onwards)


def _another_account(identity: Identity) -> Page:
    _door().failed.note(_here())
    db().rollback()
    return render_template("gmail_sync/another_account.html", address=identity.address), 403


def refused(words: str) -> Page:
    """The page to sign in on, with the reason why nobody is."""
    return _page(words, 403)


# -- invited by several teams


def _ask_which(several: Several, identity: Identity, onwards: str) -> Page:
    # The signature vouches for it as Google's did; it serves once and not for long.
    session[JOINING] = {
        "subject": identity.subject, "address": identity.address, "name": identity.name,
        "workspace": identity.workspace, "at": now().isoformat(), NEXT: onwards,
    }  # fmt: skip
    names = {one.key: db().get_one(Team, one.team_id).name for one in several.asking}
    inviters = {
        one.key: db().get(User, one.invited_by_id) if one.invited_by_id else None for one in several.asking
    }
    return render_template("gmail_sync/which_team.html", address=identity.address, names=names, inviters=inviters)


@bp.post("/sign-in/join")
@public
def join() -> Page:
    """This team it is."""
    kept = session.pop(JOINING, None)
    if not isinstance(kept, dict) or datetime.fromisoformat(str(kept.get("at"))) < now() - CHOOSE_WITHIN:
        return _page("That took too long; please sign in again", 400)
    identity = Identity(kept["subject"], kept["address"], kept["name"], kept["workspace"])
    try:
        known = joining.accept(db(), identity, request.form.get("team", "")[:100], now())
    except AnotherAccount:
        return _another_account(identity)
    return _enter(known, identity, frame.local_path(kept.get(NEXT)))


# -- out


@bp.post("/sign-out")
@public
def leave() -> Page:
    """Forget who this is, and end the session: a copy of the cookie opens nothing."""
    frame.sign_out()
    return redirect(url_for("sign_in.show"), 303)
