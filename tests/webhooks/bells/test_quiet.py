"""Quiet hours, in anybody's zone: nothing rings within them, and nothing is lost."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete
from sqlalchemy.orm import Session

from tests.tracker.web.conftest import Team
from tests.webhooks.bells.ringing import Ringing, tracked_mail
from tests.webhooks.bells.services import PushService
from tests.webhooks.bells.test_telling import wish
from tracker.people import User
from webhooks.bells import wishes
from webhooks.bells.deliveries import PushDelivery
from webhooks.bells.notices import Notification
from webhooks.bells.wishes import NotificationSettings

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC"]
times = st.times().map(lambda one: one.replace(second=0, microsecond=0))
instants = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))


@settings(deadline=None)
@given(times, times, st.sampled_from(ZONES), instants)
@example(time(22), time(2, 30), "Europe/Berlin", datetime(2026, 3, 29, 0, 15, tzinfo=UTC))  # 02:30 is jumped over
@example(time(1), time(2, 30), "Europe/Berlin", datetime(2026, 10, 25, 0, 15, tzinfo=UTC))  # 02:15 comes twice
@example(time(22), time(2, 30), "Europe/Berlin", datetime(2026, 10, 25, 1, 5, tzinfo=UTC))  # 02:05 once more
@example(time(2, 30), time(3, 30), "Europe/Berlin", datetime(2026, 10, 25, 0, 45, tzinfo=UTC))  # put back
def test_quiet_hours_end_where_they_are_over(begins: time, ends: time, zone: str, now: datetime) -> None:
    kept, there = NotificationSettings(quiet_from=begins, quiet_until=ends), ZoneInfo(zone)
    end = wishes.quiet_until(kept, there, now)
    if end is None:
        assert not wishes.is_quiet(kept, there, now)
        return
    assert wishes.is_quiet(kept, there, now)
    assert now < end <= now + timedelta(hours=50)  # an end that a clock jumps over is the next day's
    assert not wishes.is_quiet(kept, there, end)
    between = [now + (end - now) * part / 97 for part in range(97)]
    assert all(wishes.is_quiet(kept, there, at) for at in [*between, end - timedelta(microseconds=1)])


def test_without_both_times_nothing_is_quiet() -> None:
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    for begins, ends in ((None, None), (time(9), None), (time(12), time(12))):
        kept = NotificationSettings(quiet_from=begins, quiet_until=ends)
        assert not wishes.is_quiet(kept, ZoneInfo("UTC"), noon)


@pytest.mark.parametrize("zone", ["Nowhere/Town", "", "../etc/passwd"])
def test_an_unknown_zone_is_utc(zone: str) -> None:
    assert wishes.zone_of(User(time_zone=zone)) == ZoneInfo("UTC")


def quiet_minutes(begin: time, end: time) -> int:
    """How long a night is. (The test looks every 40 minutes: it would never see a day of a quarter of an hour.)"""
    return (end.hour * 60 + end.minute - begin.hour * 60 - begin.minute) % (24 * 60)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(times, times).filter(lambda both: both[0] != both[1] and quiet_minutes(*both) <= 18 * 60),
    st.sampled_from(ZONES),
    st.lists(st.integers(0, 300), min_size=1, max_size=6),
    st.booleans(),
)
def test_nothing_rings_in_quiet_hours_and_nothing_is_lost(
    write: Session, team: Team, ringing: Ringing, service: PushService, quiet: tuple[time, time], zone: str,
    minutes: list[int], busy: bool,
) -> None:  # fmt: skip
    """Reads at any time, a push service that is busy now and then: each is in a push, none of them within."""
    write.execute(delete(PushDelivery))
    write.execute(delete(Notification))
    team.alice.time_zone = zone
    wish(write, team.alice, quiet=quiet)
    chrome = service.browser(f"{id(minutes)}")
    kept = NotificationSettings(quiet_from=quiet[0], quiet_until=quiet[1])
    rang_at: list[datetime] = []

    def answer(_: object) -> tuple[int, dict[str, str]]:
        rang_at.append(ringing.clock)
        return (503, {}) if busy and len(rang_at) % 3 == 1 else (201, {})

    service.answer = answer
    browser = ringing.switch_on(team.alice, chrome.keys)
    mails = [tracked_mail(write, team.alice, team.mailbox, subject=f"Mail {one}") for one in range(len(minutes))]
    write.commit()
    for mail, wait in zip(mails, minutes, strict=True):
        ringing.later(minutes=wait)
        ringing.read(mail)
        ringing.work()
    for _ in range(45):
        ringing.later(minutes=40)
        ringing.work()
    assert not [at for at in rang_at if wishes.is_quiet(kept, ZoneInfo(zone), at)]
    rows = [one for one in ringing.deliveries() if one.subscription_id == browser.id]
    assert {one.notification_id for one in rows} == {one.id for one in ringing.told(team.alice)}
    assert len(rows) == len(minutes)
    assert {one.state for one in rows} == {"sent"}
