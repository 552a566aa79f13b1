"""What pages show of reads: below a sent mail, on its own page of hits, in timelines, on cards and in tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from flask import Blueprint, Flask, abort, has_request_context, render_template, request
from markupsafe import Markup
from sqlalchemy import ColumnElement, Text, cast, collate, func, or_, select
from sqlalchemy.orm import Session

from tracker import boxes, columns
from tracker.boxes import Box
from tracker.columns import Column, Holds, Order, Sorted
from tracker.conversations import Conversation
from tracker.db import among
from tracker.events import Event
from tracker.messages import Message, Recipient
from tracker.people import Viewer
from tracker.web import cards, frame, mails, timeline, words
from tracker.web.board import ago
from tracker.web.frame import Corner, Page, db, viewer
from tracker.web.timeline import Entry, Source, Span
from webhooks import readings
from webhooks.privacy import seen_by
from webhooks.readings import BoxReads, Shown
from webhooks.tracks import TrackedEmail
from webhooks.verdicts.news import CLICKED, READ
from webhooks.web.base import asset

bp = Blueprint("reads", __name__, template_folder="templates")
FILTERS = frozenset({timeline.MAIL})


# -- below a mail


def below_messages(session: Session, ids: Sequence[int]) -> Mapping[int, Markup]:
    """What became of sent mails, ready to be shown below them."""
    return {id_: _line(shown) for id_, shown in readings.of_messages(session, viewer(), ids).items()}


def in_outbox(session: Session, asker: Viewer, ids: Collection[int]) -> dict[int, Markup]:
    """What became of mails of the outbox, by their ids; one query for a whole list."""
    found = readings.of_scheduled(session, asker, ids)
    made = {id_: render_template("webhooks/_reading_short.html", shown=one) for id_, one in found.items()}
    return {id_: Markup(html) for id_, html in made.items()}  # noqa: S704 - a template of ours


def _line(shown: Shown) -> Markup:
    return Markup(render_template("webhooks/_reading.html", shown=shown))  # noqa: S704 - a template of ours


@bp.get("/reads/<key>/line")
def line(key: str) -> Page:
    """What stands below the mail, again."""
    return _line(_found(key))


# -- a mail's own page


@bp.get("/reads/<key>")
def show(key: str) -> Page:
    """Every hit of a mail, and what it was."""
    shown = _found(key)
    lines, more = readings.page_of_hits(db(), shown, _place(request.args.get("after")))
    last = lines[-1].hit if more else None
    message = db().get(Message, shown.mail.message_id) if shown.mail.message_id else None
    conversation = db().get(Conversation, shown.mail.conversation_id) if shown.mail.conversation_id else None
    return render_template(
        "webhooks/reads.html", shown=shown, lines=lines, message=message, conversation=conversation,
        more=f"{last.at.isoformat()}_{last.id}" if last else "",
    )  # fmt: skip


def _found(key: str) -> Shown:
    return readings.by_key(db(), viewer(), key[:100].replace("\x00", "")) or abort(404)


def _place(given: str | None) -> tuple[datetime, int] | None:
    at, _, number = (given or "").partition("_")
    try:
        found = datetime.fromisoformat(at), int(number)
    except ValueError:
        return None
    return found if found[0].tzinfo is not None and 0 <= found[1] < 2**63 else None


# -- the timeline of a box


def _told(session: Session, asker: Viewer, box: Box, span: Span) -> Sequence[Entry]:
    """Reads and clicks of mails that the viewer may read."""
    key = collate(func.lpad(cast(Event.id, Text), 19, "0"), "C")
    tracked = Event.data["tracked"].astext
    query = (
        select(Event, key, TrackedEmail.key)
        .join(TrackedEmail, (TrackedEmail.key == tracked) & (TrackedEmail.team_id == Event.team_id))
        .where(among(Event.box_id, boxes.ids_of(session, box)), Event.kind.in_((READ, CLICKED)))
        .where(or_(TrackedEmail.erased_at.is_(None), Event.at > TrackedEmail.erased_at))
        .where(seen_by(asker), _stands(), *span.within(Event.at, key))
        .order_by(Event.at.desc(), key.desc())
    )
    rows = session.execute(query.limit(span.limit)).all()
    about = _about(session, [row[2] for row in rows])
    return [Entry(event.at, place, html=_entry(event, about[mail])) for event, place, mail in rows]


def _stands() -> ColumnElement[bool]:
    """SQL: what was told turned out to be nothing else since."""
    read = (Event.kind == READ) & (Event.at <= TrackedEmail.last_view_at)
    return read | ((Event.kind == CLICKED) & (TrackedEmail.clicked > 0))


def _about(session: Session, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
    """To whom a mail went, and what it was about; the caller has seen to the rights."""
    if not keys:
        return {}
    query = (
        select(TrackedEmail.key, TrackedEmail.recipients, Message.subject, func.max(Recipient.name))
        .outerjoin(Message, Message.id == TrackedEmail.message_id)
        .outerjoin(
            Recipient,
            (Recipient.message_id == Message.id) & (Recipient.normalized == TrackedEmail.recipients[1]),
        )
        .where(among(TrackedEmail.key, keys))
        .group_by(TrackedEmail.id, Message.subject)
    )
    return {
        key: (who(recipients, name or ""), subject or "")
        for key, recipients, subject, name in session.execute(query)
    }


def who(recipients: Sequence[str], name: str = "") -> str:
    """Who read it: a name only where there was one recipient."""
    if len(recipients) == 1:
        return name or recipients[0]
    return f"One of {len(recipients)}" if recipients else "Somebody"


def _entry(event: Event, about: tuple[str, str]) -> Markup:
    html = render_template("webhooks/_read_entry.html", event=event, who=about[0], subject=about[1])
    return Markup(html)  # noqa: S704 - a template of ours


# -- cards and tables


def marks(session: Session, asker: Viewer, box_ids: Collection[int]) -> Mapping[int, cards.Mark]:
    """When a mail of a box was last read, for its card."""
    found = readings.of_boxes(session, asker, box_ids)
    return {box_id: _mark(reads) for box_id, reads in found.items() if reads.last_at is not None}


def _mark(reads: BoxReads) -> cards.Mark:
    assert reads.last_at is not None
    since = ago(reads.last_at)
    said = "Read just now" if since == "now" else f"Read {since} ago"
    return cards.Mark("eye", said, f"Last read {reads.last_at:%Y-%m-%d %H:%M} UTC, {reads.views} views in all")


def _last_read(session: Session, box_ids: Sequence[int]) -> Mapping[int, datetime | None]:
    return {box_id: one.last_at for box_id, one in _of_boxes(session, box_ids).items()}


def _reads(session: Session, box_ids: Sequence[int]) -> Mapping[int, int]:
    return {box_id: one.views for box_id, one in _of_boxes(session, box_ids).items()}


def _of_boxes(session: Session, box_ids: Sequence[int]) -> Mapping[int, BoxReads]:
    # Who looks is only known on a page; elsewhere nobody is told anything.
    return readings.of_boxes(session, viewer(), box_ids) if has_request_context() else {}


def _columns() -> tuple[Column, Column]:
    of_box = TrackedEmail.box_id == Box.id
    last = select(func.max(TrackedEmail.last_view_at)).where(of_box).correlate(Box).scalar_subquery()
    views = select(func.coalesce(func.sum(TrackedEmail.views), 0)).where(of_box).correlate(Box).scalar_subquery()
    return (
        Column(
            "last_read", "Last read", Holds.INSTANT, Order(last, Sorted.INSTANT), newest_first=True,
            load=_last_read, note="when a mail of ours was last read, likely or better",
        ),
        Column(
            "reads", "Reads", Holds.COUNT, Order(views, Sorted.INTEGER, nullable=False), newest_first=True,
            load=_reads, note="how often our mails were read, likely or better",
        ),
    )  # fmt: skip


def init_app(app: Flask) -> None:
    """Add all of this to an application that has the frame."""
    app.register_blueprint(bp)
    frame.register_corner(app, Corner(lambda place: "", sheets=lambda: [asset("reads.css")]))
    mails.register_note(app, below_messages)
    timeline.register(app, Source("read", FILTERS, _told))
    cards.register_mark(marks)
    for column in _columns():
        columns.register(column)
    words.register(READ, "heard that a mail was read")
    words.register(CLICKED, "heard that a link was clicked")
