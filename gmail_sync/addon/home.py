"""The panel's home: what waits for whoever looks, in a few lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from sqlalchemy import func, literal, select
from sqlalchemy.orm import joinedload

from gmail_sync.addon import work
from gmail_sync.addon.work import ToDo
from tracker import access_requests, boxes, due, followups
from tracker.boxes import Box
from tracker.conversations import Conversation, Thread
from tracker.filing import SUGGESTED, Filing
from tracker.followups import MOST, Item, Part, Scope
from tracker.mailboxes import Mailbox
from tracker.panel import Asked, Button, Buttons, Line, Panel, Paragraph, Place, Section, Widget
from tracker.pipelines import Pipeline
from tracker.web.filters import count

DUE, MOVED = 5, 2  # lines
LAST = timedelta(days=3)  #: how long a move is told
LATELY = 300  # conversations that are looked at for suggestions

#: The lists that are counted: to count the others is to look at every box of somebody's, and they can wait.
COUNTED = (Part.ANSWER,)


# -- drawn


@dataclass(frozen=True, slots=True)
class DayToComeBack:
    """A box whose day has come."""

    name: str
    words: str
    url: str


@dataclass(frozen=True, slots=True)
class View:
    """What the home shows."""

    url: str
    due: Sequence[tuple[ToDo, str] | DayToComeBack] = ()  #: tasks with where they lead, and boxes
    numbers: Mapping[Part, int] = field(default_factory=dict)
    suggestions: int = 0
    requests: int = 0
    moved: Sequence[tuple[str, str, str]] = ()  #: name, stage and day, address


def sections(view: View) -> list[Section]:
    """At most about ten lines; a day on which nothing waits says so."""
    today = _today(view)
    if not today and not view.moved:
        today = [Paragraph("Nothing waits for you today. Open a mail to put it into a box.")]
    moved: list[Widget] = [Line(name, below=words, url=url) for name, words, url in view.moved]
    there = Buttons([Button("Open Tracker", url=f"{view.url}/followups")])
    return [Section("Today", [*today, there]), *([Section("Moved lately", moved)] if moved else [])]


def _today(view: View) -> list[Widget]:
    lines: list[Widget] = [_due(one) for one in view.due]
    left = view.numbers.get(Part.DUE, 0) - len(view.due)
    if left > 0:
        lines.append(Line(f"{_told(left)} more due", url=f"{view.url}/followups?list=due"))
    if number := view.numbers.get(Part.ANSWER, 0):
        told = f"{_told(number)} {'box waits' if number == 1 else 'boxes wait'} for your answer"
        lines.append(Line(told, icon="reply", url=f"{view.url}/followups?list=answer"))
    if view.suggestions:
        told = count(view.suggestions, "thread") + " with a suggested box"
        lines.append(Line(told, icon="lightbulb", url=f"{view.url}/inbox"))
    if view.requests:
        told = count(view.requests, "teammate asks", "teammates ask") + " to see mail of yours"
        lines.append(Line(told, icon="lock", url=f"{view.url}/sharing/requests"))
    return lines


def _due(one: tuple[ToDo, str] | DayToComeBack) -> Line:
    if isinstance(one, DayToComeBack):
        return Line(one.name, below=one.words, icon="event", url=one.url)
    return work.task_line(*one)


def _told(number: int) -> str:
    return f"{MOST}+" if number > MOST else str(number)


# -- looked up


def build(asked: Asked) -> Sequence[Section]:
    """The home; in a number of queries that does not grow."""
    today = work.today(asked)
    scope = Scope(asked.viewer, True, asked.now, today)
    made = followups.plan(asked.db(), asked.viewer)
    items, more = followups.page(asked.db(), scope, made, Part.DUE, DUE)
    counted = (Part.DUE, *COUNTED) if more is not None else COUNTED  # those that are shown whole need no count
    return sections(
        View(
            asked.url,
            [_item(asked, one, today) for one in items],
            followups.counts(asked.db(), scope, made, counted),
            _suggestions(asked),
            access_requests.waiting(asked.db(), asked.viewer),
            _moved(asked, today),
        )
    )


def _item(asked: Asked, one: Item, today: date) -> tuple[ToDo, str] | DayToComeBack:
    where = {one.box.id: one.box.name} if one.box is not None else {}
    url = f"{asked.url}/b/{one.box.key}" if one.box is not None else f"{asked.url}/followups"
    if one.task is not None:
        told = work.to_do(one.task, today, where)
        return ToDo(told.key, told.title, told.when, "", told.where), url
    assert one.box is not None
    day = due.words(one.on, today) if one.on is not None else ""
    return DayToComeBack(one.box.name, f"{one.field.name if one.field else 'Come back'}: {day}", url)


def _suggestions(asked: Asked) -> int:
    """How many of the viewer's own threads of late have a suggestion, in no box yet or beside one."""
    newest = (
        select(Conversation.id)
        .where(Conversation.team_id == asked.viewer.team_id, Conversation.last_message_at.is_not(None))
        .order_by(Conversation.last_message_at.desc(), Conversation.id.desc())
        .limit(LATELY)
        .subquery()
    )
    own = (
        select(literal(1))
        .select_from(Thread)
        .join(Mailbox, Mailbox.id == Thread.mailbox_id)
        .where(Thread.conversation_id == Filing.conversation_id, Mailbox.user_id == asked.viewer.user_id)
    )
    query = (
        select(func.count(Filing.conversation_id.distinct()))
        .join(newest, newest.c.id == Filing.conversation_id)
        .outerjoin(Box, Box.id == Filing.box_id)
        .where(Filing.state == SUGGESTED, Box.deleted_at.is_(None), Box.archived_at.is_(None), own.exists())
    )
    return asked.db().scalar(query) or 0


def _moved(asked: Asked, today: date) -> list[tuple[str, str, str]]:
    """The viewer's own boxes that came to another stage last, in the last days."""
    query = (
        select(Box)
        .join(Pipeline, Pipeline.id == Box.pipeline_id)
        .where(Box.owner_id == asked.viewer.user_id, boxes.is_listed(), Pipeline.archived_at.is_(None))
        .where(Box.stage_entered_at > Box.created_at, Box.stage_entered_at > asked.now - LAST)
        .options(joinedload(Box.stage))
        .order_by(Box.stage_entered_at.desc(), Box.id.desc())
    )
    zone = due.zone(asked.zone)
    return [
        (
            one.name,
            f"{one.stage.name}, {due.words(one.stage_entered_at.astimezone(zone).date(), today)}",
            f"{asked.url}/b/{one.key}",
        )
        for one in asked.db().scalars(query.limit(MOVED))
    ]


def register(panel: Panel) -> None:
    """Put it into the panel."""
    panel.register_section(Place.HOME, build, order=10)
