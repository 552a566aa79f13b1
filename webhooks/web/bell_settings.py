"""What a person wishes to be told, and the browsers that ring for them."""

from __future__ import annotations

import re
from datetime import time
from typing import Any

from flask import Blueprint, Flask, Response, abort, jsonify, render_template, request

from tracker.web import frame
from tracker.web.forms import Refused, done, or_show, text, wants_json
from tracker.web.frame import NavItem, Page, db, nav_pipelines, now, user
from webhooks.bells import deliveries, notices, subscriptions, wishes
from webhooks.bells.kinds import ABOUT, Channel, Kind
from webhooks.bells.subscriptions import PushSubscription, SubscriptionError
from webhooks.bells.wishes import Digest
from webhooks.web.base import web

bp = Blueprint("bell_settings", __name__, template_folder="templates")
_TIME = re.compile(r"([01]?\d|2[0-3])[:.]([0-5]\d)")
PLACE = "bell"
DIGESTS = [
    (Digest.NONE.value, "No mail"),
    (Digest.DAILY.value, "Once a day, at eight in the morning"),
    (Digest.HOURLY.value, "Each hour in which something happened"),
]


def page() -> str:
    """The page."""
    kept = wishes.of_user(db(), user())
    typed = request.method == "POST" and request.form.get("_place") == PLACE
    on = _typed_channels() if typed else {kind: kept.on(kind) for kind in Kind}
    heard = request.form.getlist("pipeline") if typed else None
    if heard is None:
        heard = [one.key for one in nav_pipelines() if one.key not in kept.quiet_pipelines]
    return render_template(
        "webhooks/bell_settings.html", about=ABOUT, kinds=list(Kind), channels=list(Channel), on=on, wishes=kept,
        heard=heard,
        digests=DIGESTS, browsers=subscriptions.of_user(db(), user()), place=PLACE,
        key=subscriptions.vapid_key(db(), user().team_id, web().cipher).public,
        has_mailbox=frame.has_mailbox(), pipelines=nav_pipelines(),
    )  # fmt: skip


@bp.get("/bell/settings")
def show() -> Page:
    """The page."""
    return page()


@bp.post("/bell/settings")
@or_show(page)
def change() -> Page:
    """Keep what is wished."""
    heard = request.form.getlist("pipeline")
    digest = text("digest", 20)
    if digest not in list(Digest):
        abort(400)
    if digest != Digest.NONE and not frame.has_mailbox():
        raise Refused({"digest": "The digest comes out of your own mailbox; connect one first"})
    wishes.change(
        db(), user(), channels=_typed_channels(), quiet=_quiet(), digest=Digest(digest), now=now(),
        quiet_pipelines=[one.key for one in nav_pipelines() if one.key not in heard],
        newest=notices.newest_id(db(), user()),
    )  # fmt: skip
    return done("Saved", "bell_settings.show")


def _typed_channels() -> dict[Kind, frozenset[Channel]]:
    ticked = set(request.form.getlist("on"))
    return {kind: frozenset(one for one in Channel if f"{kind}.{one}" in ticked) for kind in Kind}


def _quiet() -> tuple[time, time] | None:
    begins, ends = text("quiet_from", 10), text("quiet_until", 10)
    if not begins and not ends:
        return None
    one, other = _TIME.fullmatch(begins), _TIME.fullmatch(ends)
    if one is None or other is None:
        raise Refused({"quiet": "Give both times, such as 18:00 and 8:00; or none"})
    quiet = time(int(one[1]), int(one[2])), time(int(other[1]), int(other[2]))
    if quiet[0] == quiet[1]:
        raise Refused({"quiet": "The quiet hours begin and end at the same time; choose another end"})
    return quiet


# -- browsers


@bp.get("/bell/push-key")
def push_key() -> Page:
    """The key that a browser subscribes to, for a service worker that has to subscribe anew."""
    return _json(key=subscriptions.vapid_key(db(), user().team_id, web().cipher).public)


@bp.post("/bell/browsers")
@or_show(page)
def switch_on() -> Page:
    """A browser was subscribed, and is to ring from now on; asked for by static/bell.js."""
    kept = _subscribed(
        text("endpoint", 2000), text("p256dh", 200), text("auth", 100), text("label", 100) or "A browser"
    )
    return (
        _json(key=kept.key, label=kept.label) if wants_json() else done("It rings here now", "bell_settings.show")
    )


def _subscribed(endpoint: str, p256dh: str, auth: str, label: str) -> PushSubscription:
    private = web().push_private
    try:
        return subscriptions.subscribe(
            db(), user(), endpoint=endpoint, p256dh=p256dh, auth=auth, label=label, private=private, now=now()
        )
    except SubscriptionError as error:
        raise Refused({"browsers": str(error)}) from None


@bp.post("/bell/browsers/changed")
def changed() -> Page:
    """A browser subscribed its service worker anew. That has no form's token: `init_app` says why it may."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin" or not request.is_json:
        abort(403)
    given = request.get_json(silent=True)
    if not isinstance(given, dict):
        abort(400)
    made = {name: str(given.get(name) or "") for name in ("old", "endpoint", "p256dh", "auth")}
    old = subscriptions.by_endpoint(db(), user(), made["old"][:2000].replace("\x00", ""))
    try:
        kept = _subscribed(made["endpoint"], made["p256dh"], made["auth"], old.label if old else "A browser")
    except Refused as refused:
        return _json(status=422, error=str(refused))
    if old is not None and old.id != kept.id:
        subscriptions.remove(db(), user(), old.key)
    return _json(key=kept.key)


@bp.post("/bell/browsers/<key>/remove")
def switch_off(key: str) -> Page:
    """A browser rings no more."""
    if not subscriptions.remove(db(), user(), key[:100].replace("\x00", "")):
        abort(404)
    return _json(removed=True) if wants_json() else done("It rings there no more", "bell_settings.show")


@bp.post("/bell/browsers/test")
@or_show(page)
def try_out() -> Page:
    """Have the person's browsers ring."""
    browsers = subscriptions.of_user(db(), user())
    if not browsers:
        raise Refused({"browsers": "No browser of yours is switched on; press “Ring on this computer” first"})
    for one in browsers:
        deliveries.add_test(db(), one, now())
    notices.ring_pages(db(), user())  # which also wakes the worker
    if wants_json():
        return _json(sent=len(browsers))
    return done("A test is on its way; it rings within a few seconds", "bell_settings.show")


def _json(status: int = 200, **content: Any) -> Response:
    response = jsonify(**content)
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    return response


def init_app(app: Flask) -> None:
    """Add the page to an application that has the frame."""
    app.register_blueprint(bp)
    # A service worker has no page and so no form's token. The cookie is SameSite=Lax, and a JSON body from another
    # site would be asked about first, which we don't answer.
    app.extensions["csrf"].exempt(changed)
    frame.register_person_page(app, NavItem("Notifications", "bell_settings.show", "bell"))
