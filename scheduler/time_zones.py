"""Whose nine: which time zone a recipient is in, with the evidence, and what somebody set by hand.

What was worked out is kept in `contact_zones` and worked out again when somebody asks and there is a newer mail, a
change of the contact or its organization, or a day gone by. `Round`, from a tick, asks for those whose mail came
in and for everybody in turn, so that what hangs on a zone (`on_change`) follows without anybody looking.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from scheduler.zones import evidence as zone_evidence
from scheduler.zones import places as zone_places
from scheduler.zones import rules as zone_rules
from scheduler.zones import store as zone_store
from scheduler.zones.evidence import Confidence, Evidence, Inferred
from scheduler.zones.store import ContactZone, Person
from tracker import contacts, events, profiles, unions
from tracker.addresses import normalize
from tracker.contacts import Contact, ContactAddress
from tracker.db import among
from tracker.events import Event
from tracker.messages import Message
from tracker.people import User, Viewer

__all__ = [
    "Confidence",
    "Evidence",
    "Inferred",
    "of_address",
    "of_contact",
    "of_contacts",
    "of_strangers",
    "on_change",
    "set_by_hand",
]

KEPT = timedelta(days=1)  #: after which it is worked out again all the same
CHANGED = "contact.zone"  #: the event
_EACH_ROUND = 50
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)

#: Called with (session, contact, where they are now, now) within the transaction that changed it.
Listener = Callable[[Session, int, Inferred, datetime], None]
_listeners: list[Listener] = []


class ZoneError(ValueError):
    """A zone can't be set; the text says what would do."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a contact's zone: what the evidence says (None: nothing), and what somebody set instead."""

    told: Inferred | None
    set_zone: str | None = None
    set_by: str = ""  #: their name
    set_at: datetime | None = None

    @property
    def inferred(self) -> Inferred | None:
        """What holds."""
        if self.set_zone is None:
            return self.told
        when = f" on {zone_evidence.day(self.set_at)}" if self.set_at else ""
        said = Evidence("hand", f"{self.set_by or 'Somebody who left'} set it{when}")
        same = self.told is not None and self.told.zone == self.set_zone
        country = self.told.country if same and self.told else zone_places.country_of([self.set_zone])
        return Inferred(self.set_zone, "sure", (said, *(self.told.evidence if self.told else ())), country)


def on_change(listener: Listener) -> Listener:
    """Have it called, in the transaction, when another zone holds for a contact than was known before."""
    if listener not in _listeners:
        _listeners.append(listener)
    return listener


def of_contact(session: Session, contact_id: int, now: datetime, fallback: str | None = None) -> Inferred:
    """Where a contact is; where nobody knows, the sender's zone (`fallback`, else the team's) as a guess."""
    found = of_contacts(session, [contact_id], now, fallback)
    return found.get(contact_id) or stand_in(fallback or profiles.UNKNOWN)


def of_contacts(
    session: Session, contact_ids: Iterable[int], now: datetime, fallback: str | None = None
) -> dict[int, Inferred]:
    """Where several contacts are, in a fixed number of queries; ids of no contact are left out."""
    standing = look(session, contact_ids, now)
    zone = fallback
    if zone is None and any(one.inferred is None for one in standing.values()):
        zone = _team_zone(session, standing)
    unknown = stand_in(zone or profiles.UNKNOWN, "the sender’s" if fallback else "the team’s")
    return {contact_id: one.inferred or unknown for contact_id, one in standing.items()}


def of_address(session: Session, team_id: int, address: str, now: datetime, fallback: str) -> Inferred:
    """Where the person with an address is, whether a contact has it or not; `fallback` is the sender's zone."""
    normalized = normalize(address)
    holder = contacts.by_address(session, team_id, normalized) if normalized else None
    if holder is not None:
        return of_contact(session, holder.id, now, fallback)
    return of_strangers(session, team_id, [normalized], now, fallback)[normalized]


def of_strangers(
    session: Session, team_id: int, normalized: Iterable[str], now: datetime, fallback: str
) -> dict[str, Inferred]:
    """Where people are whose addresses no contact has, by address; a fixed number of queries, none for nobody."""
    people = [Person(-n, team_id, addresses=[one]) for n, one in enumerate(dict.fromkeys(normalized), 1)]
    known = zone_store.known(session, people, now) if people else {}
    return {one.addresses[0]: zone_evidence.infer(known[one.id], now) or stand_in(fallback) for one in people}


def stand_in(zone: str, whose: str = "the sender’s") -> Inferred:
    """What is taken where nobody knows: somebody's own zone."""
    words = f"There is no sign of where they are, so {whose} own time zone stands in"
    return Inferred(zone, "guess", (Evidence("sender", words),), zone_places.country_of([zone]))


