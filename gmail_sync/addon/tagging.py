"""Putting the open thread into a box: what the rules suggest, searching for one, a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from gmail_sync.addon import lookups
from tracker import autobox, boxes, filing, moving, offers, pipelines, search, sight
from tracker.boxes import NAME_LIMIT, Box
from tracker.conversations import Conversation
from tracker.db import lock_team
from tracker.filing import FILED, PERSON, REMOVED, SUGGESTED, Filing
from tracker.panel import (
    Action,
    Asked,
    Button,
    Buttons,
    Card,
    Choice,
    Done,
    Input,
    Line,
    Option,
    Outcome,
    Panel,
    Paragraph,
    Place,
    Refused,
    Rule,
    Section,
    Shown,
    Widget,
)
from tracker.pipelines import Pipeline, Stage
from tracker.sharing import reasons

SUGGESTIONS = 3
FOUND = 10  # boxes of a search
FIND = "tag-find"  #: the input's name


# -- drawn


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a rule proposes: a box, or a new one in a pipeline."""

    key: str  #: the filing's
    name: str
    new: bool
    reason: str


def section(
    suggested: Sequence[Suggestion], url: str, *, filed: bool, back: tuple[str, str] | None = None
) -> Section:
    """Where the thread could go; `back` is the box (key, name) that the viewer took it out of.

    `url` is the thread's page in Tracker.
    """
    proposed = [widget for one in suggested for widget in _suggestion(one)]
    if filed:
        return Section("Suggested" if proposed else "", [*proposed, Buttons([_another])])
    if back is not None:
        put = Button("Put it back", Action("tag.file", {"box": back[0]}))
        proposed.append(Line(back[1], label="You took it out of", button=put))
    asked: list[Widget] = [*proposed, Input(FIND, "Find a box", hint="a part of its name")]
    ways = [Button("Find", Action("tag.find")), _new(), Button("Open in Tracker", url=url)]
    return Section("Put it into a box", [*asked, Buttons(ways)])


_another = Button("Another box…", Action("tag.find"))


def _new(name: str = "") -> Button:
    return Button("New box…", Action("tag.new", {"name": name} if name else {}))


def _suggestion(one: Suggestion) -> list[Widget]:
    text = f"A new box in {one.name}" if one.new else one.name
    yes = "Make it…" if one.new else "Put it there"
    buttons = [Button(yes, Action("tag.accept", {"filing": one.key}), filled=True)]
    return [
        Line(text, label="Suggested", below=one.reason, icon="lightbulb"),
        Buttons([*buttons, Button("No", Action("tag.decline", {"filing": one.key}))]),
        Rule(),
    ]


@dataclass(frozen=True, slots=True)
class Hit:
    """A box that was found."""

    key: str
    name: str
    place: str
    there: bool  #: the thread is in it


def results(typed: str, hits: Sequence[Hit]) -> Card:
    """What was found, with the search above it."""
    again = Button("Find", Action("tag.find", {"again": "1"}))
    ask = Section("", [Input(FIND, "Find a box", typed, "a part of its name"), Buttons([again, _new(typed)])])
    title = "Found" if typed else "The newest boxes"
    shown: list[Widget] = [_hit(one) for one in hits]
    if not shown:
        shown = [Paragraph("No box is called so. Type another part of the name, or make a new box.")]
    elif len(hits) == FOUND and typed:
        shown.append(Paragraph("There may be more: type more of the name."))
    return Card("Put it into a box", [ask, Section(title, shown)], name="find")


def _hit(one: Hit) -> Line:
    if one.there:
        return Line(one.name, label=one.place, below="It is in this box already")
    return Line(one.name, label=one.place, button=Button("Put it here", Action("tag.file", {"box": one.key})))


def new_box(pipelines_: Sequence[Option], stages: Sequence[Option], name: str) -> Card:
    """What a new box is to be."""
    widgets: list[Widget] = [
        Choice("new-pipeline", "Pipeline", pipelines_, changed=Action("tag.new", {"again": "1"})),
        Choice("new-stage", "Stage", stages),
        Input("new-name", "Name", name),
        Paragraph("The people of this mail become its contacts, and this thread is filed in it."),
    ]
    make = Button("Make it", Action("tag.create"), filled=True)
    return Card("New box", [Section("", widgets)], name="new", primary=make)


