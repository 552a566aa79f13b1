"""Who sees mail that waits: its sender; teammates only where it goes outside from a box that is there."""

from __future__ import annotations

from sqlalchemy import update

from scheduler.outbox import ScheduledEmail
from tests.scheduler.web.conftest import MONDAY, Desk
from tests.tracker.web.factories_web import BOB
from tracker import boxes


def sees(desk: Desk) -> bool:
    """Whether Bob sees what Alice queued on the box."""
    (email,) = desk.queued()
    page = desk.bob.get(f"/outbox/{email.key}")
    assert ("The offer" in desk.bob.get(f"/b/{desk.box.key}").text) == (page.status_code == 200)
    return page.status_code == 200


def test_a_teammate_sees_what_goes_outside_from_a_box(desk: Desk) -> None:
    desk.alice.post("/compose", data=desk.write())
    assert sees(desk)


def test_internal_mail_is_nobody_elses(desk: Desk) -> None:
    desk.alice.post("/compose", data=desk.write())
    desk.session.execute(update(ScheduledEmail).values(recipients=[BOB]))
    desk.session.commit()
    (email,) = desk.queued()
    assert desk.bob.get(f"/outbox/{email.key}").status_code == 404
    assert desk.alice.get(f"/outbox/{email.key}").status_code == 200


def test_a_deleted_box_shares_nothing(desk: Desk) -> None:
    desk.alice.post("/compose", data=desk.write())
    (email,) = desk.queued()
    box = desk.session.merge(desk.box)
    boxes.delete(desk.session, desk.team.viewer, box, MONDAY)
    desk.session.commit()
    assert desk.bob.get(f"/outbox/{email.key}").status_code == 404
