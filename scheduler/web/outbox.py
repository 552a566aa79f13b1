"""The queue: what goes when and why then, what needs a decision, what went; and what can be done about each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from scheduler import outbox, telling, time_zones, timing
from scheduler.letters import address
from scheduler.outbox import OutboxConflict, ScheduledEmail, Zone
from scheduler.sheet import unstyled
from scheduler.states import EDITABLE, State
from scheduler.timing import Asked
from scheduler.web import sequences as web_sequences
from scheduler.web import tracked as web_tracked
from scheduler.web.base import own_email, told, wake, words_of
from scheduler.web.rights import OF_MAIL, may_be_told
from tracker import boxes, contacts, people
from tracker.boxes import Box
from tracker.contacts import Contact
from tracker.conversations import Conversation
from tracker.db import among
from tracker.events import Event
from tracker.people import User, Viewer
from tracker.web import cursor, frame, notices, rows, words
from tracker.web.forms import or_show, text
from tracker.web.frame import Page, db, local_path, now, user, viewer
from webhooks.web import reads as web_reads

bp = Blueprint("outbox", __name__, template_folder="templates")
PAGE = 50
FEW = 20  # that need a decision, above the list
WAITING = (State.PREPARING, State.QUEUED, State.SENDING)
TROUBLE = (State.FAILED, State.UNCERTAIN)
LISTS: Mapping[str, tuple[str, Sequence[State]]] = {
    "waiting": ("Waiting", WAITING),
    "held": ("Held", (State.HELD,)),
    "trouble": ("Needs a decision", TROUBLE),
    "sent": ("Sent", (State.SENT,)),
    "cancelled": ("Cancelled", (State.CANCELLED,)),
}
MARKS = {
    State.PREPARING: ("queued", "news"), State.QUEUED: ("queued", "news"), State.SENDING: ("going out", "news"),
    State.SENT: ("sent", "good"), State.HELD: ("held", "warn"), State.FAILED: ("failed", "bad"),
    State.UNCERTAIN: ("uncertain", "bad"), State.CANCELLED: ("cancelled", ""),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """A mail in a list."""

    email: ScheduledEmail
    box: Box | None = None
    reading: Markup | None = None  #: what came of it, once it is sent

    @property
    def state(self) -> State:
        """Where it is."""
        return State(self.email.state)

    @property
    def mine(self) -> bool:
        """Whether the viewer may change it."""
        return self.email.user_id == viewer().user_id

    @property
    def editable(self) -> bool:
        """Whether it may still be changed by them."""
        return self.mine and self.state in EDITABLE

    @property
    def correctable(self) -> bool:
        """Whether it may be corrected and queued again by them."""
        return self.mine and self.state in (State.FAILED, State.CANCELLED) and self.email.origin == "tracker"

    @property
    def at(self) -> datetime:
        """When it goes or went, by the viewer's clock."""
        return (self.email.sent_at or self.email.due_at).astimezone(timing.own_zone(user()))

    @property
    def words(self) -> str:
        """When, there and here."""
        return words_of(self.email)

    @property
    def why(self) -> str:
        """Why it goes then."""
        return why_then(self.email)


def why_then(email: ScheduledEmail) -> str:
    """Why a mail goes when it goes, in short."""
    return telling.why(email, _whose(email))


def _whose(email: ScheduledEmail) -> str:
    if email.user_id == viewer().user_id:
        return "your"
    owner = db().get(User, email.user_id) if email.user_id else None
    return f"{owner.name}’s" if owner else "its sender’s"


def lined_up(emails: Sequence[ScheduledEmail]) -> list[Row]:
    """Mails with their boxes and what came of them, in two queries more."""
    keys = {one.box_id for one in emails if one.box_id is not None}
    query = select(Box).where(among(Box.id, keys)).options(joinedload(Box.stage), joinedload(Box.pipeline))
    found = {box.id: box for box in db().scalars(query)} if keys else {}
    sent = [one.id for one in emails if one.state == State.SENT]
    read = web_reads.in_outbox(db(), viewer(), sent)
    return [Row(one, found.get(one.box_id or 0), read.get(one.id)) for one in emails]


