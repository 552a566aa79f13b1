"""The boxes of the open thread: stage, owner, fields, why it is there; and what one does with them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from gmail_sync.addon import box_fields, lookups
from tracker import boxes, filing, pipelines
from tracker.boxes import Box, BoxConflict
from tracker.db import lock_team
from tracker.events import Event
from tracker.fields import Field
from tracker.filing import FILED, Filing
from tracker.panel import (
    Action,
    Asked,
    Button,
    Buttons,
    Choice,
    Done,
    Line,
    Option,
    Outcome,
    Panel,
    Paragraph,
    Place,
    Refused,
    Section,
    Widget,
)
from tracker.people import User
from tracker.pipelines import Stage
from tracker.sharing import reasons
from tracker.web import words

SHOWN = 3  # boxes of a thread that are shown whole; most threads are in one
NOBODY = "-"  #: as an owner, in a form


@dataclass(frozen=True, slots=True)
class View:
    """A box as the panel shows it."""

    key: str
    name: str
    place: str  #: its pipeline, and that it was put away if it was
    why: str
    url: str
    version: int
    closed: bool = False  #: put away: looked at, not changed
    stages: Sequence[Option] = ()
    owners: Sequence[Option] = ()
    fields: Sequence[tuple[str, str]] = ()  #: names and values
    has_fields: bool = False


# -- drawn, from what was looked up


def section(view: View) -> Section:
    """A box."""
    head = Line(view.name, label=view.place, below=view.why, icon="inventory_2", url=view.url)
    if view.closed:
        told = Paragraph("It was put away. Bring it back in Tracker to change it.")
        return Section("Box", [head, told, Buttons([Button("Open in Tracker", url=view.url)])])
    return Section("Box", [head, *_choices(view), _buttons(view), *_fields(view)])


def _choices(view: View) -> list[Widget]:
    seen = {"box": view.key, "version": str(view.version)}
    return [
        Choice(f"stage-{view.key}", "Stage", view.stages, changed=Action("box.move", seen)),
        Choice(f"owner-{view.key}", "Owner", view.owners, changed=Action("box.assign", {"box": view.key})),
    ]


def _buttons(view: View) -> Buttons:
    edit = [Button("Edit fields", Action("box.fields", {"box": view.key}))] if view.has_fields else []
    out = Button("Take it out", Action("box.take_out", {"box": view.key}))
    return Buttons([*edit, out, Button("Open in Tracker", url=view.url)])


def _fields(view: View) -> list[Widget]:
    return [Line(value, label=name) for name, value in view.fields]


def more(views: Sequence[View]) -> Section:
    """Boxes beyond those that are shown whole."""
    return Section("Also in", [Line(one.name, label=one.place, below=one.why, url=one.url) for one in views])


# -- looked up


def sections(asked: Asked) -> Sequence[Section]:
    """The boxes that the open thread is in; in a number of queries that does not grow with them."""
    found = [one for one in lookups.filings(asked) if one.state == FILED]
    if not found:
        return []
    reasons.tell(asked.db(), asked.viewer, found)
    names = {user.id: user.name for user in lookups.everybody(asked)}
    head = [one for one in found[:SHOWN] if one.box is not None and not lookups.is_away(one.box)]
    known = _known(asked, [one.box for one in head if one.box is not None])
    views = [_view(asked, one, one.box, names, known if one in head else None) for one in found if one.box]
    rest = [more(views[SHOWN:])] if views[SHOWN:] else []
    return [*map(section, views[:SHOWN]), *rest]


@dataclass(frozen=True, slots=True)
class _Known:
    """What there is to choose from, and to tell."""

    stages: Mapping[int, Sequence[Stage]]
    owners: Mapping[int, Sequence[User]]
    fields: Mapping[int, Sequence[Field]]
    names: Mapping[str, str]


def _known(asked: Asked, found: Collection[Box]) -> _Known:
    columns = box_fields.columns_of(asked, {one.pipeline_id for one in found})
    return _Known(
        lookups.stages_of(asked, {one.pipeline_id for one in found}) if found else {},
        lookups.seers(asked, found),
        columns,
        box_fields.names(asked, found, columns),
    )


def _view(asked: Asked, decided: Filing, box: Box, names: Mapping[int, str], known: _Known | None) -> View:
    place = box.pipeline.name + (", put away" if lookups.is_away(box) else "")
    view = View(
        box.key, box.name, place, words.why(decided, names), f"{asked.url}/b/{box.key}", box.version,
        closed=lookups.is_away(box),
    )  # fmt: skip
    if known is None:
        return view
    columns = known.fields.get(box.pipeline_id, ())
    return View(
        view.key, view.name, view.place, view.why, view.url, view.version,
        stages=_stages(box, known.stages.get(box.pipeline_id, ())),
        owners=_owners(box, known.owners.get(box.id, ())),
        fields=box_fields.values(box, columns, known.names),
        has_fields=bool(columns),
    )  # fmt: skip


def _stages(box: Box, stages: Sequence[Stage]) -> list[Option]:
    return [Option(one.key, one.name, one.id == box.stage_id) for one in stages[: lookups.CHOICES]]


def _owners(box: Box, users: Sequence[User]) -> list[Option]:
    """Those who see it; whoever has it stays among them."""
    kept = [box.owner] if box.owner is not None and box.owner not in users else []
    chosen = [*kept, *sorted(users, key=lambda one: one.id != box.owner_id)][: lookups.CHOICES - 1]
    shown = sorted(chosen, key=lambda one: one.name.casefold())
    nobody = Option(NOBODY, "Nobody", box.owner_id is None)
    return [nobody, *(Option(one.key, one.name, one.id == box.owner_id) for one in shown)]


# -- done


def move(asked: Asked) -> Outcome:
    """Move a box to the stage that was chosen, unless a teammate moved it since it was shown."""
    box = lookups.box(asked, lookups.key_of(asked, "box"))
    chosen = asked.text(f"stage-{asked.params.get('box', '')}") or asked.params.get("stage", "")
    stage = pipelines.stage_by_key(asked.db(), asked.viewer.team_id, chosen[: lookups.KEY])
    if stage is None or stage.pipeline_id != box.pipeline_id:
        return Done("That stage is gone; choose another")
    if stage.id == box.stage_id:
        return Done(f"{box.name} is in {stage.name}")
    if asked.params.get("version") != str(box.version):
        return _moved_meanwhile(asked, box)
    try:
        boxes.move(asked.db(), asked.viewer, box, stage, now=asked.now)
    except BoxConflict:
        asked.db().refresh(box)
        return _moved_meanwhile(asked, box)
    return Done(f"{box.name} moved to {stage.name}")


def _moved_meanwhile(asked: Asked, box: Box) -> Outcome:
    who = _mover(asked, box) or "A teammate"
    return Done(f"Not moved: {who} moved it to {box.stage.name} meanwhile")


def _mover(asked: Asked, box: Box) -> str:
    """Who moved it last, if it was somebody else."""
    query = (
        select(User.name)
        .join(Event, Event.user_id == User.id)
        .where(Event.box_id == box.id, Event.kind == "box.moved", User.id != asked.viewer.user_id)
        .order_by(Event.id.desc())
    )
    return asked.db().scalars(query.limit(1)).first() or ""


def assign(asked: Asked) -> Outcome:
    """Give a box to somebody who sees it, or to nobody."""
    box = lookups.box(asked, lookups.key_of(asked, "box"))
    chosen = asked.text(f"owner-{asked.params.get('box', '')}") or asked.params.get("owner", "")
    owner = None if chosen == NOBODY else _owner(asked, box, chosen)
    if (owner.id if owner else None) != box.owner_id:
        boxes.assign(asked.db(), asked.viewer, box, owner)
    return Done(f"{owner.name} has {box.name} now" if owner else f"Nobody has {box.name} now")


def _owner(asked: Asked, box: Box, key: str) -> User:
    users = lookups.seers(asked, [box])[box.id]
    found = next((one for one in users if one.key == key), None)
    if found is None:
        raise Refused("Choose somebody who sees this box; who that is stands in Tracker")
    return found


def take_out(asked: Asked) -> Outcome:
    """Take the thread out of a box; the panel offers to put it back. The lock keeps syncs from merging it away."""
    conversation = lookups.thread(asked)
    lock_team(asked.db(), asked.viewer.team_id)
    box = lookups.box(asked, lookups.key_of(asked, "box"))
    decided = filing.of_conversations(asked.db(), [conversation.id])[conversation.id]
    if not any(one.box_id == box.id and one.state == FILED for one in decided):
        return Done(f"It is in {box.name} no more")
    filing.remove(asked.db(), asked.viewer, conversation, box)
    return Done(f"Taken out of {box.name}; no rule files it there again")


def register(panel: Panel) -> None:
    """Put it into the panel."""
    panel.register_section(Place.THREAD, sections, order=10)
    for name, do in lookups.actions(("box.move", move), ("box.assign", assign), ("box.take_out", take_out)):
        panel.register_action(name, do)
    box_fields.register(panel)
