"""A preview of the panel: Gmail's window, drawn by us, around our real endpoints. For the demo alone.

Each press asks whoever plays Google for the event that Gmail would send, signed as Google signs it, hands that to
the same application through its front, as a request of its own, and draws the card that comes back. Works without
scripts: what the panel shows travels in the page, sealed for whoever looks at it.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextvars import Context
from dataclasses import asdict, dataclass, field, fields
from email.message import EmailMessage
from email.policy import SMTP
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from flask import Blueprint, Flask, abort, current_app, render_template, request, url_for
from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import select
from werkzeug.test import Client, TestResponse

from gmail_sync.addon import preview_host as host
from gmail_sync.addon.preview_host import Answered, Json
from tracker import mailboxes
from tracker.addresses import normalize, parse_addresses
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message
from tracker.sharing import gate
from tracker.web import frame
from tracker.web.forms import text
from tracker.web.frame import Page, db, user, viewer

bp = Blueprint(
    "addon_preview", __name__, template_folder="templates", static_folder="static", static_url_path="/addon/static"
)
EXTENSION = "tracker_addon_preview"
MAILS = 14
LOOKED_AT = 200  # copies, of which the newest of each thread is shown
ADDRESS = re.compile(r"[!-~]+@[!-~]+", re.ASCII)  # what a header takes as it is
STATE_LIMIT = 400_000  # characters
TIMEOUT = 20.0  # seconds


@dataclass(frozen=True, slots=True)
class Web:
    """What the preview is handed."""

    google: str  #: the address of whoever plays Google
    url: str  #: our own public address


@dataclass(slots=True)
class At:
    """Where the window is: what is open, and what the panel shows."""

    place: str = "home"  #: home, thread or compose
    message: str = ""  #: the open mail's key
    to: list[str] = field(default_factory=list)
    subject: str = ""
    inserted: list[str] = field(default_factory=list)  #: HTML that the panel put into the mail
    draft: str = ""  #: the id of the mail that is being written: Gmail keeps it as a draft
    pile: list[Json] = field(default_factory=list)  #: cards, the one in sight last


@dataclass(frozen=True, slots=True)
class Exchange:
    """An event, and what was answered."""

    path: str
    event: Json
    status: int
    answer: Json


def init_app(app: Flask, made: Web) -> None:
    """Add the preview to an application: the demo's."""
    app.extensions[EXTENSION] = made
    app.register_blueprint(bp)
    app.context_processor(_linked)


def _linked() -> dict[str, str]:
    return {"panel_preview": url_for("addon_preview.show")}


def _web() -> Web:
    found = current_app.extensions[EXTENSION]
    assert isinstance(found, Web)
    return found


# -- pages


@bp.get("/addon/preview")
def show() -> Page:
    """The window: with `?message=` a mail open, with `?write=1` one being written, else with neither."""
    if request.args.get("write"):
        return _page(At("compose"), None)
    if key := request.args.get("message", ""):
        opened = _opened(key) or abort(404)
        return _begin(At("thread", opened.message.key))
    return _begin(At())


@bp.post("/addon/preview/write")
def write() -> Page:
    """A mail is being written, and the panel is opened beside it."""
    found = [one.address for one in parse_addresses([text("to", 2_000)])]
    to = [one for one in found if ADDRESS.fullmatch(one)][:20]
    at = At("compose", to=to, subject=" ".join(text("subject", 500).split()))
    if sealed := request.form.get("state"):  # the same mail again
        before = _unsealed(sealed)
        at.draft, at.inserted = before.draft, before.inserted
    _keep(at)
    return _begin(at)


@bp.post("/addon/preview/press")
def press() -> Page:
    """Something in the panel is pressed."""
    at = _unsealed(request.form.get("state", ""))
    wanted = request.form.get("press", "")[:6]
    if wanted == "back":
        at.pile = at.pile[:-1] or at.pile
        return _page(at, None)
    click = host.pressed(at.pile[-1], int(wanted)) if at.pile and wanted.isdecimal() else None
    if click is None:
        abort(400)
    if "card" in click:
        at.pile = host.navigated(at.pile, [{"pushCard": click["card"]}])
        return _page(at, None)
    action = host.action_of(click) or abort(400)
    inputs = host.form_inputs(at.pile[-1], lambda name: request.form.getlist(f"in.{name}"))
    pressed = {"params": host.parameters_of(action), "inputs": inputs}
    return _went(at, _exchange(at, str(action.get("function", "")), pressed))


@bp.errorhandler(requests.RequestException)
def away(_: requests.RequestException) -> Page:
    """Whoever plays Google does not know who asks, or is not there."""
    problem = f"The sandbox that plays Google has no mailbox of {user().address}, or does not answer."
    return _page(At(), None, problem=problem)


def _begin(at: At) -> Page:
    """Ask for what the panel shows at first in a place."""
    paths = {"home": "addon.home", "thread": "addon.open", "compose": "addon.compose"}
    return _went(at, _exchange(at, _web().url + url_for(paths[at.place]), {}))


def _went(at: At, found: Exchange) -> Page:
    if found.status != 200:
        return _page(at, found, problem="Gmail says here: the add-on could not be loaded.")
    made = host.answered(at.pile, found.answer)
    at.pile = made.pile
    if made.inserted:
        at.inserted += made.inserted
        _keep(at)
    return _page(at, found, made)


