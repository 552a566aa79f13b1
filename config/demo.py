"""The demo: the team of the sandbox's story, its boxes, and its mailboxes connected."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import requests
from sqlalchemy.orm import Session

from config import demo_mail, demo_reads, demo_sharing, demo_work, teams
from config.rooms import Rooms
from gmail_sync import oauth, sync
from gmail_sync.sandbox.demo.story import Box, Days, Money, Story, load
from tracker import boxes, contacts, fields, mailboxes, people, pipelines
from tracker.addresses import parse_addresses
from tracker.db import transaction
from tracker.people import Role, User
from tracker.pipelines import Kind, Pipeline, Stage

log = logging.getLogger(__name__)


def seed(rooms: Rooms, sandbox_url: str) -> None:
    """Found the demo team with its boxes, once, and connect its mailboxes."""
    story = load()
    with transaction(rooms.sessions) as session:
        if people.first_team(session) is not None:
            return
        users = _team(session, story)
        for box in story.boxes:
            _box(session, users, story, box, rooms.gmail.now())
        demo_work.seed(session, users, rooms.gmail.now())
        demo_sharing.seed(session, users, rooms.gmail.now())
    granted = {rep.address: _granted(sandbox_url, rep.address) for rep in story.reps}
    for address, grant in granted.items():
        _connect(rooms, address, grant)
    with transaction(rooms.sessions) as session:
        demo_mail.seed(session, rooms.gmail.now())
    demo_reads.seed(rooms, story, granted, rooms.gmail.now())


def settle(rooms: Rooms) -> bool:
    """What the demo's people say of mail that has been read; whether there is nothing more to do."""
    try:
        with transaction(rooms.sessions) as session:
            return demo_sharing.settle(session, rooms.gmail.now())
    except Exception:  # a demo that somebody has played with goes on without
        log.exception("The demo's people could not say what they share")
        return True


def _granted(sandbox_url: str, address: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = requests.get(f"{sandbox_url}/sandbox/credentials/{address}", timeout=10).json()
    return found


def _team(session: Session, story: Story) -> dict[str, User]:
    first = next(rep for rep in story.reps if rep.role == "admin")
    users = {first.address: teams.found(session, story.team, first.address, first.name)}
    team_id = users[first.address].team_id
    for rep in story.reps:
        if rep.address not in users:
            users[rep.address] = people.add_user(session, team_id, rep.address, name=rep.name, role=Role(rep.role))
        users[rep.address].time_zone = rep.time_zone
    return users


def _box(session: Session, users: Mapping[str, User], story: Story, told: Box, now: datetime) -> None:
    owner = users[told.owner]
    viewer = people.viewer_of(owner, "demo")
    pipeline = next(one for one in pipelines.of_team(session, owner.team_id) if one.name == told.pipeline)
    way = _way(pipeline, told)
    made = [
        contacts.ensure(session, viewer, address)
        for contact in told.contacts
        for address in parse_addresses([f'"{story.person(contact).name}" <{contact}>'])
    ]
    for contact in made:
        if contact.organization is not None:  # the guess from the domain gives way to what the story calls it
            contact.organization.name = story.person(contact.addresses[0].address).organization.name
    by_name = {one.name: one for one in fields.of_pipeline(session, pipeline.id)}
    box = boxes.create(
        session,
        viewer,
        pipeline,
        told.name,
        stage=way[0],
        contacts=made,
        values={by_name[name]: _value(session, viewer, by_name[name], value, now)
                for name, value in told.fields.items()},
        now=now - timedelta(days=told.created_days),
    )  # fmt: skip
    pause = timedelta(days=told.created_days - told.stage_days) / max(1, len(way) - 1)
    for number, stage in enumerate(way[1:], 1):
        boxes.move(session, viewer, box, stage, now=box.created_at + number * pause)


def _way(pipeline: Pipeline, told: Box) -> list[Stage]:
    """The stages that a box went through, the present one last; only that one if it began there."""
    last = next(one for one in pipeline.stages if one.name == told.stage)
    if told.stage_days == told.created_days:
        return [last]
    return [one for one in pipeline.stages if one.position < last.position and one.kind == Kind.OPEN] + [last]


def _value(session: Session, viewer: people.Viewer, field: fields.Field, value: Any, now: datetime) -> Any:
    """A value of the story as a field takes it."""
    if isinstance(value, Money):
        return {"amount": value.amount, "currency": value.currency}
    if isinstance(value, Days):
        return (now + timedelta(days=value.count)).date().isoformat()
    if field.type == fields.FieldType.ORGANIZATION:
        return contacts.organization_named(session, viewer.team_id, str(value)).key
    return value


def _connect(rooms: Rooms, address: str, granted: Mapping[str, Any]) -> None:
    with transaction(rooms.sessions) as session:
        user = people.by_address(session, address)
        assert user is not None
        sealed = rooms.gmail.vault.seal(oauth.authorized_user(granted))
        mailbox = mailboxes.connect(session, user, address, sealed, rooms.gmail.now())
    sync.wake(rooms.jobs, mailbox.id)
