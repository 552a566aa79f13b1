"""The page of a box as parts, each of which can be rendered alone: for live updates, and after a change.

A part reads only what it shows. Its template is one element with an id; htmx puts it where that id stands.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any

from flask import Response, abort, render_template, request
from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.orm import joinedload, selectinload

from tracker import (
    access,
    answering,
    boxes,
    contacts,
    due,
    events,
    fields,
    filing,
    links,
    mentions,
    people,
    pipelines,
    tasks,
)
from tracker.activities import Activity, persons
from tracker.boxes import Box, BoxConflict
from tracker.contacts import Contact, Organization
from tracker.db import among
from tracker.fields import Field, FieldType
from tracker.filing import Filing
from tracker.mentions import Piece
from tracker.people import Role, User, Viewer
from tracker.pipelines import Stage
from tracker.tasks import Task
from tracker.web import cursor, field_inputs, forms, frame, mails, notices, rows, timeline, words
from tracker.web.access_said import Said
from tracker.web.field_inputs import Input
from tracker.web.frame import Page, db, viewer
from tracker.web.timeline import Block
from tracker.web.timeline import Page as TimelinePage

#: Part → its template; the id of its element is `box-<part>`.
PARTS = {
    "head": "box_head.html",
    "compose": "box_compose.html",
    "tasks": "box_tasks.html",
    "newtask": "box_newtask.html",
    "timeline": "box_timeline.html",
    "fields": "box_fields.html",
    "contacts": "box_contacts.html",
    "conversations": "box_conversations.html",
    "links": "box_links.html",
    "access": "box_access.html",
    "files": "box_files.html",
}
#: Where a form stands (the beginning of its `_place`), and the part that is shown again when it is refused.
PLACES = {
    "name": "head", "stage": "head", "owner": "head", "note": "compose", "call": "compose", "meeting": "compose",
    "newtask": "newtask", "task": "tasks", "activity": "timeline", "why": "timeline", "fields": "fields",
    "money": "head", "organization": "fields", "contacts": "contacts", "links": "links", "access": "access",
}  # fmt: skip
FEW_CONVERSATIONS, FEW_DONE, FEW_FILES = 8, 5, 6


def anyhow(key: str) -> Box:
    """The team's box, deleted or not; one that was merged away leads to what it became. 404 if there is none."""
    query = (
        select(Box)
        .where(Box.team_id == viewer().team_id)
        .options(
            joinedload(Box.stage), joinedload(Box.pipeline), joinedload(Box.owner), joinedload(Box.organization),
            selectinload(Box.contacts).selectinload(Contact.addresses),
        )
    )  # fmt: skip
    box = db().scalar(query.where(Box.key == key[:100].replace("\x00", "")))
    while box is not None and box.merged_into_id is not None:
        box = db().scalar(query.where(Box.id == box.merged_into_id))
    return box if box is not None else abort(404)


def found(key: str) -> Box:
    """The team's box, to be changed. Raises `BoxConflict` if it was deleted meanwhile."""
    box = anyhow(key)
    if box.deleted_at is not None:
        raise BoxConflict("This box was deleted meanwhile; bring it back to change it")
    return box


