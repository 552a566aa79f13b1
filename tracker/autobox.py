"""Autobox: lets the rules look at conversations; each decision is written down with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from sqlalchemy import delete, select, union_all
from sqlalchemy.orm import Session

from tracker import boxes, filing, matching, moving, offers, ours, people
from tracker.boxes import Box, BoxContact
from tracker.contacts import ContactAddress
from tracker.conversations import Conversation
from tracker.db import everything
from tracker.filing import Filing
from tracker.messages import Message, Recipient
from tracker.people import Viewer
from tracker.pipelines import Pipeline, Stage
from tracker.sharing import not_private


def consider(
    session: Session,
    team_id: int,
    own: frozenset[str],
    conversation_ids: Iterable[int],
    *,
    connected_at: datetime,
    now: datetime,
) -> None:
    """Let the rules look at conversations in which there is new mail.

    `own` are the team's addresses; `connected_at` is when the mailbox was connected: for older mail a new box is
    offered, never made.
    """
    ids = sorted(set(conversation_ids))
    if not ids:
        return
    known = ours.of_team(session, team_id)
    known = replace(known, addresses=known.addresses | own)
    viewer = people.system_viewer(team_id, "filing")
    with everything(session):
        gathered = matching.gather(session, known, ids, not_private())
        decisions = matching.match_boxes(session, team_id, gathered)
        filing.decide_by_rule(session, team_id, decisions, viewer)
        offers.offer_new_boxes(session, viewer, gathered, ids, connected_at, now)


def consider_box(session: Session, box: Box, now: datetime) -> None:
    """Let the rules look at older conversations with the contacts of a box that is new or has a new contact."""
    addresses = set(
        session.scalars(
            select(ContactAddress.normalized)
            .join(BoxContact, BoxContact.contact_id == ContactAddress.contact_id)
            .where(BoxContact.box_id == box.id)
        )
    )
    if addresses:
        own = people.own_addresses(session, box.team_id)
        found = _with_addresses(session, box.team_id, addresses)
        consider(session, box.team_id, own, found, connected_at=now, now=now)


def _with_addresses(session: Session, team_id: int, addresses: set[str]) -> set[int]:
    sent = select(Message.conversation_id).where(
        Message.team_id == team_id, Message.sender_normalized.in_(addresses)
    )
    received = (
        select(Message.conversation_id)
        .join(Recipient, Recipient.message_id == Message.id)
        .where(Recipient.team_id == team_id, Recipient.normalized.in_(addresses))
    )
    return set(session.scalars(union_all(sent, received)))


def new_box(
    session: Session,
    viewer: Viewer,
    pipeline: Pipeline,
    conversation: Conversation,
    *,
    name: str = "",
    stage: Stage | None = None,
    now: datetime,
) -> Box:
    """A person makes a new box from a conversation, which is filed in it.

    Without a `stage` it begins in the one that the conversation's mail speaks for.
    """
    drafted, made = offers.draft_box(session, viewer, conversation)
    box = boxes.create(
        session,
        viewer,
        pipeline,
        name.strip() or drafted,
        stage=stage or moving.stage_by_mail(session, pipeline, conversation),
        contacts=made,
        now=now,
    )
    filing.file(session, viewer, conversation, box, "because the box was made from it")
    session.execute(
        delete(Filing).where(
            Filing.conversation_id == conversation.id, Filing.pipeline_id == pipeline.id, Filing.box_id.is_(None)
        )
    )
    consider_box(session, box, now)
    return box
