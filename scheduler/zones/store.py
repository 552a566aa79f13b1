"""What is stored of where contacts are, and what their zones are worked out from. A fixed number of queries."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ForeignKey, Text, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from scheduler.zones import calendars as zone_calendars
from scheduler.zones import places as zone_places
from scheduler.zones.evidence import Known
from scheduler.zones.offsets import Sighting
from tracker import phones, signatures
from tracker.addresses import domain_of
from tracker.contacts import Contact, ContactAddress
from tracker.db import Base, OfTeam, among
from tracker.organizations import Organization

SINCE = timedelta(days=730)  #: two years have two winters
EACH = 40  #: newest mails of which each is looked at; of those before, one a week and offset
MANY = 500  #: sightings of one person
RECENT = 1_000  #: newest mails of an address, machines' too, among which all this is looked for
A_WEEK = 20  #: newest of each week before those; the offsets of whoever writes more are told by these
SIGNED = 3  #: newest mails whose signatures are read
INVITED = 5  #: newest invitations that are read
_TEXT, _CALENDAR = 30_000, 65_536  # characters


class ContactZone(OfTeam, Base):
    """Where a contact is. What was set by hand stands before what was inferred, which is kept beside it."""

    __tablename__ = "contact_zones"

    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True)
    set_zone: Mapped[str | None]  #: IANA name, set by hand
    set_by: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    set_at: Mapped[datetime | None]
    zone: Mapped[str | None]  #: IANA name, inferred; None where nothing says it
    confidence: Mapped[str | None]
    country: Mapped[str | None]
    evidence: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'::jsonb"))  #: [[kind, words], …]
    basis: Mapped[str] = mapped_column(server_default="")  #: digest of what it was worked out from, see `Person`
    computed_at: Mapped[datetime]


@dataclass(slots=True)
class Person:
    """Somebody whose zone is asked for: a contact, or an address that is nobody's yet (with the id 0)."""

    id: int
    team_id: int
    key: str = ""
    location: str = ""
    phone: str = ""
    organization_id: int | None = None
    organization: str = ""  #: where it is
    addresses: list[str] = field(default_factory=list)  #: in their normal form, the main one first
    newest: int = 0  #: the id of their newest message

    @property
    def basis(self) -> str:
        """A digest of what the zone is worked out from: another one, and it has to be worked out again."""
        told = (self.location, self.phone, self.organization_id, self.organization, self.addresses, self.newest)
        return hashlib.sha256(repr(told).encode("utf-8", "replace")).hexdigest()[:32]


def people(session: Session, contact_ids: Iterable[int]) -> dict[int, Person]:
    """These contacts. Three queries."""
    ids = set(contact_ids)
    query = (
        select(Contact, Organization.location)
        .outerjoin(Organization, Organization.id == Contact.organization_id)
        .where(among(Contact.id, ids))
    )
    columns = query.with_only_columns(
        Contact.id, Contact.team_id, Contact.key, Contact.location, Contact.phone, Contact.organization_id,
        Organization.location,
    )  # fmt: skip
    found = {row[0]: Person(*row[:6], row[6] or "") for row in session.execute(columns)}
    addresses = select(ContactAddress.contact_id, ContactAddress.normalized).where(
        among(ContactAddress.contact_id, ids)
    )
    for contact_id, normalized in session.execute(addresses.order_by(ContactAddress.id)):
        if contact_id in found:
            found[contact_id].addresses.append(normalized)
    note_newest(session, found.values())
    return found


