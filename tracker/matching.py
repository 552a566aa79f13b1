"""Matching: which boxes a conversation's people speak for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, and_, select, union_all
from sqlalchemy.orm import Session

from tracker import boxes, filing
from tracker.addresses import Address, organization_domain
from tracker.boxes import Box, BoxContact
from tracker.contacts import ContactAddress, OrganizationDomain
from tracker.db import among
from tracker.filing import DISMISSED, FILED, REMOVED, SUGGESTED, Decision, Filing
from tracker.messages import Message, Recipient
from tracker.pipelines import Stage

BY_CONTACT, BY_DOMAIN = "contact", "domain"

Places = dict[str, list[tuple[int, int]]]
#: pipeline → box → rule and reason
Matches = dict[int, dict[int, tuple[str, str]]]


@dataclass(slots=True)
class Gathered:
    """What the rules look at, read in a handful of queries for many conversations at once."""

    own: Container[str]  #: the team's own addresses
    #: conversation → normalized outside address → as written, from mail that people wrote
    outside: dict[int, dict[str, Address]] = field(default_factory=lambda: defaultdict(dict))
    #: conversation → its decisions
    decisions: dict[int, list[Filing]] = field(default_factory=dict)


def gather(session: Session, own: Container[str], ids: Sequence[int], readable: ColumnElement[bool]) -> Gathered:
    """What the rules look at, of mail for which `readable` holds: see `tracker.sharing`."""
    gathered = Gathered(own)
    written = and_(among(Message.conversation_id, ids), Message.automatic.is_(None), readable)
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
    gathered.decisions = _standing(session, filing.of_conversations(session, ids))
    return gathered


def _standing(session: Session, decisions: Mapping[int, Sequence[Filing]]) -> dict[int, list[Filing]]:
    """Decisions without those about deleted boxes: such a box keeps nothing from being filed elsewhere."""
    ids = {row.box_id for rows in decisions.values() for row in rows if row.box_id is not None}
    deleted = select(Box.id).where(among(Box.id, ids), Box.deleted_at.is_not(None))
    gone = set(session.scalars(deleted)) if ids else set()
    return {key: [row for row in rows if row.box_id not in gone] for key, rows in decisions.items()}


def match_boxes(session: Session, team_id: int, gathered: Gathered) -> list[Decision]:
    addresses = {address for found in gathered.outside.values() for address in found}
    if not addresses:
        return []
    by_address, by_domain = _open_boxes(session, team_id, addresses)
    decisions: list[Decision] = []
    for conversation_id, outside in gathered.outside.items():
        for pipeline_id, found in _matches(outside, by_address, by_domain).items():
            known = gathered.decisions.get(conversation_id, ())
            decided = [row for row in known if row.pipeline_id == pipeline_id]
            decisions += _choose(conversation_id, pipeline_id, found, decided)
    return decisions


def _matches(outside: Mapping[str, Address], by_address: Places, by_domain: Places) -> Matches:
    """The boxes that a conversation's people speak for; a contact is a better reason than a domain."""
    found: Matches = defaultdict(dict)
    for normalized, address in sorted(outside.items()):
        domain = organization_domain(normalized) if by_domain else None
        for box_id, pipeline_id in by_domain.get(domain or "", ()):
            reason = f"because {address.address} is at {domain}, the domain of this box's organization"
            found[pipeline_id].setdefault(box_id, (BY_DOMAIN, reason))
    for normalized, address in sorted(outside.items(), reverse=True):
        for box_id, pipeline_id in by_address.get(normalized, ()):
            found[pipeline_id][box_id] = (BY_CONTACT, f"because {address.address} is a contact of this box")
    return found


def _open_boxes(session: Session, team_id: int, addresses: set[str]) -> tuple[Places, Places]:
    """Open boxes by their contacts' addresses, and by their organization's domain where the box says so."""
    by_address: Places = defaultdict(list)
    by_domain: Places = defaultdict(list)
    query = (
        select(ContactAddress.normalized, Box.id, Box.pipeline_id)
        .join(BoxContact, BoxContact.contact_id == ContactAddress.contact_id)
        .join(Box, Box.id == BoxContact.box_id)
        .join(Stage, Stage.id == Box.stage_id)
        .where(ContactAddress.team_id == team_id, among(ContactAddress.normalized, addresses), boxes.is_open())
    )
    for normalized, box_id, pipeline_id in session.execute(query.order_by(Box.id)):
        by_address[normalized].append((box_id, pipeline_id))
    by_domains = select(Box.id).where(Box.team_id == team_id, Box.autobox_domain).limit(1)
    if session.scalar(by_domains) is None:
        return by_address, by_domain
    domains = {domain for address in addresses if (domain := organization_domain(address))}
    of_domain = (
        select(OrganizationDomain.domain, Box.id, Box.pipeline_id)
        .join(Box, Box.organization_id == OrganizationDomain.organization_id)
        .join(Stage, Stage.id == Box.stage_id)
        .where(
            OrganizationDomain.team_id == team_id,
            among(OrganizationDomain.domain, domains),
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
