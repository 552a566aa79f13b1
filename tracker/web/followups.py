"""Follow-ups: the first page of the day. What is due, what waits for an answer, what sleeps; with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from flask import Blueprint, abort, render_template, request, url_for
from sqlalchemy import select

from tracker import boxes, due, fields, followups, pipelines, snoozes, tasks
from tracker.boxes import Box, BoxError
from tracker.followups import MOST, Item, Part, Place, Scope
from tracker.pipelines import Stage
from tracker.snoozes import FOREVER, SnoozeError
from tracker.tasks import TaskError
from tracker.web import undo
from tracker.web.filters import count
from tracker.web.forms import Refused, done, or_show, text
from tracker.web.frame import Page, db, local_path, now, user, viewer
from tracker.web.undo import Ticket

bp = Blueprint("followups", __name__)
FIRST, PAGE = 10, 40  # of each list on the first page; on a list's own
TITLES = {
    Part.DUE: ("Due", "Tasks, and boxes to come back to, whose day has come"),
    Part.ANSWER: ("They wait for an answer", "The last mail is theirs, and older than two days"),
    Part.UNDATED: ("Without a day", "To come back to, but nothing says when"),
    Part.SLEEPING: ("Sleeping", "Neither mail nor a move for longer than the stage allows"),
}


@dataclass(frozen=True, slots=True)
class Section:
    """One list, or its beginning."""

    part: Part
    items: list[Item]
    number: int
    more: Place | None

    @property
    def title(self) -> str:
        """What it is called."""
        return TITLES[self.part][0]

    @property
    def words(self) -> str:
        """What stands in it."""
        return TITLES[self.part][1]

    @property
    def told(self) -> str:
        """How many there are."""
        return f"{MOST}+" if self.number > MOST else str(self.number)


def _scope() -> Scope:
    today = due.today(user().time_zone, now())
    return Scope(viewer(), request.args.get("whose") != "team", now(), today)


def anything_due() -> bool:
    """Whether the viewer's day begins here."""
    scope = Scope(viewer(), True, now(), due.today(user().time_zone, now()))
    return followups.is_anything_due(db(), scope)


def page() -> str:
    """The whole page."""
    return _rendered("followups.html")


def _rendered(template: str) -> str:
    scope, part = _scope(), _part()
    made = followups.plan(db(), viewer())
    numbers = followups.counts(db(), scope, made)
    limit = PAGE if part else FIRST
    sections = []
    for one in [part] if part else list(Part):
        items, more = followups.page(db(), scope, made, one, limit, _after() if part else None)
        sections.append(Section(one, items, numbers[one], more))
    parts = {name: request.args[name] for name in ("whose", "list", "after") if request.args.get(name)}
    return render_template(
        template,
        sections=[one for one in sections if one.items],
        part=part,
        scope=scope,
        parts=parts,
        stages=_stages(),
        times=snoozes.choices(user().time_zone, now()),
        reason=lambda item: reason(item, scope),
        heading=lambda item: _heading(item, scope.today),
    )


def _part() -> Part | None:
    if not request.args.get("list"):
        return None
    try:
        return Part(request.args["list"])
    except ValueError:
        abort(404)


def _after() -> Place | None:
    given = request.args.get("after", "").replace("\x00", "")
    if not given:
        return None
    at, kind, key = [*given.split("~"), "", ""][:3]
    if kind not in ("task", "box") or not key:
        abort(400)
    try:  # a day is an instant's beginning
        datetime.fromisoformat(at)
    except ValueError:
        abort(400)
    return Place(at, kind, key)


def _stages() -> dict[int, list[Stage]]:
    """The stages of every pipeline, to move boxes to; in one query."""
    found: dict[int, list[Stage]] = {}
    query = select(Stage).where(Stage.team_id == viewer().team_id).order_by(Stage.pipeline_id, Stage.position)
    for stage in db().scalars(query):
        found.setdefault(stage.pipeline_id, []).append(stage)
    return found


def _heading(item: Item, today: date) -> str:
    if item.part != Part.DUE or item.on is None:
        return ""
    return "Today" if item.on == today else "Overdue"


def reason(item: Item, scope: Scope) -> str:
    """Why it is in the list, in words."""
    if item.part == Part.DUE and item.on is not None:
        late = (scope.today - item.on).days
        told = due.words(item.on, scope.today) + (f", {count(late, 'day')} ago" if late > 1 else "")
        return (
            f"Due {told}" if item.task is not None else f"{item.field.name if item.field else 'Come back'}: {told}"
        )
    box, facts = item.box, item.facts
    assert box is not None
    days = (scope.now - box.stage_entered_at).days
    if item.part == Part.ANSWER and facts is not None and facts.last_received_at is not None:
        waited = (scope.now - facts.last_received_at).days
        return f"Their mail waits for an answer for {count(waited, 'day')}"
    if item.part == Part.UNDATED:
        return f"In {box.stage.name} for {count(days, 'day')}, and no day or task says when to come back"
    stirred = max(
        box.stage_entered_at, facts.last_mail_at if facts and facts.last_mail_at else box.stage_entered_at
    )
    quiet, limit = (scope.now - stirred).days, box.stage.sleep_days
    return f"No mail and no move for {count(quiet, 'day')}; in {box.stage.name}, {limit} are enough"