def by_day(found: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Rows under the days of the viewer's calendar."""
    today = now().astimezone(timing.own_zone(user())).date()
    for day, group in groupby(found, key=lambda row: row.at.date()):
        away = (day - today).days
        year = f" {day.year}" if day.year != today.year else ""
        named = {0: "Today", 1: "Tomorrow", -1: "Yesterday"}.get(away, f"{day:%A} {day.day} {day:%B}{year}")
        yield named, list(group)


# -- the list


@bp.get("/outbox")
def index() -> Page:
    """The list; `?show=` one of `LISTS`, `?after=` a page further down."""
    return _list(request.args.get("show", "waiting"))


def _list(show: str) -> str:
    if show not in LISTS:
        abort(404)
    states, after = LISTS[show][1], _place(request.args.get("after"))
    newest_first = show in ("sent", "cancelled")
    found = outbox.listed(db(), viewer(), states, after=after, newest_first=newest_first, limit=PAGE + 1)
    trouble = outbox.listed(db(), viewer(), TROUBLE, limit=FEW + 1) if show == "waiting" and not after else ()
    lines = lined_up([*trouble[:FEW], *found[:PAGE]])
    counts = outbox.counts(db(), viewer())
    tabs = [
        (label, url_for("outbox.index", show=name), name == show, *_number(counts, name, states))
        for name, (label, states) in LISTS.items()
        if name in ("waiting", "sent", "cancelled", show) or any(counts.get(state) for state in states)
    ]
    part, above = "_outbox_more" if after else "_outbox_list", min(len(trouble), FEW)
    return render_template(
        f"scheduler/{part if _by_script() else 'outbox'}.html", tabs=tabs, show=show, trouble=lines[:above],
        days=list(by_day(lines[above:])), more=_cursor(found[PAGE - 1]) if len(found) > PAGE else "",
        more_trouble=len(trouble) > FEW, fragment=bool(after), marks=MARKS,
    )  # fmt: skip


def _by_script() -> bool:
    """Whether a part of the page is read: the rest of the list, or what has changed meanwhile."""
    return request.method == "GET" and bool(request.headers.get("HX-Request"))


def _number(counts: Mapping[State, int], name: str, states: Sequence[State]) -> tuple[int, ...]:
    return (sum(counts.get(state, 0) for state in states),) if name in ("waiting", "held", "trouble") else ()


def _cursor(email: ScheduledEmail) -> str:
    return str(cursor.Cursor(email.due_at, str(email.id)))


def _place(given: str | None) -> tuple[datetime, int] | None:
    found = cursor.parse(given)
    if found is None:
        return None
    if not (found.key.isascii() and found.key.isdigit() and len(found.key) < 19):
        abort(400)
    return found.at, int(found.key)


# -- one mail


@bp.get("/outbox/<key>")
def show(key: str) -> Page:
    """One mail: what it says, when it goes and why, what happened to it."""
    return _page(key)


def _page(key: str, **_: str) -> str:
    email = own_email(key) or abort(404)
    (row,) = lined_up([email])
    letter = outbox.letter_of(email) if row.mine else None
    contact = db().get(Contact, email.contact_id) if email.contact_id else None
    return render_template(
        f"scheduler/{'_scheduled' if _by_script() else 'scheduled'}.html", row=row, email=email, letter=letter,
        contact=contact, marks=MARKS,
        conversation=db().get(Conversation, email.conversation_id) if email.conversation_id else None,
        follow_ups=web_sequences.panel_of(viewer(), email), inferred=_where(email), history=_history(email),
        past=email.due_at <= now(), unstyled=unstyled, tracked=web_tracked.of_email(email, letter),
    )  # fmt: skip


def _where(email: ScheduledEmail) -> time_zones.Inferred | None:
    """How we know where its recipient is."""
    if email.zone_rule != Zone.RECIPIENT or not email.recipients:
        return None
    home = timing.own_zone(user()).key
    return time_zones.of_address(db(), email.team_id, email.recipients[0], now(), home)


def _history(email: ScheduledEmail) -> list[tuple[Event, str]]:
    query = select(Event).where(Event.team_id == email.team_id, Event.data["email"].astext == email.key)
    query = query.where(OF_MAIL, may_be_told(viewer()))
    found = db().scalars(query.order_by(Event.id.desc()).limit(30)).all()
    names = {one.id: one.name for one in people.of_team(db(), viewer().team_id, removed=True)}
    return [(one, words.sentence(one, names, {}, {})) for one in found]


# -- what can be done about it


def _mine(key: str) -> ScheduledEmail:
    """One's own mail; 404 for others'."""
    email = own_email(key)
    if email is None or email.user_id != viewer().user_id:
        abort(404)
    return email


def _version() -> int | None:
    given = text("version", 12)
    return int(given) if given.isascii() and given.isdigit() else None


def _back(email: ScheduledEmail) -> Page:
    where = local_path(text("_next")) if text("_next") else url_for("outbox.show", key=email.key)
    return redirect(where, 303)


@bp.post("/outbox/<key>/send-now")
@or_show(_page)
@told("act")
def send_now(key: str) -> Page:
    """Let it go at once."""
    email = _mine(key)
    outbox.send_now(db(), viewer(), email, now=now(), version=_version())
    wake(email.mailbox_id)
    flash("It goes out now", "done")
    return _back(email)


@bp.post("/outbox/<key>/hold")
@or_show(_page)
@told("act")
def hold(key: str) -> Page:
    """Keep it back."""
    email = _mine(key)
    outbox.hold(db(), viewer(), email, version=_version())
    notices.undoable("Held until you release it", "outbox.release", {"_next": _there()}, key=key)
    return _back(email)


def _there() -> str:
    return local_path(text("_next")) if text("_next") else url_for("outbox.index")


@bp.post("/outbox/<key>/release")
@or_show(_page)
@told("act")
def release(key: str) -> Page:
    """Let a held one go at its time; when that has passed, at the recipient's next nine."""
    email = _mine(key)
    when = _next_nine(email) if email.due_at <= now() else None
    gmails = text("gmails") == "1"
    outbox.release(db(), viewer(), email, when, now=now(), version=_version(), gmails=gmails)
    wake(email.mailbox_id)
    flash(f"Released; it goes {words_of(email)}", "done")
    return _back(email)


def _next_nine(email: ScheduledEmail) -> outbox.When:
    """The recipient's next nine o'clock, as the form would choose it."""
    found = [address("", one) for one in email.recipients[:1]]
    where = timing.places(db(), user(), found, now()) or [timing.at_home(user())]
    return timing.plan(timing.Timing(Asked.NINE), where, timing.own_zone(user()), now()).when


@bp.post("/outbox/<key>/cancel")
@or_show(_page)
@told("act")
def cancel(key: str) -> Page:
    """Take it back, with an undo."""
    email = _mine(key)
    outbox.cancel(db(), viewer(), email, now=now(), version=_version())
    wake(email.mailbox_id)
    notices.undoable("Cancelled", "outbox.restore", {"_next": _there()}, key=key)
    return _back(email)


@bp.post("/outbox/<key>/restore")
@or_show(_page)
@told("act")
def restore(key: str) -> Page:
    """Queue again what was cancelled or failed: at its time, else at the recipient's next nine."""
    email = _mine(key)
    when = _next_nine(email) if email.due_at <= now() else None
    outbox.restore(db(), viewer(), email, when, now=now(), version=_version())
    wake(email.mailbox_id)
    flash(f"Queued again; it goes {words_of(email)}", "done")
    return _back(email)


@bp.post("/outbox/<key>/settle")
@or_show(_page)
@told("act")
def settle(key: str) -> Page:
    """A person has looked whether an uncertain mail went, and says so."""
    email = _mine(key)
    went = text("went") == "1"
    outbox.settle_by_hand(db(), viewer(), email, went=went, now=now())
    flash("Noted as sent" if went else "Noted: it did not go. Queue it again if it should", "done")
    return _back(email)


@bp.post("/outbox/take-back")
@or_show(lambda: _list("waiting"))
@told("act")
def take_back() -> Page:
    """The undo of queueing: what a form queued is cancelled, except what is just going out or has gone."""
    gone = 0
    for email in [_mine(key) for key in text("emails").split(",")[:50]]:
        try:
            if email.state in EDITABLE:
                outbox.cancel(db(), viewer(), email, now=now())
                wake(email.mailbox_id)
        except OutboxConflict:  # claimed between our look and our change
            gone += 1
        else:
            gone += email.state in (State.SENDING, State.SENT)
    if gone:
        flash(f"{gone} went out already; what had not is under Cancelled", "done")
    else:
        flash("Taken back; you find it under Cancelled", "done")
    return redirect(_there(), 303)


# -- panels of other pages


@bp.get("/outbox/of/<kind>/<key>")
def panel(kind: str, key: str) -> Page:
    """The panel of a box, a contact or a conversation, for live updates."""
    if kind == "box":
        box = boxes.by_key(db(), viewer().team_id, key) or abort(404)
        return box_panel(viewer(), box)
    if kind == "contact":
        return contact_panel(viewer(), contacts.by_key(db(), viewer().team_id, key) or abort(404))
    if kind == "conversation":
        return conversation_panel(viewer(), rows.readable(db(), viewer(), key) or abort(404)) or _panel((), "", "")
    return abort(404)


def box_panel(asker: Viewer, box: Box) -> str:
    """What waits on a box."""
    found = outbox.of_box(db(), asker, box.id)
    return _panel(found, f"box:{box.key}", url_for("outbox.panel", kind="box", key=box.key))


def contact_panel(asker: Viewer, contact: Contact) -> str:
    """What waits for a contact."""
    found = outbox.of_contact(db(), asker, contact.id)
    write = url_for("compose.show", contact=contact.key) if frame.has_mailbox() and contact.addresses else ""
    return _panel(found, "inbox", url_for("outbox.panel", kind="contact", key=contact.key), write)


def conversation_panel(asker: Viewer, conversation: Conversation) -> str | None:
    """What waits on a conversation, if anything does."""
    found = outbox.of_conversation(db(), asker, conversation.id)
    address = url_for("outbox.panel", kind="conversation", key=conversation.key)
    return _panel(found, "inbox", address) if found else None


def _panel(found: Sequence[ScheduledEmail], topic: str, address: str, write: str = "") -> str:
    lines = [Row(one) for one in found]
    html = render_template(
        "scheduler/_panel.html", lines=lines, topic=topic, address=address, write=write, marks=MARKS
    )
    return Markup(html)  # noqa: S704 - our own template


#: Events about mails, in words.
TOLD = {
    "email.queued": "queued “{subject}” to {to}",
    "email.edited": "changed the queued mail “{subject}”",
    "email.rescheduled": "chose another time for “{subject}”",
    "email.tracked": "chose anew whether “{subject}” is tracked",
    "email.guarded": "chose anew what may hold “{subject}” back",
    "email.sent_now": "let “{subject}” go at once",
    "email.held": "held “{subject}”",
    "email.released": "released “{subject}”",
    "email.cancelled": "cancelled “{subject}” to {to}",
    "email.restored": "queued “{subject}” again",
    "email.sent": "sent “{subject}” to {to}",
    "email.failed": "could not send “{subject}” to {to}",
    "email.uncertain": "does not know whether “{subject}” to {to} went out",
    "email.moved": "moved “{subject}” to another time",
    "email.edited_in_gmail": "saw that “{subject}” was changed in Gmail",
}
