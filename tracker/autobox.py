"""Autobox: the rules that file conversations, offer new boxes, and move boxes along by their mail."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import and_, delete, or_, select, union_all
from sqlalchemy.orm import Session

from tracker import boxes, contacts, filing, people
from tracker.addresses import Address, domain_of, organization_domain, person_name
from tracker.boxes import Box, BoxContact
from tracker.contacts import Contact, ContactAddress, OrganizationDomain
from tracker.conversations import Conversation
from tracker.filing import DISMISSED, FILED, REMOVED, SUGGESTED, Decision, Filing
from tracker.messages import Message, Recipient
from tracker.people import Viewer
from tracker.pipelines import Kind, NewConversation, Pipeline, Stage
from tracker.signatures import phone_numbers

BY_CONTACT, BY_DOMAIN, BY_FIRST_MAIL, BY_MAIL = "contact", "domain", "first mail", "mail"


@dataclass(slots=True)
class Gathered:
    """What the rules look at, read in a handful of queries for many conversations at once."""

    own: frozenset[str]
    #: conversation → normalized outside address → as written, from mail that people wrote
    outside: dict[int, dict[str, Address]] = field(default_factory=lambda: defaultdict(dict))
    #: conversation → its decisions
    decisions: dict[int, list[Filing]] = field(default_factory=dict)


def consider(
    session: Session, team_id: int, conversation_ids: Iterable[int], *, connected_at: datetime, now: datetime
) -> None:
    """Let the rules look at conversations in which there is new mail.

    `connected_at` is when the mailbox was connected: for older mail a new box is offered, never made.
    """
    ids = sorted(set(conversation_ids))
    if not ids:
        return
    viewer = people.system_viewer(team_id, "filing")
    gathered = _gather(session, team_id, ids)
    decisions = _match_boxes(session, team_id, gathered)
    filing.decide_by_rule(session, team_id, decisions, viewer)
    _offer_new_boxes(session, viewer, gathered, ids, connected_at, now)


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
        consider(session, box.team_id, _with_addresses(session, box.team_id, addresses), connected_at=now, now=now)


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


def _gather(session: Session, team_id: int, ids: Sequence[int]) -> Gathered:
    gathered = Gathered(own=people.own_addresses(session, team_id))
    written = and_(Message.conversation_id.in_(ids), Message.automatic.is_(None))
    senders = select(
        Message.conversation_id, Message.sender_name, Message.sender_address, Message.sender_normalized
    ).where(written)
    recipients = (
        select(Message.conversation_id, Recipient.name, Recipient.address, Recipient.normalized)
        .join(Recipient, Recipient.message_id == Message.id)
        .where(written, Recipient.kind != "reply-to")
    )
    for conversation_id, name, address, normalized in session.execute(union_all(senders, recipients)):
        if normalized and normalized not in gathered.own:
            gathered.outside[conversation_id].setdefault(normalized, Address(name, address, normalized))
    gathered.decisions = filing.of_conversations(session, ids)
    return gathered


def _match_boxes(session: Session, team_id: int, gathered: Gathered) -> list[Decision]:
    addresses = {address for found in gathered.outside.values() for address in found}
    if not addresses:
        return []
    by_address, by_domain = _open_boxes(session, team_id, addresses)
    decisions: list[Decision] = []
    for conversation_id, outside in gathered.outside.items():
        matches: dict[int, dict[int, tuple[str, str]]] = defaultdict(dict)
        for normalized, address in sorted(outside.items()):
            for box_id, pipeline_id in by_domain.get(organization_domain(normalized) or "", ()):
                reason = f"because {address.address} writes from {domain_of(normalized)}, this box's organization"
                matches[pipeline_id].setdefault(box_id, (BY_DOMAIN, reason))
        for normalized, address in sorted(outside.items(), reverse=True):
            for box_id, pipeline_id in by_address.get(normalized, ()):
                matches[pipeline_id][box_id] = (
                    BY_CONTACT,
                    f"because {address.address} is a contact of this box",
                )
        for pipeline_id, found in matches.items():
            decided = [
                row for row in gathered.decisions.get(conversation_id, ()) if row.pipeline_id == pipeline_id
            ]
            decisions += _choose(conversation_id, pipeline_id, found, decided)
    return decisions


Places = dict[str, list[tuple[int, int]]]


def _open_boxes(session: Session, team_id: int, addresses: set[str]) -> tuple[Places, Places]:
    """Open boxes by their contacts' addresses, and by their organization's domain where the box says so."""
    by_address: Places = defaultdict(list)
    by_domain: Places = defaultdict(list)
    query = (
        select(ContactAddress.normalized, Box.id, Box.pipeline_id)
        .join(BoxContact, BoxContact.contact_id == ContactAddress.contact_id)
        .join(Box, Box.id == BoxContact.box_id)
        .join(Stage, Stage.id == Box.stage_id)
        .where(ContactAddress.team_id == team_id, ContactAddress.normalized.in_(addresses), boxes.is_open())
    )
    for normalized, box_id, pipeline_id in session.execute(query.order_by(Box.id)):
        by_address[normalized].append((box_id, pipeline_id))
    domains = {organization_domain(address) for address in addresses} - {None}
    of_domain = (
        select(OrganizationDomain.domain, Box.id, Box.pipeline_id)
        .join(Box, Box.organization_id == OrganizationDomain.organization_id)
        .join(Stage, Stage.id == Box.stage_id)
        .where(
            OrganizationDomain.team_id == team_id,
            OrganizationDomain.domain.in_(domains),
            Box.autobox_domain,
            boxes.is_open(),
        )
    )
    for domain, box_id, pipeline_id in session.execute(of_domain.order_by(Box.id)):
        by_domain[domain].append((box_id, pipeline_id))
    return by_address, by_domain


def _choose(
    conversation_id: int, pipeline_id: int, found: dict[int, tuple[str, str]], decided: Sequence[Filing]
) -> list[Decision]:
    """One match is filed, several are suggested; none where the conversation has its place in the pipeline."""
    if any(row.state == FILED for row in decided):
        return []
    declined = {row.box_id for row in decided if row.state in (REMOVED, DISMISSED)}
    state = FILED if len(found) == 1 else SUGGESTED
    return [
        Decision(conversation_id, box_id, pipeline_id, state, rule, reason)
        for box_id, (rule, reason) in found.items()
        if box_id not in declined
    ]


def _offer_new_boxes(
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
            _offer(session, viewer, pipeline, first, strangers, connected_at, now)


def _first_messages(session: Session, ids: Sequence[int]) -> Sequence[Message]:
    query = (
        select(Message)
        .where(Message.conversation_id.in_(ids))
        .distinct(Message.conversation_id)
        .order_by(Message.conversation_id, Message.sent_at, Message.id)
    )
    return [message for message in session.scalars(query) if message.automatic is None]


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
    """A name and contacts for a new box made from a conversation, from what the mail says.

    The contacts are made (with the organization of their domain and the phone number in their signature) for
    the rep to correct.
    """
    gathered = _gather(session, viewer.team_id, [conversation.id])
    outside = gathered.outside.get(conversation.id, {})
    texts: dict[str, str] = {}
    query = select(Message.sender_normalized, Message.text).where(Message.conversation_id == conversation.id)
    for sender, words in session.execute(query.order_by(Message.sent_at)):
        texts[sender] = words
    made = []
    for normalized, address in outside.items():
        phones = phone_numbers(texts.get(normalized, ""), _region(normalized))
        made.append(contacts.ensure(session, viewer, address, phone=phones[0] if phones else ""))
    return _box_name(made, outside, conversation), made


def _region(normalized: str) -> str | None:
    """A guess at the country of a phone number without a prefix: the address's country domain (ISO 3166)."""
    suffix = domain_of(normalized).rsplit(".", 1)[-1]
    return {"uk": "GB"}.get(suffix, suffix.upper()) if len(suffix) == 2 else None