def _team_zone(session: Session, contact_ids: Collection[int]) -> str | None:
    """The zone that most people of the contacts' team chose."""
    team = select(Contact.team_id).where(among(Contact.id, contact_ids)).limit(1).scalar_subquery()
    query = select(User.time_zone).where(User.team_id == team, User.time_zone != profiles.UNKNOWN)
    return session.scalars(query.group_by(User.time_zone).order_by(func.count().desc(), User.time_zone)).first()


def look(session: Session, contact_ids: Iterable[int], now: datetime) -> dict[int, Standing]:
    """What is known of several contacts' zones, worked out again where outdated. A fixed number of queries."""
    people = zone_store.people(session, contact_ids)
    rows = _rows(session, people)
    outdated = [one for one in people.values() if _is_outdated(rows.get(one.id), one, now)]
    if outdated:
        rows |= _work_out(session, outdated, now)
    names = _names(session, {row.set_by for row in rows.values() if row.set_by is not None})
    return {id_: _standing(rows[id_], names) for id_ in people if id_ in rows}


def _rows(session: Session, people: Collection[int], *, lock: bool = False) -> dict[int, ContactZone]:
    query = select(ContactZone).where(among(ContactZone.contact_id, people)).order_by(ContactZone.contact_id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return {row.contact_id: row for row in session.scalars(query)}


def _is_outdated(row: ContactZone | None, person: Person, now: datetime) -> bool:
    return row is None or row.basis != person.basis or not now - KEPT <= row.computed_at <= now + KEPT


def _names(session: Session, ids: Collection[int]) -> dict[int, str]:
    if not ids:
        return {}
    return dict(session.execute(select(User.id, User.name).where(among(User.id, ids))).all())


def _standing(row: ContactZone, names: Mapping[int, str]) -> Standing:
    return Standing(_told(row), row.set_zone, names.get(row.set_by or 0, ""), row.set_at)


def _told(row: ContactZone) -> Inferred | None:
    if row.zone is None or not zone_rules.is_zone(row.zone):
        return None
    confidence: Confidence = "sure" if row.confidence == "sure" else "guess"
    confidence = "likely" if row.confidence == "likely" else confidence
    return Inferred(row.zone, confidence, tuple(Evidence(*one) for one in row.evidence), row.country)


def _work_out(session: Session, people: Sequence[Person], now: datetime) -> dict[int, ContactZone]:
    """Work zones out and keep them. Rows are locked last and in one order, while they are written."""
    known = zone_store.known(session, people, now)
    told = {one.id: zone_evidence.infer(known[one.id], now) for one in people}
    people = sorted(people, key=lambda one: one.id)
    new = _make_rows(session, told, now)
    rows = _rows(session, told, lock=True)
    changed = []
    for one in people:
        row = rows.get(one.id)
        if row is None:
            continue
        before = row.zone
        _keep(row, told[one.id], one.basis, now)
        if one.id not in new and row.set_zone is None and before != row.zone:
            changed.append((one, before, row))
    session.flush()
    _tell(session, changed, now)
    return rows


def _make_rows(session: Session, contact_ids: Collection[int], now: datetime) -> set[int]:
    """Make the rows that are not there yet, of contacts that still are; those that were made."""
    there = select(Contact.id, Contact.team_id, literal(now)).where(among(Contact.id, contact_ids))
    there = there.order_by(Contact.id).with_for_update(key_share=True, read=True)
    made = insert(ContactZone).from_select(["contact_id", "team_id", "computed_at"], there)
    return set(session.scalars(made.on_conflict_do_nothing().returning(ContactZone.contact_id)))


def _keep(row: ContactZone, told: Inferred | None, basis: str, now: datetime) -> None:
    row.zone, row.confidence, row.country = (told.zone, told.confidence, told.country) if told else (None,) * 3
    row.evidence = [[one.kind, one.words] for one in told.evidence] if told else []
    row.basis, row.computed_at = basis, now


def _tell(session: Session, changed: Sequence[tuple[Person, str | None, ContactZone]], now: datetime) -> None:
    """Record what was worked out anew, and tell the listeners."""
    told = [(one.id, _data(one.key, before, row.zone, _told(row)), _told(row)) for one, before, row in changed]
    rows = [
        {"team_id": one.team_id, "kind": CHANGED, "actor": events.RULE, "data": data}
        for (one, _, _), (_, data, _) in zip(changed, told, strict=True)
    ]
    if rows:
        events.record_many(session, rows)
    for contact_id, _, inferred in told:
        _notify(session, contact_id, inferred, now)


def _data(key: str, before: str | None, zone: str | None, told: Inferred | None) -> dict[str, str | None]:
    why = told.evidence[0].words if told and told.evidence else "nothing says where they are any more"
    return {"contact": key, "before": before, "zone": zone, "why": why}


def _notify(session: Session, contact_id: int, inferred: Inferred | None, now: datetime) -> None:
    for listener in _listeners:
        listener(session, contact_id, inferred or of_contact(session, contact_id, now), now)


def set_by_hand(session: Session, viewer: Viewer, contact_id: int, zone: str | None, now: datetime) -> None:
    """Say where a contact is, whatever the evidence says, now and later; None lets the evidence speak again.

    Raises `ZoneError` for what is no zone, and for a contact that is not the viewer's team's.
    """
    if zone is not None and not zone_rules.is_zone(zone):
        raise ZoneError("Choose a time zone from the list, such as Europe/Paris")
    people = zone_store.people(session, [contact_id])
    if contact_id not in people or people[contact_id].team_id != viewer.team_id:
        raise ZoneError("That contact is gone; look again")
    look(session, [contact_id], now)
    row = _rows(session, people, lock=True)[contact_id]
    if row.set_zone == zone:
        return
    before = row.set_zone or row.zone
    row.set_zone, row.set_by, row.set_at = zone, viewer.user_id if zone else None, now if zone else None
    session.flush()
    data = {
        "contact": people[contact_id].key,
        "before": before,
        "zone": zone or row.zone,
        "by_hand": zone is not None,
    }
    events.record(session, viewer.team_id, CHANGED, actor=viewer.actor, user_id=viewer.user_id, data=data)
    if before != (zone or row.zone):
        _notify(session, contact_id, look(session, [contact_id], now)[contact_id].inferred, now)


@dataclass(slots=True)
class Round:
    """Looks after the zones of those whose mail came in or whose entry was changed, and of everybody in turn.

    Kept in memory: after a restart it begins with what happens from then on, and whatever happened meanwhile is
    found by who asks for that contact, or when its turn comes.
    """

    cursor: events.Cursor | None = None
    last: int = 0
    waiting: set[int] = field(default_factory=set)

    def step(self, session: Session, now: datetime) -> int:
        """Look after some; how many."""
        self._follow(session)
        ids = sorted(self.waiting)[:_EACH_ROUND]
        self.waiting.difference_update(ids)
        turn = select(Contact.id).where(Contact.id > self.last).order_by(Contact.id).limit(_EACH_ROUND)
        found = session.scalars(turn).all()
        self.last = found[-1] if len(found) == _EACH_ROUND else 0
        return len(look(session, {*ids, *found}, now))

    def _follow(self, session: Session) -> None:
        if self.cursor is None:
            self.cursor = events.newest(session)
            return
        happened = events.after(session, self.cursor)
        if not happened:
            return
        self.cursor = happened[-1][0]
        self.waiting.update(_concerned(session, [event for _, event in happened]))


def _concerned(session: Session, happened: Sequence[Event]) -> set[int]:
    """The contacts that events are of and whose zone somebody has asked for."""
    mails = {one.message_id for one in happened if one.kind == "message.received" and one.message_id is not None}
    keys = {
        str(one.data.get("contact")) for one in happened if one.kind.startswith("contact.") and one.kind != CHANGED
    }
    written = (
        select(ContactZone.contact_id)
        .join(ContactAddress, ContactAddress.contact_id == ContactZone.contact_id)
        .join(
            Message,
            (Message.team_id == ContactAddress.team_id) & (Message.sender_normalized == ContactAddress.normalized),
        )
        .where(among(Message.id, mails))
    )
    named = select(ContactZone.contact_id).join(Contact, Contact.id == ContactZone.contact_id)
    return {*session.scalars(written), *session.scalars(named.where(among(Contact.key, keys)))}


def _follow_merge(session: Session, kept: int, gone: int, now: datetime) -> None:
    """Two contacts became one: what was set by hand for the one that goes stays, unless the other has its own."""
    theirs = session.get(ContactZone, gone)
    if theirs is None or theirs.set_zone is None:
        return
    ours = session.get(ContactZone, kept, with_for_update=True)
    if ours is None:
        ours = ContactZone(contact_id=kept, team_id=theirs.team_id, evidence=[], computed_at=_NEVER)
        session.add(ours)
    if ours.set_zone is None:
        before = ours.zone
        ours.set_zone, ours.set_by, ours.set_at = theirs.set_zone, theirs.set_by, theirs.set_at
        session.flush()
        inferred = _standing(ours, _names(session, {ours.set_by or 0})).inferred
        key = session.scalars(select(Contact.key).where(Contact.id == kept)).one()
        data = _data(key, before, ours.set_zone, inferred)
        events.record(session, ours.team_id, CHANGED, actor=events.SYSTEM, data=data)
        _notify(session, kept, inferred, now)
    session.expunge(theirs)


if _follow_merge not in unions.on_merge:
    unions.on_merge.append(_follow_merge)
