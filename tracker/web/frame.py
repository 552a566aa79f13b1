"""The frame of the web pages: one session per request, who is signed in, and what other rooms add.

A room adds its pages with Flask's idiom: it makes a blueprint, and in its `init_app(app, …)` registers it, its
entries in the navigation and its panels on the box page here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from flask import Flask, Response, current_app, g, redirect, request, session, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from tracker import mailboxes, people, pipelines, row_security, sight
from tracker import sessions as sign_ins
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.db import SIGHT, Sessions, utc_now
from tracker.html_mail import AddressFilter
from tracker.panel import Panel
from tracker.people import User, Viewer
from tracker.pipelines import Pipeline, Template
from tracker.sessions import SignIn

log = logging.getLogger(__name__)
View = TypeVar("View", bound=Callable[..., object])
Page = str | Response | AnyResponse | tuple[str, int]

EXTENSION = "tracker"
USER = "user"  #: a person's key in their cookie, for doors that ask no database; it opens nothing
TOKEN = "token"  # noqa: S105 - the key of what opens: see `tracker.sessions`


@dataclass(frozen=True, slots=True)
class NavItem:
    """An entry of the navigation. `endpoint` takes no arguments; it is current on every page of its blueprint."""

    label: str
    endpoint: str
    icon: str  #: the id of a symbol in static/icons.svg
    order: int = 50
    key: str = ""  #: what goes there from every page, as `g i`; see static/keys.js


@dataclass(frozen=True, slots=True)
class BoxPanel:
    """A panel that another room adds to the box page; `render` gives its HTML, or None to leave it out."""

    title: str
    render: Callable[[Viewer, Box], str | None]
    order: int = 50


@dataclass(frozen=True, slots=True)
class ConversationPanel:
    """A panel that another room adds to a conversation's page, as `BoxPanel` to a box's."""

    title: str
    render: Callable[[Viewer, Conversation], str | None]
    order: int = 50


@dataclass(frozen=True, slots=True)
class Corner:
    """What another room shows on every page, beside the brand and at the foot of a narrow window."""

    render: Callable[[str], str]  #: HTML, for "side" or "foot"
    scripts: Callable[[], Sequence[str]] = tuple  #: addresses
    sheets: Callable[[], Sequence[str]] = tuple


@dataclass(slots=True)
class Frame:
    """What the pages are handed, and what rooms registered."""

    sessions: Sessions
    templates: Sequence[Template]  #: pipelines that can be added
    now: Callable[[], datetime] = utc_now
    silence: timedelta = timedelta(seconds=60)  #: see `mailboxes.health`
    nav: list[NavItem] = field(default_factory=list)
    box_panels: list[BoxPanel] = field(default_factory=list)
    conversation_panels: list[ConversationPanel] = field(default_factory=list)
    corners: list[Corner] = field(default_factory=list)
    person_pages: list[NavItem] = field(default_factory=list)  #: beside "You"
    panel: Panel = field(default_factory=Panel)  #: what is shown beside a mail in Gmail
    form_targets: list[str] = field(default_factory=list)  #: origins that a form may lead to
    #: From a mail's HTML to what its addresses are on our pages; see `html_mail.sanitize`.
    mail_addresses: Callable[[str], AddressFilter] | None = None
    #: Where the present request comes from.
    client_address: Callable[[], str] = lambda: request.remote_addr or ""
    #: Called with the mailboxes of somebody who was removed, once that is committed.
    after_leaving: list[Callable[[Sequence[int]], object]] = field(default_factory=list)
    sign_in_endpoint: str | None = None
    sign_out_endpoint: str | None = None  #: takes a POST
    connect_endpoint: str | None = None  #: takes a POST and connects a mailbox
    compose_endpoint: str | None = None  #: writes a mail: `box=`, or `contact=`, their keys
    reply_endpoint: str | None = None  #: answers one: `reply=`, a message's key, and `all=1`
    file_endpoint: str | None = None  #: opens an attachment: `key=`, its message's, and `number=`, from 1


def of(app: Flask) -> Frame:
    """The frame of an application."""
    found = app.extensions[EXTENSION]
    assert isinstance(found, Frame)
    return found


def frame() -> Frame:
    """The frame of the present request's application."""
    return of(current_app)


def register_nav(app: Flask, item: NavItem) -> None:
    """Add an entry to the navigation."""
    entries = of(app).nav
    entries.append(item)
    entries.sort(key=lambda entry: entry.order)


def register_box_panel(app: Flask, panel: BoxPanel) -> None:
    """Add a panel to the box page."""
    panels = of(app).box_panels
    panels.append(panel)
    panels.sort(key=lambda entry: entry.order)


def register_conversation_panel(app: Flask, panel: ConversationPanel) -> None:
    """Add a panel to the page of a conversation."""
    panels = of(app).conversation_panels
    panels.append(panel)
    panels.sort(key=lambda entry: entry.order)


def register_corner(app: Flask, corner: Corner) -> None:
    """Show something on every page."""
    of(app).corners.append(corner)


def register_person_page(app: Flask, item: NavItem) -> None:
    """Add a page to what a person sets for themselves."""
    of(app).person_pages.append(item)


def public(view: View) -> View:
    """Mark a view that needs no sign-in."""
    view.is_public = True  # type: ignore[attr-defined]
    return view