def _box_name(made: Sequence[Contact], outside: dict[str, Address], conversation: Conversation) -> str:
    if not made:
        return conversation.subject or "New box"
    first = made[0]
    if first.organization is not None:
        return f"{first.organization.name} – {first.name}"
    return first.name or person_name(next(iter(outside.values())))


def new_box(
    session: Session,
    viewer: Viewer,
    pipeline: Pipeline,
    conversation: Conversation,
    *,
    name: str = "",
    now: datetime,
) -> Box:
    """A person makes a new box from a conversation, which is filed in it."""
    drafted, made = draft_box(session, viewer, conversation)
    box = boxes.create(
        session,
        viewer,
        pipeline,
        name.strip() or drafted,
        stage=_stage_by_mail(session, pipeline, conversation),
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


def _stage_by_mail(session: Session, pipeline: Pipeline, conversation: Conversation) -> Stage | None:
    """The stage that the mail there is already speaks for, in a pipeline that moves itself."""
    if not pipeline.moves_itself:
        return None
    own = people.own_addresses(session, pipeline.team_id)
    query = select(Message.sender_normalized).where(
        Message.conversation_id == conversation.id, Message.automatic.is_(None), ~Message.auto_reply
    )
    senders = set(session.scalars(query))
    signs = {"answer" if sender not in own else "sent" for sender in senders}
    stages = [stage for stage in pipeline.stages if stage.enters_on in signs and stage.kind == Kind.OPEN]
    return stages[-1] if stages else None


def move_by_mail(session: Session, team_id: int, message_ids: Sequence[int], now: datetime) -> None:
    """New mail moves boxes of pipelines that move themselves: forward only, and saying why.

    Mail older than the box's last move says nothing new; an automatic reply is no answer.
    """
    viewer = people.system_viewer(team_id, "filing")
    own = people.own_addresses(session, team_id)
    recipient = (
        select(Recipient.normalized.label("address")).where(
            Recipient.message_id == Message.id, Recipient.kind != "reply-to"
        )
    ).correlate(Message)
    correspondent = or_(
        ContactAddress.normalized == Message.sender_normalized, ContactAddress.normalized.in_(recipient)
    )
    query = (
        select(Message, Box, ContactAddress.address, ContactAddress.normalized)
        .join(Filing, and_(Filing.conversation_id == Message.conversation_id, Filing.state == FILED))
        .join(Box, Box.id == Filing.box_id)
        .join(Stage, Stage.id == Box.stage_id)
        .join(Pipeline, Pipeline.id == Box.pipeline_id)
        .join(BoxContact, BoxContact.box_id == Box.id)
        .join(ContactAddress, ContactAddress.contact_id == BoxContact.contact_id)
        .where(
            Message.id.in_(message_ids),
            Message.automatic.is_(None),
            ~Message.auto_reply,
            Message.sent_at > Box.stage_entered_at,
            Pipeline.moves_itself,
            boxes.is_open(),
            correspondent,
        )
        .order_by(Message.sent_at, Message.id, Box.id, ContactAddress.id)
    )
    for message, box, address, normalized in session.execute(query).all():
        _move_one(session, viewer, message, box, address, normalized, own, now)


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
        boxes.move(session, viewer, box, target, now=min(message.sent_at, now), why=why, rule=BY_MAIL)
    except boxes.BoxConflict:
        session.refresh(box)  # a person moved it at this very moment: their word stands