# -- looked up


def sections(asked: Asked) -> Sequence[Section]:
    """Suggestions, and the ways to a box."""
    if asked.conversation is None:
        return []
    found = lookups.filings(asked)
    suggested = [one for one in found if one.state == SUGGESTED and not one.pipeline.archived_at][:SUGGESTIONS]
    reasons.tell(asked.db(), asked.viewer, suggested)
    filed = any(one.state == FILED for one in found)
    back = None if filed else _taken_out(asked, asked.conversation)
    url = f"{asked.url}/c/{asked.conversation.key}"
    return [section([_suggested(one) for one in suggested], url, filed=filed, back=back)]


def _suggested(one: Filing) -> Suggestion:
    reason = one.reason[:1].upper() + one.reason[1:]
    return Suggestion(one.key, one.box.name if one.box else one.pipeline.name, one.box is None, reason)


def _taken_out(asked: Asked, conversation: Conversation) -> tuple[str, str] | None:
    """The box that the viewer themselves took the thread out of last."""
    query = (
        select(Box.key, Box.name)
        .join(Filing, Filing.box_id == Box.id)
        .where(Filing.conversation_id == conversation.id, Filing.state == REMOVED, Filing.origin == PERSON)
        .where(Filing.user_id == asked.viewer.user_id, boxes.is_listed())
        .order_by(Filing.decided_at.desc(), Filing.id.desc())
    )
    found = asked.db().execute(query.limit(1)).first()
    return (found[0], found[1]) if found else None


def matches(asked: Asked, typed: str) -> Sequence[Box]:
    """Boxes for what was typed, at most `FOUND`; the newest ones for nothing."""
    wanted = search.parse(typed.replace(":", " ").replace('"', " ").replace("-", " "), asked.now.date())
    if not wanted.has_words:
        return [] if typed else search.newest_boxes(asked.db(), asked.viewer, FOUND)
    return search.find_boxes(asked.db(), asked.viewer, wanted, FOUND)


# -- done


def find(asked: Asked) -> Outcome:
    """A card with boxes; the search on it replaces it."""
    conversation = lookups.thread(asked)
    typed = " ".join(asked.text(FIND).split())[: search.LIMIT]
    found = [one for one in matches(asked, typed) if one.pipeline.archived_at is None]
    query = select(Filing.box_id).where(Filing.conversation_id == conversation.id, Filing.state == FILED)
    there = set(asked.db().scalars(query))
    hits = [Hit(one.key, one.name, f"{one.pipeline.name} · {one.stage.name}", one.id in there) for one in found]
    return Shown(results(typed, hits), push="again" not in asked.params)


def file(asked: Asked) -> Outcome:
    """Put the thread into a box."""
    conversation = lookups.thread(asked)
    lock_team(asked.db(), asked.viewer.team_id)
    box = lookups.box(asked, lookups.key_of(asked, "box"))
    filing.file(asked.db(), asked.viewer, conversation, box)
    return Done(f"Filed in {box.name}")


def _suggestion_of(asked: Asked) -> Filing:
    """The suggestion that a button carries, if it still is one of the open thread's. Raises `Refused`."""
    conversation = lookups.thread(asked)
    lock_team(asked.db(), asked.viewer.team_id)
    query = select(Filing).where(
        Filing.key == lookups.key_of(asked, "filing"),
        Filing.conversation_id == conversation.id,
        Filing.state == SUGGESTED,
    )
    found = asked.db().scalar(query.options(joinedload(Filing.box), joinedload(Filing.pipeline)))
    if found is None or (found.box_id is not None and found.box is None):
        raise Refused("This is no longer a suggestion; somebody has decided meanwhile")
    return found


