"""The law: mail for the recipient's nine goes at their nine, also when they turn out to be elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime

from scheduler.outbox import ScheduledEmail
from tests.scheduler.web.conftest import DANA, Desk


def the_mail(desk: Desk) -> ScheduledEmail:
    (email,) = desk.queued()
    return email


def test_a_zone_that_is_set_by_hand_on_the_contacts_page_makes_it_their_new_nine(desk: Desk) -> None:
    desk.alice.post("/compose", data=desk.write())
    assert the_mail(desk).due_at == datetime(2026, 11, 24, 0, tzinfo=UTC)
    assert "Tue 24 Nov, 09:00 in Tokyo (your 00:00)" in desk.alice.get("/outbox").text
    contact = f"/contacts/{desk.box.contacts[0].key}"
    assert f'action="{contact}/zone"' in desk.alice.get(contact).text
    answer = desk.alice.post(f"{contact}/zone", data={"place": "New York"})
    assert answer.status_code == 303
    moved = the_mail(desk)
    assert (moved.due_at, moved.zone) == (datetime(2026, 11, 24, 14, tzinfo=UTC), "America/New_York")
    assert str(moved.wall_time) == "2026-11-24 09:00:00"
    page = desk.alice.get("/outbox").text
    assert "Tue 24 Nov, 09:00 in New York (your 14:00)" in page
    assert "it was Asia/Tokyo and is America/New_York now" in page
    assert "moved “The offer” to another time" in desk.alice.get(f"/outbox/{moved.key}").text
    desk.alice.post(f"{contact}/zone", data={"evidence": "1"})  # the evidence says Tokyo still
    assert the_mail(desk).due_at == datetime(2026, 11, 24, 0, tzinfo=UTC)


def test_a_time_of_the_senders_own_clock_stays_where_it_is(desk: Desk) -> None:
    desk.alice.post("/compose", data=desk.write(when="mine", at="16:00", on="2026-11-25"))
    before = the_mail(desk).due_at
    desk.alice.post(f"/contacts/{desk.box.contacts[0].key}/zone", data={"zone": "America/New_York"})
    assert (the_mail(desk).due_at, the_mail(desk).recipients) == (before, [DANA])