_PEOPLE = """
    WITH people AS (
      SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:teams AS bigint[]), CAST(:addresses AS text[]))
      AS p(id, team_id, address)
    )
"""
# Whoever wrote tens of thousands of mails is known by the newest of them, and by a few of each week before.
_NEW = """
    SELECT g.* FROM messages g WHERE g.team_id = p.team_id AND g.sender_normalized = p.address
    AND g.sent_at BETWEEN {since} AND {until} ORDER BY g.sent_at DESC LIMIT {limit}
"""
_LATELY = _NEW.format(since=":since", until=":until", limit=RECENT)
_OF_A_WEEK = _NEW.format(since="week", until="least(week + interval '1 week', p.until)", limit=A_WEEK)
# A machine's mail is no evidence; what a person answers through a mailing list is.
_BY_A_PERSON = """
    NOT m.auto_reply AND EXISTS (SELECT 1 FROM copies h WHERE h.message_id = m.id AND NOT h.hidden)
    AND (m.automatic IS NULL
         OR m.is_reply AND (m.automatic LIKE 'List-%' OR m.automatic ~ '^Precedence: (list|bulk)$'))
"""
_NEWEST = text(
    f"""{_PEOPLE}
    SELECT p.id, max(m.id) FROM people p
    JOIN messages m ON m.team_id = p.team_id AND m.sender_normalized = p.address GROUP BY p.id"""  # noqa: S608
)
_SIGHTINGS = text(
    f"""{_PEOPLE}, recent AS (
      SELECT p.*, m.id AS message_id, m.sent_at FROM people p CROSS JOIN LATERAL ({_LATELY}) m
    ), many AS (
      SELECT id, team_id, address, min(sent_at) AS until FROM recent GROUP BY 1, 2, 3 HAVING count(*) = {RECENT}
    ), looked_at AS (
      SELECT id, message_id FROM recent
      UNION
      SELECT p.id, m.id FROM many p CROSS JOIN generate_series(:since, p.until, interval '1 week') AS week
      CROSS JOIN LATERAL ({_OF_A_WEEK}) m
    ), mails AS (
      SELECT l.id, m.sent_at, m.utc_offset, row_number() OVER (PARTITION BY l.id ORDER BY m.sent_at DESC) AS rank,
             row_number() OVER (PARTITION BY l.id, date_trunc('week', m.sent_at), m.utc_offset
                                ORDER BY m.sent_at DESC) AS of_week
      FROM looked_at l JOIN messages m ON m.id = l.message_id
      WHERE m.utc_offset IS NOT NULL AND {_BY_A_PERSON}
    )
    SELECT id, sent_at, utc_offset FROM mails WHERE rank <= {EACH} OR of_week = 1
    ORDER BY sent_at DESC"""  # noqa: S608 - the parts are ours
)
_TEXTS = text(
    f"""{_PEOPLE}, mails AS (
      SELECT p.id, m.id AS message_id, row_number() OVER (PARTITION BY p.id ORDER BY m.sent_at DESC) AS rank
      FROM people p CROSS JOIN LATERAL (
        SELECT m.id, m.sent_at FROM ({_LATELY}) m WHERE {_BY_A_PERSON} ORDER BY m.sent_at DESC LIMIT {SIGNED}
      ) m
    )
    SELECT mails.id, left(m.text, {_TEXT}) FROM mails JOIN messages m ON m.id = mails.message_id
    WHERE rank <= {SIGNED} ORDER BY rank"""  # noqa: S608 - the parts are ours; texts are read of the newest only
)
_CALENDARS = text(
    f"""{_PEOPLE}, mails AS (
      SELECT p.id, m.sent_at, m.calendar, row_number() OVER (PARTITION BY p.id ORDER BY m.sent_at DESC) AS rank
      FROM people p CROSS JOIN LATERAL (
        SELECT m.sent_at, left(c.calendars[1], {_CALENDAR}) AS calendar FROM ({_LATELY}) m
        CROSS JOIN LATERAL (SELECT calendars FROM copies c WHERE c.message_id = m.id AND NOT c.hidden
                              AND cardinality(c.calendars) > 0 LIMIT 1) c
        ORDER BY m.sent_at DESC LIMIT {INVITED}
      ) m
    )
    SELECT id, sent_at, calendar FROM mails WHERE rank <= {INVITED}"""  # noqa: S608 - the parts are ours
)
_COLLEAGUES = text(
    """
    SELECT c.organization_id, c.id, coalesce(z.set_zone, z.zone)
    FROM contact_zones z JOIN contacts c ON c.id = z.contact_id
    WHERE c.organization_id = ANY (CAST(:ids AS bigint[]))
      AND (z.set_zone IS NOT NULL OR z.confidence IN ('sure', 'likely'))
    ORDER BY z.computed_at DESC, c.id LIMIT 5000
    """
)


