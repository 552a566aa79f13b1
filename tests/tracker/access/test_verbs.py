"""Who may say who sees a box or a pipeline, what is kept of it, and that nobody locks themselves out."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.tracker.access.conftest import House, viewer
from tests.tracker.domain import NOW
from tracker import access, merging, sight
from tracker.access import AccessError
from tracker.boxes import Box
from tracker.events import Event
from tracker.merging import MergeError
from tracker.people import User


def sees(session: Session, user: User, box: Box) -> bool:
    with sight.seen_by(session, viewer(user)):
        return session.scalar(select(Box.id).where(Box.id == box.id)) is not None


def test_whoever_narrows_stays_and_each_step_is_an_event(house: House, session: Session) -> None:
    ada = viewer(house.ada)
    access.open_to(session, ada, house.plain, access.PEOPLE)
    assert access.named(session, house.plain) == {house.ada.id}
    assert sees(session, house.ada, house.plain)
    assert sees(session, house.alice, house.plain)  # she owns it
    assert not sees(session, house.mia, house.plain)
    with pytest.raises(AccessError, match="Somebody has to see it"):
        access.unname(session, ada, house.plain, house.ada)
    access.name(session, ada, house.plain, house.mia)
    access.name(session, ada, house.plain, house.mia)
    access.unname(session, ada, house.plain, house.mia)
    query = select(Event).where(Event.kind == "box.access", Event.box_id == house.plain.id).order_by(Event.id)
    told = [(one.user_id, one.data) for one in session.scalars(query)]
    mia = house.mia.key
    assert told == [(house.ada.id, one) for one in ({"access": "people"}, {"named": mia}, {"unnamed": mia})]


def test_only_admins_and_a_boxs_owner_say_who_sees_it(house: House, session: Session) -> None:
    house.plain.owner_id = house.mia.id
    session.flush()
    access.open_to(session, viewer(house.mia), house.plain, access.PEOPLE)
    for user, thing in ((house.bob, house.plain), (house.gina, house.ginas), (house.mia, house.sales)):
        with pytest.raises(AccessError, match="Only admins"):
            access.open_to(session, viewer(user), thing, access.TEAM)
    assert house.plain.access == access.PEOPLE


def test_an_admin_who_is_not_named_sees_nothing_until_they_name_themselves(house: House, session: Session) -> None:
    assert not sees(session, house.ada, house.inner)
    access.name(session, viewer(house.ada), house.connections, house.ada)
    assert sees(session, house.ada, house.inner)
    assert not sees(session, house.ada, house.theirs)  # it is for its own people
    last = session.scalars(select(Event).where(Event.kind == "pipeline.access").order_by(Event.id.desc())).first()
    assert last is not None
    assert last.data == {"pipeline": house.connections.key, "named": house.ada.key}


def test_a_session_notices_at_once_what_changes_in_it(house: House, session: Session) -> None:
    with sight.seen_by(session, viewer(house.ada)):
        assert session.scalar(select(Box.id).where(Box.id == house.plain.id))
        access.arrange(session, viewer(house.ada), house.plain, access.PEOPLE, {house.mia.id})
        assert session.scalar(select(Box.id).where(Box.id == house.plain.id))  # the one who narrows stays
        access.unname(session, viewer(house.ada), house.plain, house.ada)
        assert session.scalar(select(Box.id).where(Box.id == house.plain.id)) is None


def test_boxes_for_different_people_are_not_merged(house: House, session: Session) -> None:
    with pytest.raises(MergeError, match="not open to the same people"):
        merging.merge(session, viewer(house.alice), house.plain, house.closed, now=NOW)
    assert house.closed.merged_into_id is None


def test_of_the_topics_of_a_page_those_of_hidden_things_are_refused(house: House, session: Session) -> None:
    asked = [f"box:{house.plain.key}", f"box:{house.closed.key}", f"pipeline:{house.connections.key}", "inbox"]
    with sight.seen_by(session, viewer(house.mia)):
        assert sight.watchable(session, ",".join(asked)) == ",".join([asked[0], asked[2], asked[3]])
    with sight.seen_by(session, viewer(house.gina)):
        assert sight.watchable(session, ",".join(asked)) == "inbox"
