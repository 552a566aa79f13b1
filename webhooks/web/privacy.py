"""The page behind `<url>/privacy/<token>`, where whoever got a mail says that they are not to be tracked.

Public, and without a form token: whoever holds the mail's own token may say so, from any page and without cookies
(RFC 8058, One-Click). What it does can't be turned against anybody: it makes us know less. To take it back wants
more than the token, which the sender has too, and whomever the mail was forwarded to: a ticket, which stands in
the answer to the asking that was noted. Nothing is told to who guesses: an unknown token is answered as most are,
every answer holds a ticket, and what was noted is never said.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Blueprint, Flask, Response, current_app, make_response, render_template, request

from tracker.secrets import SecretsError
from tracker.web.forms import text
from tracker.web.frame import Page, db, lock_to, now, public
from webhooks import privacy
from webhooks.hit_limits import Recent
from webhooks.privacy import Asked
from webhooks.tracks import TrackedEmail
from webhooks.web.base import web

bp = Blueprint("privacy", __name__, template_folder="templates")
DAYS = "tracker_hits_days"
TAKEN = "tracker_privacy_taken"
TAKINGS = 5  # of a mail, in a process, within an hour: each is two lines in the log
REMEMBERED = 10_000  # mails
PURPOSE = "privacy"
TICKET_LIMIT = 500  # characters


def _page(mail: TrackedEmail | None, done: str = "", typed: str = "", ticket: str = "") -> Response:
    picture, links = (mail.opens, mail.clicks) if mail is not None else (True, True)
    if not picture and not links:  # as it was before they said so
        picture = links = True
    several = mail is not None and len(mail.recipients) > 1
    html = render_template(
        "webhooks/opt_out.html",
        picture=picture, links=links, several=several, done=done, address=typed[:200], ticket=ticket,
        days=current_app.extensions[DAYS],
    )  # fmt: skip
    answer = make_response(html)
    answer.headers["X-Robots-Tag"] = "noindex, nofollow"
    return answer


@bp.get("/privacy/<token>")
@public
def show(token: str) -> Page:
    """What the mail tells its sender, and how to end that."""
    return _page(privacy.mail_of(db(), token))


@bp.post("/privacy/<token>")
@public
def ask(token: str) -> Page:
    """Note it; the answer is the same whether or not there was anything to note."""
    mail, typed = privacy.mail_of(db(), token), text("address", 500)
    if mail is not None:
        lock_to(mail.team_id)
    if "again" in request.form:
        asked = _opened(request.form["again"])
        if mail is not None and asked.id and _may_take_back(mail):
            privacy.opt_in(db(), mail, asked, now())
        return _page(mail, "in", typed)
    return _page(mail, "out", typed, _ticket(privacy.opt_out(db(), mail, typed, now())))


def _ticket(asked: Asked) -> str:
    """Sealed, and of one length: nobody sees whether anything was noted."""
    when = (asked.at or now()).astimezone(UTC).isoformat(timespec="microseconds")
    content = {"for": PURPOSE, "id": f"{asked.id:020}", "at": when}
    return web().cipher.seal(content).decode()


def _opened(ticket: str) -> Asked:
    try:
        content = web().cipher.open(ticket[:TICKET_LIMIT].encode())
    except SecretsError:
        return Asked()
    if content.get("for") != PURPOSE:
        return Asked()
    return Asked(int(content["id"]), datetime.fromisoformat(content["at"]))


def _may_take_back(mail: TrackedEmail) -> bool:
    """Not again and again: asking and taking back by turns would fill the log."""
    kept: Recent[int, list[datetime]] = current_app.extensions[TAKEN]
    lately = [at for at in kept.get(mail.id) or [] if at > now() - timedelta(hours=1)]
    kept.put(mail.id, [*lately, now()][:TAKINGS])
    return len(lately) < TAKINGS


def init_app(app: Flask, hits_days: int) -> Blueprint:
    """Add the page to an application; returns its blueprint (which wants no CSRF token)."""
    app.extensions[DAYS], app.extensions[TAKEN] = hits_days, Recent[int, list[datetime]](REMEMBERED)
    app.register_blueprint(bp)
    return bp
