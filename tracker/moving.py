"""Moving by mail: new mail moves boxes of pipelines that move themselves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, func, literal, or_, select
from sqlalchemy.orm import Session

from tracker import boxes, ours, people
from tracker.boxes import Box, BoxContact
from tracker.contacts import ContactAddress
from tracker.conversations import Conversation
from tracker.db import among
from tracker.filing import FILED, Filing
from tracker.messages import Copy, Message, Recipient
from tracker.people import Viewer
from tracker.pipelines import Kind, Pipeline, Stage
from tracker.sharing import whole_in

BY_MAIL = "mail"


def move_by_mail(
    session: Session, team_id: int, own: frozenset[str], message_ids: Sequence[int], now: datetime
) -> None:
    """New mail moves boxes of pipelines that move themselves: forward only, and saying why.

    Mail older than the box's last move says nothing new; an automatic reply is no answer.
    """
    viewer = people.system_viewer(team_id, "filing")
    recipient = (
        select(Recipient.normalized.label("address")).where(
            Recipient.message_id == Message.id, Recipient.kind != "reply-to"
        )
    ).correlate(Message)
    correspondent = or_(
        ContactAddress.normalized == Message.sender_normalized, ContactAddress.normalized.in_(recipient)
    )
    # By Gmail's clock: the sender's may be minutes slow.
    arrived = (
        select(func.min(Copy.internal_date)).where(Copy.message_id == Message.id).correlate(Message)
    ).scalar_subquery()
    query = (
        select(Message, Box, ContactAddress.address, ContactAddress.normalized, arrived)
        .join(Filing, and_(Filing.conversation_id == Message.conversation_id, Filing.state == FILED))
        .join(Box, Box.id == Filing.box_id)
        .join(Stage, Stage.id == Box.stage_id)
        .join(Pipeline, Pipeline.id == Box.pipeline_id)
        .join(BoxContact, BoxContact.box_id == Box.id)
        .join(ContactAddress, ContactAddress.contact_id == BoxContact.contact_id)
        .where(
            among(Message.id, message_ids),
            Message.automatic.is_(None),
            ~Message.auto_reply,
            arrived > Box.stage_entered_at,
            Pipeline.moves_itself,
            boxes.is_open(),
            correspondent,
            whole_in(Pipeline.id, Pipeline),
        )
        .order_by(Message.sent_at, Message.id, Box.id, ContactAddress.id)
    )
    for message, box, address, normalized, at in session.execute(query).all():
        _move_one(session, viewer, message, box, address, normalized, own, min(at, now))


def _move_one(
    session: Session,
    viewer: Viewer,
    message: Message,
    box: Box,
    address: str,
    normalized: str,
    own: frozenset[str],
    now: datetime,
) -> None:
    if normalized == message.sender_normalized:
        sign, why = "answer", f"because {address} answered"
    elif message.sender_normalized in own:
        sign, why = "sent", f"because {message.sender_address} wrote to {address}"
    else:
        return
    target = next((stage for stage in box.pipeline.stages if stage.enters_on == sign), None)
    if target is None or target.position <= box.stage.position or target.kind != Kind.OPEN:
        return
    try:
        boxes.move(session, viewer, box, target, now=now, why=why, rule=BY_MAIL)
    except boxes.BoxConflict:
        session.refresh(box)  # a person moved it at this very moment: their word stands


def stage_by_mail(session: Session, pipeline: Pipeline, conversation: Conversation) -> Stage | None:
    """The stage that the mail there is already speaks for, in a pipeline that moves itself."""
    if not pipeline.moves_itself:
        return None
    own = ours.of_team(session, pipeline.team_id)
    query = select(Message.sender_normalized).where(
        Message.conversation_id == conversation.id,
        Message.automatic.is_(None),
        ~Message.auto_reply,
        whole_in(literal(pipeline.id)),
    )
    senders = set(session.scalars(query))
    signs = {"answer" if sender not in own else "sent" for sender in senders}
    stages = [stage for stage in pipeline.stages if stage.enters_on in signs and stage.kind == Kind.OPEN]
    return stages[-1] if stages else None