def db() -> Session:
    """The request's session: opened at first use, committed once when the request succeeds."""
    if "session" not in g:
        g.session = frame().sessions()
    found = g.session
    assert isinstance(found, Session)
    return found


def release() -> None:
    """End the transaction before a call over the network; what was read stays readable."""
    if "session" in g:
        g.session.commit()


def lock_to(team_id: int) -> None:
    """From now on the request sees one team's rows; for pages that a secret opens, once its team is known."""
    row_security.enter(db(), team_id)
    db().info[SIGHT] = None  # whoever may be signed in, it is not their eyes that the secret opens for


def is_public() -> bool:
    """Whether the present page needs no sign-in. Whoever is signed in, it is not shown to them in particular."""
    return getattr(current_app.view_functions.get(request.endpoint or ""), "is_public", False)


def after_commit(action: Callable[[], object]) -> None:
    """Do something once the request's transaction is committed; it must be harmless to lose."""
    g.setdefault("after_commit", []).append(action)


def now() -> datetime:
    """The time by the application's clock."""
    return frame().now()


def user_or_none() -> User | None:
    """Who is signed in, if anybody."""
    if "user" not in g:
        g.user = g.sign_in = None
        if TOKEN in session and (found := sign_ins.signed_in(db(), session[TOKEN], now())):
            g.sign_in, g.user = found
            sign_ins.seen(db(), g.sign_in, frame().client_address(), now())
    known: User | None = g.user
    if known is not None:
        if g.get("looker", (None, None))[0] is not known:
            g.looker = known, people.viewer_of(known, "web")  # once: an error page has no transaction to ask in
        row_security.enter(db(), g.looker[1].team_id)
        g.viewer = sight.look_as(db(), g.looker[1])
    return known


def sign_in_now() -> SignIn:
    """The session that the present request belongs to, on a page that asks for one."""
    found = g.sign_in
    assert isinstance(found, SignIn)
    return found


def user() -> User:
    """Who is signed in, on a page that asks for it."""
    found = user_or_none()
    assert found is not None
    return found


def viewer() -> Viewer:
    """The viewer of this request."""
    user()
    found: Viewer = g.viewer
    return found


def nav_pipelines() -> Sequence[Pipeline]:
    """The team's pipelines, read once a request."""
    if "pipelines" not in g:
        g.pipelines = pipelines.of_team(db(), user().team_id)
    found: Sequence[Pipeline] = g.pipelines
    return found


def has_mailbox() -> bool:
    """Whether the person has connected a mailbox."""
    if "has_mailbox" not in g:
        g.has_mailbox = bool(mailboxes.of_user(db(), user().id))
    return bool(g.has_mailbox)


def sign_in(app_user: User) -> None:
    """Sign a person in, with a new token; whatever the cookie held before is gone, and its session ended."""
    sign_out()
    agent = request.headers.get("User-Agent", "")
    token = sign_ins.begin(db(), app_user, address=frame().client_address(), agent=agent, now=now())
    session.permanent = True
    session[USER], session[TOKEN] = app_user.key, token
    found = sign_ins.signed_in(db(), token, now())
    g.sign_in, g.user = found or (None, None)


def sign_out() -> None:
    """Forget who this is: here, and in the table, so that a copy of the cookie is worth nothing."""
    # Not by `user_or_none`: nobody's eyes are put on here, for whoever signs in next may be of another team.
    if found := sign_ins.signed_in(db(), session.get(TOKEN), now()):
        sign_ins.end(db(), people.viewer_of(found[1], "web"), found[0].key, now())
    session.clear()
    g.user = g.sign_in = None


def local_path(path: str | None) -> str:
    """A path of ours to go on to, or the front page: never another site's address."""
    if not path or not path.startswith("/") or path.startswith(("//", "/\\")):
        return "/"
    # Browsers, and Python's readers of addresses, take out tabs and line ends: "/\t/x.test" would be another site.
    return path if path.isprintable() else "/"


def _ask_to_sign_in() -> AnyResponse | None:
    view = current_app.view_functions.get(request.endpoint or "")
    if view is None or request.endpoint == "static" or is_public():
        return None
    if user_or_none() is not None:
        return None
    endpoint = frame().sign_in_endpoint
    if endpoint is None:
        return Response("Sign-in is not set up", 503)
    if request.headers.get("HX-Request"):  # a fragment of a page whose session ended: the whole page goes there
        return Response("", 401, {"HX-Redirect": url_for(endpoint)})
    wanted = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for(endpoint, next=wanted))


def _settle(response: Response) -> Response:
    """Commit what a successful request did; anything else is rolled back when the session closes."""
    if "session" not in g:
        return response
    if response.status_code >= 400:
        g.session.rollback()
        return response
    g.session.commit()
    for action in g.pop("after_commit", []):
        try:
            action()
        except Exception:
            log.warning("After the commit: %r failed; a tick will see to it", action, exc_info=True)
    return response


def _close(_: BaseException | None) -> None:
    opened = g.pop("session", None)
    if opened is not None:
        opened.close()


def init_app(app: Flask, made: Frame) -> None:
    """Put the frame around an application."""
    app.extensions[EXTENSION] = made
    app.before_request(_ask_to_sign_in)
    app.after_request(_settle)
    app.teardown_request(_close)