@bp.get("/followups")
def show() -> Page:
    """The page: `?whose=team` for everybody's, `?list=` for one list in full."""
    return page()


@bp.get("/followups/list")
def lines() -> Page:
    """The lists alone, for a page that is open."""
    return _rendered("_followups.html")


# -- what to do


@bp.post("/followups/tasks")
@or_show(page)
def new_task() -> Page:
    """A task of the viewer's own, in no box. Without a day it is due today: a list without days would hide it."""
    today = due.today(user().time_zone, now())
    try:
        day = due.parse(text("due", 200), today) or today
    except due.DueError as error:
        raise TaskError(str(error)) from None
    tasks.create(db(), viewer(), text("title", tasks.TITLE_LIMIT + 1), due_on=day, now=now())
    parts = {name: request.args[name] for name in ("whose", "list") if request.args.get(name)}
    return done(f"Task set, due {due.words(day, today)}", "followups.show", **parts)


@dataclass(frozen=True, slots=True)
class Named:
    """The entry that a button names: ``task <key>``, or ``box <key> <list> [<field's key>]``."""

    task: tasks.Task | None
    box: Box | None
    part: str = ""
    field: str = ""


def _named(words: str) -> Named:
    kind, key, part, field = [*words.replace("\x00", "").split(" "), "", "", ""][:4]
    if kind == "task":
        task = tasks.by_key(db(), viewer().team_id, key) or abort(404)
        if task.box is not None:
            _there(task.box)
        return Named(task, None)
    box = boxes.by_key(db(), viewer().team_id, key) or abort(404)
    return Named(None, _there(box), part, field)


def _there(box: Box) -> Box:
    """The box, unless somebody deleted it since the page was made."""
    if box.deleted_at is not None:
        raise BoxError(f"{box.name} was deleted meanwhile; it can be brought back from the list of deleted boxes")
    return box


def _told(words: str, ticket: Ticket) -> Page:
    where = local_path(text("_next")) if text("_next") else url_for("followups.show")
    return undo.answer(words, ticket, where, gone=[text("entry", 200)] if text("entry") else [])


@bp.post("/followups/done")
@or_show(page)
def finish() -> Page:
    """Done: a task is completed, a day is cleared, anything else rests until mail or a move."""
    named = _named(text("item", 200))
    if named.task is not None:
        tasks.complete(db(), viewer(), named.task, now())
        return _told("Task done", Ticket(done=[named.task.key]))
    box = named.box
    assert box is not None
    field = fields.by_key(db(), viewer().team_id, named.field) if named.field else None
    if field is not None:
        before = followups.clear_day(db(), viewer(), box, field)
        return _told(f"{field.name} of {box.name} is done", Ticket(values=[(box.key, field.key, before)]))
    put = snoozes.put_off_boxes(db(), viewer(), [box.id], FOREVER)
    return _told(f"{box.name} rests until the next mail or move", Ticket(boxes=put))


@bp.post("/followups/snooze")
@or_show(page)
def snooze() -> Page:
    """Later: a task gets another day, a box is out of these lists until then."""
    choice, _, words = text("choice", 300).partition(" ")
    named = _named(words or text("item", 200))
    try:
        until = snoozes.time_of(choice, text("day", 60), user().time_zone, now())
    except SnoozeError as error:
        raise Refused({"followups": str(error)}) from None
    day = due.today(user().time_zone, until)
    told = due.words(day, due.today(user().time_zone, now()))
    if named.task is not None:
        before = named.task.due_on
        tasks.change(db(), viewer(), named.task, due_on=day)
        shift: tuple[str, str | None, str | None] = (
            named.task.key,
            before.isoformat() if before else None,
            day.isoformat(),
        )
        return _told(f"Due {told}", Ticket(due=[shift]))
    assert named.box is not None
    put = snoozes.put_off_boxes(db(), viewer(), [named.box.id], until)
    return _told(f"{named.box.name}: back {told}", Ticket(boxes=put))


@bp.post("/followups/move")
@or_show(page)
def move() -> Page:
    """It goes on: into another stage."""
    stage_key, version, words = [*text("choice", 300).split(" ", 2), "", ""][:3]
    box = _named(words).box or abort(404)
    stage: Any = pipelines.stage_by_key(db(), viewer().team_id, stage_key) or abort(404)
    if version != str(box.version):
        raise boxes.BoxConflict(f"A teammate changed this box meanwhile: it is in {box.stage.name} now")
    before = box.stage.key
    boxes.move(db(), viewer(), box, stage, now=now())
    return _told(f"{box.name} is in {stage.name}", Ticket(moved=[(box.key, before, box.version)]))