@dataclass
class Shown:
    """A box with what its page shows, each read when a part asks for it."""

    box: Box

    @cached_property
    def viewer(self) -> Viewer:
        """Who looks."""
        return viewer()

    @cached_property
    def today(self) -> date:
        """The day that it is for whoever looks."""
        return due.today(frame.user().time_zone, frame.now())

    @cached_property
    def local_now(self) -> datetime:
        """The wall time of whoever looks."""
        return frame.now().astimezone(due.zone(frame.user().time_zone))

    @cached_property
    def users(self) -> Sequence[User]:
        """Those who see the box, to choose from."""
        return access.seers(db(), self.box, [one for one in self.everybody if one.removed_at is None])

    @cached_property
    def would_see(self) -> Sequence[User]:
        """Those who don't, and would as its owner: guests see but where they are named."""
        there = {one.id for one in self.users}
        others = [one for one in self.everybody if one.removed_at is None and one.id not in there]
        return [one for one in others if one.role != Role.GUEST]

    def choices(self, user: User | None) -> Sequence[User]:
        """Those who see the box, and who has the task now though they don't."""
        return self.users if user is None or user in self.users else [*self.users, user]

    @cached_property
    def everybody(self) -> Sequence[User]:
        """Those too who were removed: what they did stays theirs."""
        return people.of_team(db(), self.viewer.team_id, removed=True)

    @cached_property
    def names(self) -> dict[int, str]:
        """The team's names by id."""
        return {user.id: user.name for user in self.everybody}

    @cached_property
    def stages(self) -> Sequence[Stage]:
        """The pipeline's stages in order."""
        return pipelines.of_pipeline(db(), self.box.pipeline_id)

    @cached_property
    def columns(self) -> Sequence[Field]:
        """The pipeline's fields."""
        return fields.of_pipeline(db(), self.box.pipeline_id)

    @cached_property
    def known(self) -> dict[str, str]:
        """Names of the people, contacts and organizations that are spoken of, by key."""
        named = {contact.key: contact.name for contact in self.box.contacts}
        return field_inputs.known_names(db(), self.box, self.columns, self.everybody) | named

    @cached_property
    def inputs(self) -> list[Input]:
        """The fields, to be edited; without the one that says what the box is worth."""
        return [self._input(one) for one in self.columns if one is not self.worth]

    @cached_property
    def worth(self) -> Field | None:
        """The field that says what the box is worth: the first of money."""
        return next((one for one in self.columns if one.type == FieldType.MONEY), None)

    @cached_property
    def worth_input(self) -> Input | None:
        """It, to be edited."""
        return self._input(self.worth) if self.worth is not None else None

    def _input(self, field: Field) -> Input:
        return field_inputs.shown(field, self.box.values.get(field.key), self.known).typed()

    @cached_property
    def organizations(self) -> Sequence[Organization]:
        """Organizations to choose from."""
        return contacts.organizations(db(), self.viewer.team_id)

    @cached_property
    def tasks(self) -> Sequence[Task]:
        """What is to be done."""
        return tasks.of_box(db(), self.box.id)

    @cached_property
    def done(self) -> Sequence[Task]:
        """What was done last."""
        return tasks.of_box(db(), self.box.id, done=True, limit=FEW_DONE)

    @cached_property
    def to_answer(self) -> Mapping[str, str]:
        """The keys of the mails that tasks ask to answer, by the tasks' keys."""
        return answering.mails_of(db(), self.viewer, self.tasks)

    @cached_property
    def links(self) -> Sequence[Box]:
        """The boxes it is linked with."""
        return links.of_box(db(), self.box.id)

    @cached_property
    def access(self) -> Said:
        """Who sees it."""
        return Said.of(db(), self.viewer, self.box, self.everybody)

    @cached_property
    def filed(self) -> list[tuple[Filing, rows.Row]]:
        """The last conversations in it; one more than are shown."""
        return rows.of_box(db(), self.viewer, self.box, filing.FILED, limit=FEW_CONVERSATIONS + 1)

    @cached_property
    def suggested(self) -> list[tuple[Filing, rows.Row]]:
        """Conversations that may belong here."""
        return rows.of_box(db(), self.viewer, self.box, filing.SUGGESTED, limit=5)

    @cached_property
    def files(self) -> tuple[list[mails.File], cursor.Cursor | None]:
        """The last attachments."""
        return mails.files_of(db(), self.viewer, self.box, limit=FEW_FILES)

    @property
    def shows(self) -> Mapping[str, str]:
        """The timeline's filters."""
        return timeline.SHOWS

    @cached_property
    def show(self) -> str:
        """The timeline's filter, from the address or the form on its way."""
        asked = request.values.get("_show") or request.args.get("show") or timeline.ALL
        return asked if asked in timeline.SHOWS else timeline.ALL

    @cached_property
    def timeline(self) -> TimelinePage:
        """A page of the timeline: behind `after`, or down to what the page that asks has already."""
        after = cursor.parse(request.args.get("after")) if request.method == "GET" else None
        until = None if after else cursor.parse(request.values.get("_until"))
        return timeline.of_box(db(), self.viewer, self.box, show=self.show, after=after, until=until)

    @cached_property
    def blocks(self) -> list[Block]:
        """The timeline's entries as they are shown."""
        return timeline.blocks(db(), viewer(), self.box, self.timeline.entries)

    @cached_property
    def told(self) -> dict[int, str]:
        """The timeline's events in words."""
        types = {field.key: field.type for field in self.columns}
        happened = [entry.event for entry in self.timeline.entries if entry.event is not None]
        return {event.id: words.sentence(event, self.names, self.known, types) for event in happened}

    @cached_property
    def with_whom(self) -> dict[str, str]:
        """The names of the contacts that the timeline's calls and meetings were with, by key."""
        spoken = [entry.activity for entry in self.timeline.entries if entry.activity is not None]
        keys = {str(key) for activity in spoken for key in activity.contact_keys}
        here = {contact.key: contact.name for contact in self.box.contacts}
        if keys - here.keys():
            query = select(Contact.key, Contact.name).where(
                Contact.team_id == self.viewer.team_id, among(Contact.key, keys - here.keys())
            )
            here |= dict(db().execute(query).all())
        return here

    @cached_property
    def handles(self) -> dict[str, str]:
        """What is typed behind the @ to mention somebody, by key."""
        return mentions.handles(persons([one for one in self.everybody if one.removed_at is None]))

    @cached_property
    def mentionable(self) -> str:
        """Those who can be mentioned, for our script (JSON)."""
        return json.dumps([{"name": one.name, "handle": self.handles[one.key]} for one in self.users])

    def pieces(self, activity: Activity) -> list[Piece]:
        """A note's text, with its mentions."""
        return mentions.pieces(activity.text, {user.key: user.name for user in self.everybody})

    def as_typed(self, activity: Activity) -> str:
        """A note's text, to be edited."""
        return mentions.typed(activity.text, self.handles)

    def why(self, decision: Filing) -> str:
        """Why a conversation is here."""
        return words.why(decision, self.names)

    def due_words(self, day: date) -> str:
        """A due date in words."""
        return due.words(day, self.today)

    def wall(self, at: datetime, zone_of: User | None = None) -> datetime:
        """An instant as wall time of somebody of the team, else of whoever looks."""
        return at.astimezone(due.zone((zone_of or frame.user()).time_zone))

    @cached_property
    def may_mail(self) -> bool:
        """Whether whoever looks has a mailbox."""
        return frame.has_mailbox()