def _ask(session: Session, question: Any, asked: Iterable[Person], **values: Any) -> Sequence[Any]:
    rows = [(one.id, one.team_id, address) for one in asked for address in one.addresses]
    ids, teams, addresses = ([row[place] for row in rows] for place in range(3))
    bound = question.bindparams(bindparam("addresses", type_=ARRAY(Text())))
    return session.execute(bound, {"ids": ids, "teams": teams, "addresses": addresses, **values}).all()


def note_newest(session: Session, asked: Iterable[Person]) -> None:
    """Note each person's newest message. One query."""
    by_id = {one.id: one for one in asked}
    for id_, newest in _ask(session, _NEWEST, by_id.values()):
        by_id[id_].newest = newest


def known(session: Session, asked: Iterable[Person], now: datetime) -> dict[int, Known]:
    """What is known of these people. Four queries."""
    those = {one.id: one for one in asked}
    span = {"since": now - SINCE, "until": now + timedelta(days=2)}
    sightings: dict[int, list[Sighting]] = defaultdict(list)
    for id_, at, offset in _ask(session, _SIGHTINGS, those.values(), **span):
        if len(sightings[id_]) < MANY:
            sightings[id_].append(Sighting(at, offset))
    texts: dict[int, list[str]] = defaultdict(list)
    for id_, written in _ask(session, _TEXTS, those.values(), **span):
        texts[id_].append(written)
    invitations = defaultdict(list)
    for id_, at, calendar in _ask(session, _CALENDARS, those.values(), **span):
        invitation = zone_calendars.read(calendar)
        if invitation is not None and invitation.organizer in ("", *those[id_].addresses):
            invitations[id_].append((at, invitation))
    colleagues = _colleagues(session, those.values())
    return {
        id_: Known(
            sightings=sightings[id_],
            invitations=invitations[id_],
            phones=_numbers(one, texts[id_]),
            signature="\n".join(map(signatures.signature_block, texts[id_])),
            location=one.location,
            organization=one.organization,
            domains=[domain_of(address) for address in one.addresses],
            colleagues=colleagues.get(id_),
        )
        for id_, one in those.items()
    }


def _numbers(one: Person, texts: Sequence[str]) -> list[str]:
    """The phone numbers of somebody: those that were noted, then those that they sign with."""
    place = next((found for found in map(zone_places.of_domain, map(domain_of, one.addresses)) if found), None)
    region = place.country if place else None
    return [
        *phones.of(one.phone),
        *(number for each in texts for number in signatures.phone_numbers(each, region)),
    ]


def _colleagues(session: Session, asked: Iterable[Person]) -> dict[int, Mapping[str, int]]:
    """How many colleagues of each person are in which zone. One query."""
    of = {one.id: one.organization_id for one in asked if one.organization_id is not None}
    zones: dict[int, dict[int, str]] = defaultdict(dict)
    for organization_id, contact_id, zone in session.execute(_COLLEAGUES, {"ids": list(set(of.values()))}):
        zones[organization_id][contact_id] = zone
    found: dict[int, Mapping[str, int]] = {}
    for id_, organization_id in of.items():
        counts: dict[str, int] = defaultdict(int)
        for contact_id, zone in zones[organization_id].items():
            if contact_id != id_:
                counts[zone] += 1
        found[id_] = dict(counts)
    return found
