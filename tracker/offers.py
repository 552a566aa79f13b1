"""Offers: new boxes, offered or made from conversations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import literal, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, load_only

from tracker import boxes, contacts, filing, organizations, ours, people
from tracker.addresses import Address, domain_of, person_name
from tracker.boxes import Box
from tracker.contacts import Contact
from tracker.conversations import Conversation
from tracker.db import among
from tracker.filing import FILED, SUGGESTED, Decision
from tracker.matching import Gathered, gather
from tracker.messages import Message
from tracker.people import Viewer
from tracker.pipelines import NewConversation, Pipeline
from tracker.sharing import may_read, whole_in
from tracker.signatures import phone_numbers

BY_FIRST_MAIL = "first mail"


def offer_new_boxes(
    session: Session,
    viewer: Viewer,
    gathered: Gathered,
    ids: Sequence[int],
    connected_at: datetime,
    now: datetime,
) -> None:
    """A conversation that somebody of the team began with an unknown person offers a new box."""
    query = select(Pipeline).where(
        Pipeline.team_id == viewer.team_id,
        Pipeline.archived_at.is_(None),
        Pipeline.new_conversation != NewConversation.OFF.value,
    )
    offering = session.scalars(query.order_by(Pipeline.position)).all()
    if not offering:
        return
    addresses = {address for found in gathered.outside.values() for address in found}
    known = contacts.known(session, viewer.team_id, addresses)
    for first in _first_messages(session, ids):
        outside = gathered.outside.get(first.conversation_id, {})
        strangers = [address for normalized, address in outside.items() if normalized not in known]
        if first.sender_normalized not in gathered.own or not strangers or len(strangers) < len(outside):
            continue
        for pipeline in offering:
            if not _shared(session, first, pipeline):
                continue  # a box, a contact, an offer would tell others of mail that they may not read
            _offer(session, viewer, pipeline, first, strangers, connected_at, now)


def _shared(session: Session, first: Message, pipeline: Pipeline) -> bool:
    query = select(Message.id).where(Message.id == first.id, whole_in(literal(pipeline.id)))
    return session.scalar(query) is not None


def _first_messages(session: Session, ids: Sequence[int]) -> Sequence[Message]:
    columns = (
        Message.conversation_id,
        Message.sent_at,
        Message.sender_address,
        Message.sender_normalized,
        Message.automatic,
        Message.is_reply,
    )
    query = (
        select(Message)
        .options(load_only(*columns))
        .where(among(Message.conversation_id, ids))
        .ext(distinct_on(Message.conversation_id))
        .order_by(Message.conversation_id, Message.sent_at, Message.id)
    )
    # A reply whose beginning is not here (older than what is read) was not the first word.
    return [message for message in session.scalars(query) if message.automatic is None and not message.is_reply]


def _offer(
    session: Session,
    viewer: Viewer,
    pipeline: Pipeline,
    first: Message,
    strangers: Sequence[Address],
    connected_at: datetime,
    now: datetime,
) -> None:
    decided = filing.of_conversations(session, [first.conversation_id])[first.conversation_id]
    if any(row.pipeline_id == pipeline.id for row in decided):
        return
    reason = f"because {first.sender_address} wrote first to {strangers[0].address}, who is in no box yet"
    if pipeline.new_conversation == NewConversation.CREATE and first.sent_at >= connected_at:
        conversation = session.get_one(Conversation, first.conversation_id)
        _make_box(session, viewer, pipeline, conversation, strangers[:1], reason, now)
        return
    offer = Decision(first.conversation_id, None, pipeline.id, SUGGESTED, BY_FIRST_MAIL, reason)
    filing.decide_by_rule(session, viewer.team_id, [offer], viewer)


def _make_box(
    session: Session,
    viewer: Viewer,
    pipeline: Pipeline,
    conversation: Conversation,
    addresses: Sequence[Address],
    reason: str,
    now: datetime,
) -> Box:
    people_ = [contacts.ensure(session, viewer, address) for address in addresses]
    box = boxes.create(session, viewer, pipeline, people_[0].name, contacts=people_, now=now, why=reason)
    box.owner_id = _owner(session, conversation)
    decision = Decision(conversation.id, box.id, pipeline.id, FILED, BY_FIRST_MAIL, reason)
    filing.decide_by_rule(session, viewer.team_id, [decision], viewer)
    return box


def _owner(session: Session, conversation: Conversation) -> int | None:
    """Whoever of the team wrote first."""
    query = (
        select(people.OwnAddress.user_id)
        .join(Message, Message.sender_normalized == people.OwnAddress.normalized)
        .where(Message.conversation_id == conversation.id, people.OwnAddress.team_id == conversation.team_id)
        .order_by(Message.sent_at)
    )
    return session.scalar(query.limit(1))


def draft_box(session: Session, viewer: Viewer, conversation: Conversation) -> tuple[str, list[Contact]]:
    """A name and contacts for a new box made from a conversation, from what the viewer may read of its mail.

    The contacts are made (with the organization of their domain and the phone number in their signature) for
    the rep to correct.
    """
    own = ours.of_team(session, viewer.team_id)
    gathered = gather(session, own, [conversation.id], may_read(viewer))
    outside = gathered.outside.get(conversation.id, {})
    texts: dict[str, str] = {}
    subject = ""
    query = select(Message.sender_normalized, Message.text, Message.subject).where(
        Message.conversation_id == conversation.id, may_read(viewer)
    )
    for sender, words, title in session.execute(query.order_by(Message.sent_at)):
        texts[sender] = words
        subject = subject or title
    made = []
    for normalized, address in outside.items():
        phones = phone_numbers(texts.get(normalized, ""), _region(normalized))
        made.append(contacts.ensure(session, viewer, address, phone=phones[0] if phones else ""))
    return _box_name(made, outside, subject), made


def name_of(session: Session, viewer: Viewer, conversation: Conversation) -> str:
    """What `draft_box` would call a box made from a conversation; nothing is made, for a form that proposes it."""
    own = ours.of_team(session, viewer.team_id)
    gathered = gather(session, own, [conversation.id], may_read(viewer))
    first = next(iter(gathered.outside.get(conversation.id, {}).values()), None)
    if first is None:
        query = select(Message.subject).where(
            Message.conversation_id == conversation.id, Message.subject != "", may_read(viewer)
        )
        return session.scalar(query.order_by(Message.sent_at).limit(1)) or "New box"
    contact = contacts.by_address(session, viewer.team_id, first.normalized)
    if contact is not None:
        return _of_contact(contact, first)
    organization = organizations.name_at(session, viewer.team_id, first.normalized)
    return f"{organization} – {person_name(first)}" if organization else person_name(first)


def _region(normalized: str) -> str | None:
    """A guess at the country of a phone number without a prefix: the address's country domain (ISO 3166)."""
    suffix = domain_of(normalized).rsplit(".", 1)[-1]
    return {"uk": "GB"}.get(suffix, suffix.upper()) if len(suffix) == 2 else None


def _box_name(made: Sequence[Contact], outside: dict[str, Address], subject: str) -> str:
    if not made:
        return subject or "New box"
    return _of_contact(made[0], next(iter(outside.values())))


def _of_contact(contact: Contact, address: Address) -> str:
    name = contact.name or person_name(address)
    return f"{contact.organization.name} – {name}" if contact.organization is not None else name