def render(shown: Shown, *names: str, oob: bool = False) -> str:
    """Parts as HTML; for htmx (`oob`) marked so that each goes where its id stands."""
    return "\n".join(
        render_template(PARTS[name], page=shown, box=shown.box, oob=oob, part_id=f"box-{name}") for name in names
    )


def panels(shown: Shown) -> list[tuple[str, str]]:
    """The panels of other rooms."""
    made = [(panel.title, panel.render(shown.viewer, shown.box)) for panel in frame.frame().box_panels]
    return [(title, Markup(html)) for title, html in made if html is not None]  # noqa: S704 - a room's own


def page(key: str, **_: str) -> str:
    """The whole page; for htmx the part in which the form stands that was refused."""
    box = anyhow(key)
    if box.deleted_at is not None:
        who = _deleter(box)
        return render_template("box_deleted.html", box=box, who=who)
    shown = Shown(box)
    if forms_by_script():
        return render(shown, PLACES.get(request.form.get("_place", "").split("-")[0], "head"), oob=True)
    return render_template("box.html", page=shown, box=box, panels=panels(shown), oob=False)


def _deleter(box: Box) -> str:
    query = (
        select(events.Event.user_id)
        .where(events.Event.box_id == box.id, events.Event.kind == "box.deleted")
        .order_by(events.Event.id.desc())
    )
    found = db().scalars(query.limit(1)).first()
    user = db().get(User, found) if found else None
    return user.name if user else "Somebody"


def forms_by_script() -> bool:
    """Whether htmx sends the form and wants parts of the page."""
    return request.method == "POST" and bool(request.headers.get("HX-Request"))


def changed(
    box: Box, *names: str, told: str = "", undo: Mapping[str, Any] | None = None, anchor: str | None = None
) -> Page:
    """After a change: for htmx the parts that show it and a notice, else the page again.

    `undo` is where a form leads that takes it back: `url` and `fields`.
    """
    if not forms_by_script():
        if undo:
            notices.told(told, undo)
            told = ""
        return forms.done(told, "box.show", anchor, key=box.key)
    db().flush()
    db().expire_all()
    shown = Shown(anyhow(box.key))
    notice = render_template("box_notice.html", told=told, undo=undo) if told else ""
    return Response(render(shown, *names, oob=True) + notice)


def in_team(user_key: str) -> User | None:
    """Somebody of the team by key; None for an empty one, 404 for anybody else's."""
    if not user_key:
        return None
    user = people.by_key(db(), user_key)
    return user if user is not None and user.team_id == viewer().team_id else abort(404)


def other_box(key: str) -> Box:
    """Another box of the team by its key; merged ones lead on. 404 if there is none, or it is deleted."""
    other = boxes.by_key(db(), viewer().team_id, key[:100])
    return other if other is not None and other.deleted_at is None else abort(404)