def _page(at: At, found: Exchange | None, made: Answered | None = None, problem: str = "") -> str:
    template = "addon/_gmail.html" if request.headers.get("HX-Request") else "addon/preview.html"
    mine = _mailbox()
    opened = _opened(at.message) if at.message else None
    return render_template(
        template,
        at=at,
        mailbox=mine,
        mails=_mails(mine) if mine else [],
        opened=opened.message if opened else None,
        card=host.numbered(at.pile[-1]) if at.pile else None,
        state=_sealed(at),
        problem=problem,
        says=made.says if made else "",
        opens=made.opens if made else "",
        asked=urlsplit(found.path).path if found else "",
        status=found.status if found else 0,
        event=_told(host.shortened(found.event)) if found else "",
        answer=_told(found.answer) if found else "",
        sheet=url_for("addon_preview.static", filename="preview.css", v=_mark()),
        words=host.words,
        fresh=host.fresh,
        written=host.written,
        web_address=host.web_address,
        moment_value=host.moment_value,
    )


def _told(part: Json) -> str:
    return json.dumps(part, indent=2, ensure_ascii=False)


@cache
def _mark() -> str:
    return hashlib.sha256(Path(bp.static_folder or "", "preview.css").read_bytes()).hexdigest()[:12]


# -- what there is


def _mailbox() -> Mailbox | None:
    """The mailbox that Gmail is open in: the one of the address that its owner signs in with."""
    mine = mailboxes.of_user(db(), user().id)
    return next((one for one in mine if normalize(one.address) == normalize(user().address)), None)


def _readable(mine: Mailbox | None) -> Any:
    """Mail in the viewer's own mailbox, with its copy there."""
    query = select(Copy, Message).join(Message, Message.id == Copy.message_id)
    return query.where(Copy.mailbox_id == (mine.id if mine else 0), ~Copy.hidden, gate.may_read(viewer()))


def _mails(mine: Mailbox) -> list[Message]:
    """The newest mail of each of the newest threads."""
    found = (
        db().execute(_readable(mine).order_by(Copy.internal_date.desc(), Copy.id.desc()).limit(LOOKED_AT)).all()
    )
    newest: dict[str, Message] = {}
    for copy, message in found:
        newest.setdefault(copy.gmail_thread_id, message)
    return list(newest.values())[:MAILS]


def _opened(key: str) -> Copy | None:
    """The copy of a mail in the viewer's own mailbox, if they may read it."""
    found = db().execute(_readable(_mailbox()).where(Message.key == key[:100].replace("\x00", ""))).first()
    return found[0] if found else None


# -- what the panel shows, kept in the page


def _sealer() -> URLSafeSerializer:
    return URLSafeSerializer(str(current_app.secret_key), salt=f"addon preview of {user().key}")


def _sealed(at: At) -> str:
    sealed = _sealer().dumps(asdict(at))
    return sealed if isinstance(sealed, str) else sealed.decode()


def _unsealed(sealed: str) -> At:
    """What was shown; anything that we did not seal for this person is a bad request."""
    try:
        known = _sealer().loads(sealed[:STATE_LIMIT])
    except BadData:
        abort(400)
    return At(**{one.name: known[one.name] for one in fields(At) if one.name in known})


# -- to the endpoints, and back


def _exchange(at: At, url: str, pressed: Json) -> Exchange:
    """Have the event signed, and send it to our own endpoint as a request from outside."""
    opened = _opened(at.message) if at.message else None
    asked: Json = {"user": user().address, "url": url, "zone": user().time_zone, **pressed}
    if opened is not None:
        asked |= {"message_id": opened.gmail_id, "thread_id": opened.gmail_thread_id}
    if at.place == "compose" and not pressed:  # Gmail tells of the mail when the panel is opened, and not later
        asked |= {"to": at.to, "subject": at.subject}
    event = _google("addon", asked)
    answer = _posted(current_app.wsgi_app, url, event)
    told = answer.get_json(silent=True)
    body = told if isinstance(told, dict) else {"text": answer.text[:2_000]}
    return Exchange(url, event, answer.status_code, body)


def _posted(app: Any, url: str, event: Json) -> TestResponse:
    """The answer to a request of its own; in a context of its own, for Flask would lend it what `g` holds here."""
    client, base = Client(app), _web().url
    return Context().run(client.post, urlsplit(url).path, json=event, base_url=base)


def _keep(at: At) -> None:
    """Gmail keeps what is being written as a draft."""
    mine = _mailbox()
    if mine is None:
        return
    mail = EmailMessage(SMTP)
    mail["From"], mail["To"], mail["Subject"] = mine.address, ", ".join(at.to), at.subject
    mail.set_content("".join(f"<div>{one}</div>" for one in at.inserted) or "<div><br></div>", "html")
    kept = _google("draft", {"user": mine.address, "id": at.draft, "text": mail.as_string()})
    at.draft = str(kept["id"])


def _google(verb: str, asked: Json) -> Json:
    """Ask whoever plays Google; no transaction is open meanwhile, nor while the endpoint has one of its own."""
    frame.release()
    answer = requests.post(f"{_web().google}/sandbox/{verb}", json=asked, timeout=TIMEOUT)
    answer.raise_for_status()
    found: Json = answer.json()
    return found
