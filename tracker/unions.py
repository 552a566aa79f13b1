"""Unions: two contacts, or two organizations, become one; what belonged to either belongs to it.

The one that goes is deleted; its key leads to what it became (`merged_into`), by the event that tells of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from tracker import autobox, contacts, directory, events, organizations
from tracker.boxes import Box
from tracker.contacts import Contact, ContactAddress, ContactError
from tracker.db import among, everything, lock_team
from tracker.events import Event
from tracker.fields import Field, FieldType
from tracker.organizations import Organization, OrganizationDomain, OrganizationError
from tracker.people import Viewer

CONTACT_MERGED, ORGANIZATION_MERGED = "contact.merged", "organization.merged"
#: Called with (session, the contact that stays, the one that goes, now), the two by their ids, so that what higher
#: rooms keep of a contact follows.
on_merge: list[Callable[[Session, int, int, datetime], None]] = []
LOOKED_AT = 20  #: boxes that older mail is looked for at once; later mail finds all of them

_MOVE_BOXES = text(
    """
    INSERT INTO box_contacts (team_id, box_id, contact_id)
    SELECT team_id, box_id, :kept FROM box_contacts WHERE contact_id = :gone ORDER BY box_id
    ON CONFLICT DO NOTHING
    """
)
_RENAME_VALUE = text(
    """
    UPDATE boxes SET "values" = jsonb_set("values", ARRAY[:field], to_jsonb(CAST(:kept AS text)))
    WHERE pipeline_id = :pipeline AND "values" ->> :field = :gone
    """
)
_RENAME_IN_ACTIVITIES = text(
    """
    UPDATE activities SET contact_keys =
      (SELECT jsonb_agg(DISTINCT CASE WHEN each.value = :gone THEN CAST(:kept AS text) ELSE each.value END)
       FROM jsonb_array_elements_text(contact_keys) AS each(value))
    WHERE team_id = :team AND contact_keys @> to_jsonb(CAST(:gone AS text))
    """
)


def merge_contacts(
    session: Session, viewer: Viewer, kept: Contact, gone: Contact, chosen: Mapping[str, str], now: datetime
) -> None:
    """Make two contacts one: addresses, boxes, field values and activities of `gone` become those of `kept`.

    chosen: the `name`, `title`, `phone`, `location` and `notes` to have from now on, where they are not those of
    `kept`; `organization`, a key or "" for none; `main`, the address that is written to.
    Raises `ContactError`.
    """
    with everything(session):
        _merge_contacts(session, viewer, kept, gone, chosen, now)


def _merge_contacts(
    session: Session, viewer: Viewer, kept: Contact, gone: Contact, chosen: Mapping[str, str], now: datetime
) -> None:
    lock_team(session, viewer.team_id)
    if kept.id == gone.id or kept.team_id != gone.team_id:
        raise ContactError("Choose two different contacts to merge")
    session.flush()
    ids = {"kept": kept.id, "gone": gone.id}
    session.execute(_MOVE_BOXES, ids)
    session.execute(
        update(ContactAddress).where(ContactAddress.contact_id == gone.id).values(contact_id=kept.id),
        execution_options={"synchronize_session": False},
    )
    _rename(session, FieldType.CONTACT, kept.team_id, gone.key, kept.key)
    keys = {"team": kept.team_id, "kept": kept.key, "gone": gone.key}
    session.execute(_RENAME_IN_ACTIVITIES, keys)
    for follow in on_merge:
        follow(session, kept.id, gone.id, now)
    data = {"contact": kept.key, "name": kept.name, "merged": gone.key, "merged_name": gone.name}
    _record(session, viewer, CONTACT_MERGED, data)
    session.expunge(gone)
    session.execute(delete(Contact).where(Contact.id == gone.id), execution_options={"synchronize_session": False})
    session.expire(kept)
    _choose(session, viewer, kept, chosen)
    _forget_boxes(session)
    look_again(session, kept, now)


def _choose(session: Session, viewer: Viewer, kept: Contact, chosen: Mapping[str, str]) -> None:
    columns = {name: chosen[name] for name in ("name", "title", "phone", "location", "notes") if name in chosen}
    contacts.change(session, viewer, kept, **columns)
    if "organization" in chosen:
        found = organizations.by_key(session, viewer.team_id, chosen["organization"])
        contacts.set_organization(session, viewer, kept, found)
    main = next((one for one in kept.addresses if one.normalized == chosen.get("main")), None)
    if main is not None:
        contacts.make_main(session, viewer, kept, main.normalized)


def merge_organizations(
    session: Session, viewer: Viewer, kept: Organization, gone: Organization, chosen: Mapping[str, str]
) -> None:
    """Make two organizations one: people, boxes, domains and field values of `gone` become those of `kept`.

    chosen: the `name`, `website`, `location` and `notes` to have, where they are not those of `kept`.
    Raises `OrganizationError`.
    """
    with everything(session):
        _merge_organizations(session, viewer, kept, gone, chosen)


def _merge_organizations(
    session: Session, viewer: Viewer, kept: Organization, gone: Organization, chosen: Mapping[str, str]
) -> None:
    lock_team(session, viewer.team_id)
    if kept.id == gone.id or kept.team_id != gone.team_id:
        raise OrganizationError("Choose two different organizations to merge")
    session.flush()
    for table in (Contact, Box, OrganizationDomain):
        session.execute(
            update(table).where(table.organization_id == gone.id).values(organization_id=kept.id),
            execution_options={"synchronize_session": False},
        )
    _rename(session, FieldType.ORGANIZATION, kept.team_id, gone.key, kept.key)
    data = {"organization": kept.key, "name": kept.name, "merged": gone.key, "merged_name": gone.name}
    _record(session, viewer, ORGANIZATION_MERGED, data)
    session.expunge(gone)
    session.execute(
        delete(Organization).where(Organization.id == gone.id), execution_options={"synchronize_session": False}
    )
    _forget_boxes(session)
    columns = {name: chosen[name] for name in ("name", "website", "location", "notes") if name in chosen}
    organizations.change(session, viewer, kept, **columns)


def _rename(session: Session, kind: FieldType, team_id: int, gone: str, kept: str) -> None:
    """Let the fields of boxes that named the one name the other."""
    query = select(Field.key, Field.pipeline_id).where(Field.team_id == team_id, Field.type == kind.value)
    for field, pipeline in session.execute(query).all():
        session.execute(_RENAME_VALUE, {"field": field, "pipeline": pipeline, "gone": gone, "kept": kept})


def _forget_boxes(session: Session) -> None:
    """What the session remembers of boxes and contacts was changed behind its back."""
    for found in list(session.identity_map.values()):
        if isinstance(found, Box | Contact):
            session.expire(found)


def _record(session: Session, viewer: Viewer, kind: str, data: Mapping[str, str]) -> None:
    events.record(session, viewer.team_id, kind, actor=viewer.actor, user_id=viewer.user_id, data=dict(data))


def merged_into(session: Session, team_id: int, kind: str, key: str) -> str | None:
    """The key of what a contact or organization became, if it was merged away; `kind` is the event's."""
    noun = kind.partition(".")[0]
    for _ in range(20):  # merged, and merged again
        query = select(Event.data[noun].astext).where(
            Event.team_id == team_id, Event.kind == kind, Event.data["merged"].astext == key
        )
        found = session.scalars(query.order_by(Event.id.desc()).limit(1)).first()
        if found is None:
            return None
        key = found
        if _is_there(session, team_id, noun, key):
            return key
    return None


def _is_there(session: Session, team_id: int, noun: str, key: str) -> bool:
    find = contacts.by_key if noun == "contact" else organizations.by_key
    return find(session, team_id, key) is not None


def look_again(session: Session, contact: Contact, now: datetime) -> None:
    """A contact has another address: let the rules look for its mail, for the contact's newest open boxes."""
    with everything(session):
        ids = directory.open_box_ids(session, contact, limit=LOOKED_AT)
        for box in session.scalars(select(Box).where(among(Box.id, ids)).order_by(Box.id)).all():
            autobox.consider_box(session, box, now)