def accept(asked: Asked) -> Outcome:
    """Agree with a suggestion: the thread goes there, or the card for a new box comes."""
    one = _suggestion_of(asked)
    if one.box is None:
        return Shown(_form(asked, lookups.thread(asked), one.pipeline.key), push=True)
    box = lookups.box(asked, one.box.key)
    filing.file(asked.db(), asked.viewer, lookups.thread(asked), box, f"{one.reason}; you agreed")
    return Done(f"Filed in {box.name}")


def decline(asked: Asked) -> Outcome:
    """Decline a suggestion; it is not made again."""
    filing.dismiss(asked.db(), asked.viewer, _suggestion_of(asked))
    return Done("Declined; it is not suggested again")


def new(asked: Asked) -> Outcome:
    """The card for a new box. Another pipeline brings its stages; what was typed stays."""
    chosen = lookups.key_of(asked, "new-pipeline")
    card = _form(asked, lookups.thread(asked), chosen, asked.text("new-name") or asked.params.get("name", ""))
    return Shown(card, push="again" not in asked.params)


def _form(asked: Asked, conversation: Conversation, chosen: str, name: str = "") -> Card:
    there = _pipelines(asked)
    pipeline = next((one for one in there if one.key == chosen), there[0])
    stages = pipelines.of_pipeline(asked.db(), pipeline.id)
    first = moving.stage_by_mail(asked.db(), pipeline, conversation) or next(iter(stages), None)
    called = name or offers.name_of(asked.db(), asked.viewer, conversation)
    return new_box(
        [Option(one.key, one.name, one is pipeline) for one in there[: lookups.CHOICES]],
        [Option(one.key, one.name, one is first) for one in stages[: lookups.CHOICES]],
        called[:NAME_LIMIT],
    )


def _pipelines(asked: Asked) -> Sequence[Pipeline]:
    """The pipelines that the viewer may add boxes to. Raises `Refused` if there are none."""
    all_ = pipelines.of_team(asked.db(), asked.viewer.team_id)
    found = [one for one in all_ if sight.is_whole(asked.db(), one.id)]
    if not found:
        raise Refused("There is no pipeline that you may add boxes to; ask a teammate to make the box")
    return found


def create(asked: Asked) -> Outcome:
    """Make a box, and file the thread in it. Asked twice, it is made once."""
    conversation = lookups.thread(asked)
    lock_team(asked.db(), asked.viewer.team_id)
    chosen = lookups.key_of(asked, "new-pipeline")
    pipeline = next((one for one in _pipelines(asked) if one.key == chosen), None)
    if pipeline is None:
        raise Refused("Choose the pipeline for the new box")
    name = " ".join(asked.text("new-name").split())[:NAME_LIMIT]
    if name and (there := _made_already(asked, conversation, pipeline, name)):
        return Done(f"It is in {there} already")
    stage = _stage(asked, pipeline)
    made = autobox.new_box(asked.db(), asked.viewer, pipeline, conversation, name=name, stage=stage, now=asked.now)
    return Done(f"{made.name} is new in {pipeline.name}")


def _stage(asked: Asked, pipeline: Pipeline) -> Stage | None:
    """The stage that was chosen; none if it was of another pipeline, chosen before this one was."""
    stage = pipelines.stage_by_key(asked.db(), asked.viewer.team_id, lookups.key_of(asked, "new-stage"))
    return stage if stage is not None and stage.pipeline_id == pipeline.id else None


def _made_already(asked: Asked, conversation: Conversation, pipeline: Pipeline, name: str) -> str:
    """A box of this name in this pipeline that the thread is in: the button was pressed twice."""
    query = (
        select(Box.name)
        .join(Filing, Filing.box_id == Box.id)
        .where(Filing.conversation_id == conversation.id, Filing.state == FILED, boxes.is_listed())
        .where(Box.pipeline_id == pipeline.id, Box.name == name)
    )
    return asked.db().scalar(query.limit(1)) or ""


def register(panel: Panel) -> None:
    """Put it into the panel."""
    panel.register_section(Place.THREAD, sections, order=20)
    for name, do in lookups.actions(
        ("tag.find", find), ("tag.file", file), ("tag.accept", accept), ("tag.decline", decline),
        ("tag.new", new), ("tag.create", create),
    ):  # fmt: skip
        panel.register_action(name, do)
