"""The bell: how much is new, the list of it, and what open pages ring for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    g,
    jsonify,
    redirect,
    render_template,
    request,
    url_for,
)

from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.messages import Message
from tracker.web import frame
from tracker.web.forms import done, wants_json
from tracker.web.frame import Corner, Page, db, now, user
from webhooks.bells import notices, subscriptions, wishes, words
from webhooks.bells.kinds import Kind
from webhooks.bells.notices import Notification
from webhooks.bells.words import Said
from webhooks.web.base import asset, assets

bp = Blueprint("bell", __name__, template_folder="templates")
ON_A_PAGE = 50
NOTHING = "-"  #: how a browser says that it knows of no notification; see static/bell.js
MOST_SINGLE = 3  # that an open page rings for one by one; more ring as one


def _news() -> tuple[int, str]:
    """How many are new, and where what rings has come to: a page that knows another place has to look."""
    if "bell" not in g:  # asked once a request
        g.bell = notices.unseen(db(), user())
    number, last = g.bell
    return number, str(last or "")


def corner(place: str) -> str:
    """The bell on every page; that of the side bar is kept up to date by static/live.js."""
    unseen, newest = _news()
    return render_template("webhooks/_bell.html", place=place, unseen=unseen, newest=newest)


@bp.get("/sw.js")
@frame.public
def service_worker() -> Page:
    """The service worker, at the root: it stands for all our pages. Looked at by browsers again and again."""
    content = Path(assets.static_folder or "", "sw.js").read_text()
    headers = {"Service-Worker-Allowed": "/", "Cache-Control": "no-cache"}
    return Response(content, mimetype="text/javascript", headers=headers)


@bp.get("/bell")
def index() -> Page:
    """What is new, and what was."""
    return render_template("webhooks/bell.html", **_listed(request.args.get("before", "")))


@bp.get("/bell/list")
def listed() -> Page:
    """The list alone, as it is now or from further down."""
    before = request.args.get("before", "")
    template = "webhooks/_bell_rows.html" if before else "webhooks/_bell_list.html"
    return render_template(template, **_listed(before))


def _listed(before: str) -> dict[str, Any]:
    last = notices.by_key(db(), user(), before[:100].replace("\x00", "")) if before else None
    found = notices.page(db(), user(), before=(last.at, last.id) if last else None, limit=ON_A_PAGE + 1)
    shown = found[:ON_A_PAGE]
    more = shown[-1].key if len(found) > ON_A_PAGE else ""
    return {"said": _said(shown), "more": more, "first": last is None, "unseen": _news()[0]}


def _said(found: Sequence[Notification]) -> list[Said]:
    return words.say(db(), found, {user().id: user()})


@bp.get("/bell/mark")
def mark() -> Page:
    """The bell itself, as it is now."""
    return corner("side")


@bp.get("/bell/news")
def news() -> Page:
    """As JSON: what an open page is to ring for, behind the place `after` (a `data-newest`); and where it is then.

    In quiet hours it stays where it is, looks again after `wait` seconds, and what came rings together. `mine` is
    whether the browser's own subscription, named by its hash, is this person's and known: then that one rings.
    """
    place = request.args.get("after", "")[:20]
    after = 0 if place == NOTHING else int(place) if place.isascii() and place.isdigit() else None
    mine = _is_mine(request.args.get("browser", "")[:64])
    until = _quiet_until(now())
    told: dict[str, Any] = {"newest": _news()[1], "ring": [], "mine": mine}
    if until is not None and after is not None and not mine:
        told |= {"newest": place, "wait": int((until - now()).total_seconds()) + 1}
    elif after is not None and not mine:
        told["ring"] = _rings(min(after, 2**63 - 1))
    response = jsonify(told)
    response.headers["Cache-Control"] = "no-store"
    return response


def _is_mine(browser: str) -> bool:
    """Whether this is the SHA-256 of the endpoint of one of the person's browsers."""
    if not browser:
        return False
    known = (hashlib.sha256(one.endpoint.encode()).hexdigest() for one in subscriptions.of_user(db(), user()))
    return browser in known


def _quiet_until(at: datetime) -> datetime | None:
    return wishes.quiet_until(wishes.of_user(db(), user()), wishes.zone_of(user()), at)


def _rings(after: int) -> list[dict[str, Any]]:
    """What is news still, counted from when it might ring; what came in quiet hours goes together."""
    wished, zone = wishes.of_user(db(), user()), wishes.zone_of(user())
    found = []
    for one in notices.last_ringing(db(), user(), after, now() - 3 * notices.RINGS_WITHIN):
        until = wishes.quiet_until(wished, zone, one.at)
        if (until or one.at) > now() - notices.RINGS_WITHIN:
            found.append((one, until))
    said = _said([one for one, _ in found])
    if len(said) > MOST_SINGLE or (len(said) > 1 and any(until for _, until in found)):
        return [words.summary(said)]
    return [one.ring() for one in said]


@bp.get("/bell/<key>")
def open_(key: str) -> Page:
    """Lead to what a notification is about; it is seen with that."""
    found = _own(key)
    notices.open_(db(), user(), found, now())
    return redirect(_target(found))


def _target(found: Notification) -> str:
    message = db().get(Message, found.message_id) if found.kind == Kind.ANSWER_ASKED else None
    if message is not None:
        return url_for("message.go", key=message.key)
    box = db().get(Box, found.box_id) if found.box_id else None
    if found.kind == Kind.ACCESS_ASKED or (found.kind == Kind.ACCESS_ANSWERED and found.message_id is None):
        return url_for("sharing_requests.show")
    if found.kind == Kind.TROUBLE and "outbox.show" in current_app.view_functions:
        return url_for("outbox.show", key=found.thing.partition(":")[2])
    if box is not None and box.deleted_at is None:
        return url_for("box.show", key=box.key)
    conversation = db().get(Conversation, found.conversation_id) if found.conversation_id else None
    if conversation is not None:
        return url_for("conversation.show", key=conversation.key)
    others = {Kind.MAILBOX: "gmail_sync.show", Kind.TASK: "followups.show"}
    endpoint = others.get(Kind(found.kind), "")
    return url_for(endpoint if endpoint in current_app.view_functions else "bell.index")


@bp.post("/bell/<key>/seen")
def see(key: str) -> Page:
    """It need not be opened."""
    notices.see(db(), user(), _own(key), now())
    return _after("")


@bp.post("/bell/seen")
def see_all() -> Page:
    """All that the page showed, and what is older."""
    upto = notices.by_key(db(), user(), request.form.get("upto", "")[:100].replace("\x00", ""))
    if upto is not None:
        notices.see_all(db(), user(), upto, now())
    return _after("All seen")


def _after(told: str) -> Page:
    if request.headers.get("HX-Request"):
        return render_template("webhooks/_bell_list.html", **_listed(""))
    return jsonify(seen=True) if wants_json() else done(told, "bell.index")


def _own(key: str) -> Notification:
    return notices.by_key(db(), user(), key[:100].replace("\x00", "")) or abort(404)


def init_app(app: Flask) -> None:
    """Add the bell to an application that has the frame."""
    app.register_blueprint(bp)
    made = Corner(corner, scripts=lambda: [asset("bell.js")], sheets=lambda: [asset("bell.css")])
    frame.register_corner(app, made)
