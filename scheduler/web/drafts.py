"""Drafts that lie in Gmail already: listed, picked, given a time to go. Gmail is asked between transactions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from flask import Blueprint, abort, redirect, render_template, request, url_for
from sqlalchemy import select

from gmail_sync import drafts
from gmail_sync.client import Gmail
from gmail_sync.errors import GmailError, NeedsAttention, NotFound
from scheduler import outbox, preparing, timing
from scheduler.letters import address
from scheduler.outbox import About, Found, ScheduledEmail
from scheduler.sheet import Sheet
from scheduler.states import OPEN
from scheduler.timing import Planned, TimingError
from scheduler.web.base import told, web
from scheduler.web.compose import LATE
from tracker import mailboxes
from tracker.db import among
from tracker.mailboxes import Mailbox
from tracker.web import frame, notices
from tracker.web.forms import Refused, or_show, text
from tracker.web.frame import Page, db, now, user, viewer

bp = Blueprint("gmail_drafts", __name__, template_folder="templates")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listed:
    """A draft in Gmail, and the queued mail that it belongs to, if there is one."""

    found: Found
    queued: str = ""  #: key of the queued mail


@bp.get("/outbox/drafts")
def index() -> Page:
    """The drafts of one of one's mailboxes: `?mailbox=`, `?page=` as Gmail names its pages."""
    own = mailboxes.of_user(db(), user().id)
    if not own:
        return render_template("scheduler/no_mailbox.html")
    mailbox = _own(request.args["mailbox"]) if "mailbox" in request.args else own[0]
    token, problem = request.args.get("page", "")[:200], ""
    lines: list[Found] = []
    onwards: str | None = None
    frame.release()
    try:
        lines, onwards = preparing.drafts_in_gmail(web().post, mailbox.id, token)
    except GmailError as error:
        problem = _in_words(error)
    return render_template(
        "scheduler/drafts.html", own=own, mailbox=mailbox, drafts=_lined_up(mailbox, lines), problem=problem,
        onwards=onwards,
    )  # fmt: skip


def _lined_up(mailbox: Mailbox, lines: list[Found]) -> list[Listed]:
    query = select(ScheduledEmail.draft_id, ScheduledEmail.key).where(
        ScheduledEmail.mailbox_id == mailbox.id,
        among(ScheduledEmail.draft_id, [one.draft_id for one in lines]),
        ScheduledEmail.state.in_(OPEN),
    )
    queued: dict[str | None, str] = dict(db().execute(query).all()) if lines else {}
    return [Listed(one, queued.get(one.draft_id, "")) for one in lines]


def _in_words(error: GmailError) -> str:
    if isinstance(error, NeedsAttention):
        return str(error)
    return "Gmail does not answer just now. Load the page again in a moment"


def _own(key: str) -> Mailbox:
    """One of the viewer's own mailboxes; 404 for any other."""
    found = mailboxes.by_key(db(), key[:100].replace("\x00", ""))
    return found if found is not None and found.user_id == viewer().user_id else abort(404)


def _ask(mailbox: Mailbox, ask: Callable[[Gmail], T]) -> T:
    """Ask Gmail, with nothing held open. Raises `GmailError`."""
    frame.release()
    post = web().post
    there = post.connected(mailbox.id)
    if there is None:
        raise NeedsAttention("This mailbox is not connected; connect it again")
    gmail = post.door(there)
    try:
        return ask(gmail)
    finally:
        gmail.close()


def _draft(mailbox: Mailbox, draft_id: str) -> Found:
    """A draft as Gmail has it now. Raises `Refused`."""

    def ask(gmail: Gmail) -> Found:
        draft = drafts.standing(gmail, draft_id)
        if draft is None:
            raise NotFound("gone")
        return preparing.found(draft, drafts.headers(gmail, [draft.message_id])[draft.message_id])

    try:
        return _ask(mailbox, ask)
    except (NotFound, KeyError):
        raise Refused({"": "This draft is gone from Gmail; choose another"}, 404) from None
    except GmailError as error:
        raise Refused({"": _in_words(error)}, 503) from None


@bp.get("/outbox/drafts/<mailbox>/<draft>")
def show(mailbox: str, draft: str) -> Page:
    """One draft, and when it should go."""
    try:
        return _page(mailbox, draft)
    except Refused as error:
        return render_template("scheduler/draft_gone.html", words=str(error)), error.status


def _page(mailbox: str, draft: str) -> str:
    own = _own(mailbox)
    found = _draft(own, draft[:100])
    sheet = _sheet(own)
    problem, planned = "", None
    try:
        planned = _planned(sheet, found)
    except (TimingError, Refused) as error:
        problem = str(error)
    return render_template(
        "scheduler/draft.html", mailbox=own, found=found, sheet=sheet, late=LATE, planned=planned, problem=problem,
        soon=web().soon, places=_places(found),
    )  # fmt: skip


def _again(mailbox: str, draft: str) -> str:
    """The page once more after a refusal, which may be that there is no such draft any more."""
    try:
        return _page(mailbox, draft)
    except Refused as error:
        return render_template("scheduler/draft_gone.html", words=str(error))


def _sheet(mailbox: Mailbox) -> Sheet:
    sheet = Sheet([mailbox], mailbox)
    if request.method == "POST":
        sheet.asked, sheet.at, sheet.on = text("when", 20), text("at", 20) or "09:00", text("on", 20)
        sheet.days, sheet.late, sheet.working_days = (
            text("days", 10),
            text("late", 20),
            "working_days" in request.form,
        )
    return sheet


def _places(found: Found) -> list[timing.Place]:
    people = [address("", one) for one in found.recipients]
    return timing.places(db(), user(), people, now()) or [timing.at_home(user())]


def _planned(sheet: Sheet, found: Found) -> Planned:
    return timing.plan(sheet.timing(), _places(found), timing.own_zone(user()), now())


@bp.post("/outbox/drafts/<mailbox>/<draft>")
@or_show(_again)
@told()
def queue(mailbox: str, draft: str) -> Page:
    """Give it a time."""
    own = _own(mailbox)
    found = _draft(own, draft[:100])
    planned = _planned(_sheet(own), found)
    email = outbox.queue_draft(db(), viewer(), own, found, planned.when, About(), now=now())
    notices.undoable(f"Queued. It goes {planned.words}", "outbox.take_back", {"emails": email.key})
    return redirect(url_for("outbox.index"), 303)
