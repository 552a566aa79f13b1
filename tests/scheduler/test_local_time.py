"""Wall time and instants: every clock change of every zone, and the laws of what comes next."""

from __future__ import annotations

import importlib.resources
import os
import re
import shutil
import subprocess
import zoneinfo
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler import local_time
from scheduler.calendars.days_off import days_off
from scheduler.local_time import Choice, LateRule, NoWorkingDay, There, choose, late, next_at, resolve, wall_of

TOKYO, PARIS, LONDON = ZoneInfo("Asia/Tokyo"), ZoneInfo("Europe/Paris"), ZoneInfo("Europe/London")
NEW_YORK, LORD_HOWE = ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe")
NINE = time(9)
SUNDAY = datetime(2026, 11, 22, 12, tzinfo=UTC)

# -- every clock change of every zone

LINE = re.compile(r"^(\S+) +(\w.{23}) UTC? = (.{24}) \S+ isdst=")
STAMP = "%a %b %d %H:%M:%S %Y"


def file_of(key: str) -> Path | None:
    """The file that Python reads for a zone: the system's, else that of the package tzdata."""
    for folder in zoneinfo.TZPATH:
        if (Path(folder) / key).is_file():
            return Path(folder) / key
    found = importlib.resources.files("tzdata.zoneinfo").joinpath(key)
    return found if isinstance(found, Path) and found.is_file() else None


def transitions() -> list[tuple[str, datetime, timedelta, timedelta]]:
    """Zone, instant and offset before and after, of each change in 2025–2031, as zdump has it."""
    zdump = shutil.which("zdump") or next(
        (p for p in ("/usr/sbin/zdump", "/usr/bin/zdump") if Path(p).exists()), ""
    )
    if not zdump:
        pytest.skip("zdump is not here (on Debian it comes with libc-bin)")
    files = {str(path): key for key in sorted(zoneinfo.available_timezones()) if (path := file_of(key))}
    assert len(files) > 400
    command = [zdump, "-v", "-c", "2025,2032", *files]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"LC_ALL": "C"})
    changes, before = [], None
    for line in told.stdout.splitlines():
        if not (found := LINE.match(line)):
            continue
        at, wall = (datetime.strptime(found[number], STAMP) for number in (2, 3))
        if before and before[0] == found[1] and at - before[1] == timedelta(seconds=1):
            changes.append((files[found[1]], at.replace(tzinfo=UTC), before[2], wall - at))
        before = (found[1], at, wall - at)
    return changes


def test_gaps_and_overlaps_of_all_zones_are_read_as_rfc_5545_says() -> None:
    second = timedelta(seconds=1)
    gaps = overlaps = 0
    for key, at, before, after in transitions():
        if not datetime(2025, 1, 1, tzinfo=UTC) <= at < datetime(2032, 1, 1, tzinfo=UTC):
            continue
        zone, naive = ZoneInfo(key), at.replace(tzinfo=None)
        gaps, overlaps = gaps + (after > before), overlaps + (after < before)
        first, last = naive + min(before, after), naive + max(before, after) - second
        for wall in {first, first + (last - first) / 2, last} if after != before else ():
            # In a gap the offset before it; of two the first, whose offset is the one before as well.
            assert resolve(wall, zone) == wall.replace(tzinfo=UTC) - before, (key, wall)
        assert resolve(first - second, zone) == (first - second).replace(tzinfo=UTC) - before, key
        assert resolve(last + second, zone) == (last + second).replace(tzinfo=UTC) - after, key
    assert gaps > 900
    assert overlaps > 900


def test_a_time_that_the_clock_jumps_over_is_as_much_later() -> None:
    assert wall_of(resolve(datetime(2026, 3, 29, 2, 30), PARIS), PARIS) == datetime(2026, 3, 29, 3, 30)
    assert wall_of(resolve(datetime(2026, 10, 4, 2, 10), LORD_HOWE), LORD_HOWE) == datetime(2026, 10, 4, 2, 40)


def test_of_two_it_is_the_first() -> None:
    assert resolve(datetime(2026, 10, 25, 2, 30), PARIS) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


# -- what comes next

ZONES = st.sampled_from([*map(ZoneInfo, sorted(zoneinfo.available_timezones() - {"localtime"}))])
INSTANTS = st.datetimes(datetime(2025, 1, 1), datetime(2031, 12, 1), timezones=st.just(UTC))
NEAR = st.sampled_from([datetime(2026, 3, 28, 20), datetime(2026, 10, 24, 20), datetime(2027, 3, 14, 1)])
TIMES = st.times().map(lambda at: at.replace(microsecond=0, fold=0))
FREES = st.sampled_from([days_off(code) for code in (None, "US", "SA", "CN", "FR", "IL")])
AFTER = INSTANTS | st.builds(
    lambda near, minutes: near.replace(tzinfo=UTC) + timedelta(minutes=minutes), NEAR, st.integers(0, 900)
)


def is_in_gap(wall: datetime, zone: ZoneInfo) -> bool:
    return wall_of(resolve(wall, zone), zone) != wall


@given(TIMES, ZONES, AFTER, FREES)
@settings(max_examples=250, deadline=None)
def test_next_is_that_time_on_a_working_day_and_strictly_later(
    at: time, zone: ZoneInfo, after: datetime, free: local_time.Free
) -> None:
    wall = next_at(at, zone, after, free)
    instant = resolve(wall, zone)
    assert instant > after
    assert wall.time() == at
    shown = wall_of(instant, zone)
    assert shown.time() == at or is_in_gap(wall, zone)
    assert free(shown.date()) is None
    assert free(wall.date()) is None


@given(TIMES, ZONES, AFTER, st.timedeltas(timedelta(0), timedelta(days=9)), FREES)
@settings(max_examples=250, deadline=None)
def test_later_is_never_sooner_and_the_same_until_it_has_come(
    at: time, zone: ZoneInfo, after: datetime, more: timedelta, free: local_time.Free
) -> None:
    wall = next_at(at, zone, after, free)
    assert resolve(next_at(at, zone, after + more, free), zone) >= resolve(wall, zone)
    just_before = max(after, resolve(wall, zone) - timedelta(seconds=1))
    assert next_at(at, zone, just_before, free) == wall


@given(TIMES, ZONES, AFTER)
@settings(max_examples=150, deadline=None)
def test_nothing_nearer_is_passed_over(at: time, zone: ZoneInfo, after: datetime) -> None:
    wall = next_at(at, zone, after)
    instant = resolve(wall - timedelta(days=1), zone)
    assert instant <= after or wall_of(after, zone).date() > (wall - timedelta(days=1)).date()


def test_nine_is_nine_before_and_after_the_clocks_change() -> None:
    assert resolve(next_at(NINE, PARIS, datetime(2026, 3, 28, 7, tzinfo=UTC)), PARIS).hour == 8
    assert resolve(next_at(NINE, PARIS, datetime(2026, 3, 28, 9, tzinfo=UTC)), PARIS).hour == 7


def test_at_nine_sharp_the_next_nine_is_tomorrow() -> None:
    nine = datetime(2026, 11, 24, 0, tzinfo=UTC)
    assert next_at(NINE, TOKYO, nine) == datetime(2026, 11, 25, 9)
    assert next_at(NINE, TOKYO, nine - timedelta(microseconds=1)) == datetime(2026, 11, 24, 9)


def test_who_never_works_is_told_so() -> None:
    with pytest.raises(NoWorkingDay):
        next_at(NINE, TOKYO, SUNDAY, lambda day: "Sabbatical")
    with pytest.raises(NoWorkingDay):
        next_at(NINE, TOKYO, datetime(9999, 12, 31, 12, tzinfo=UTC))


# -- what can be chosen


@pytest.mark.parametrize(
    ("choice", "options", "wall", "zone"),
    [
        (Choice.NINE, {}, datetime(2026, 11, 24, 9), TOKYO),
        (Choice.THERE, {"at": time(16, 30)}, datetime(2026, 11, 24, 16, 30), TOKYO),
        (Choice.THERE, {"on": date(2026, 11, 29)}, datetime(2026, 11, 29, 9), TOKYO),
        (Choice.THERE, {"on": date(2020, 1, 1)}, datetime(2026, 11, 23, 9), TOKYO),
        (Choice.MINE, {"at": time(18)}, datetime(2026, 11, 24, 18), PARIS),
        (Choice.TOMORROW, {}, datetime(2026, 11, 24, 9), TOKYO),
        (Choice.MONDAY, {}, datetime(2026, 11, 24, 9), TOKYO),
        (Choice.DAYS, {"days": 3}, datetime(2026, 11, 25, 9), TOKYO),
        (Choice.DAYS, {"days": 10**9}, datetime(2027, 12, 27, 9), TOKYO),
    ],
)
def test_each_choice(choice: Choice, options: dict[str, object], wall: datetime, zone: ZoneInfo) -> None:
    # In Japan, Monday 23 November 2026 is Labor Thanksgiving Day.
    chosen = choose(choice, There(TOKYO, "Tokyo", days_off("JP")), PARIS, SUNDAY, **options)  # type: ignore[arg-type]
    assert (chosen.wall, chosen.zone) == (wall, zone)
    assert chosen.instant > SUNDAY


def test_the_days_off_that_were_passed_over_are_told() -> None:
    chosen = choose(Choice.NINE, There(TOKYO, "", days_off("JP")), PARIS, SUNDAY)
    assert chosen.skipped == (
        (date(2026, 11, 22), "Sunday"),
        (date(2026, 11, 23), "Labor Thanksgiving Day"),
    )


# -- several recipients


def test_one_mail_goes_when_everybody_works() -> None:
    monday = datetime(2026, 11, 23, 6, tzinfo=UTC)
    both = local_time.shared_hours([There(LONDON, "London"), There(NEW_YORK, "New York")], monday)
    assert (both.wall, both.zone, both.for_all) == (datetime(2026, 11, 23, 14), LONDON, True)
    assert both.words == "Within working hours for everybody: 14:00 in London, 09:00 in New York"


def test_without_an_hour_for_all_it_is_the_main_recipients_nine_and_says_so() -> None:
    made = local_time.shared_hours([There(TOKYO, "Tokyo"), There(NEW_YORK)], SUNDAY)
    assert (made.wall, made.for_all) == (datetime(2026, 11, 23, 9), False)
    assert made.words == "No hour is between 9 and 17 for everybody, so it goes at 09:00 in Tokyo"


def test_alone_it_is_their_nine() -> None:
    free = days_off("JP")
    made = local_time.shared_hours([There(TOKYO, "", free)], SUNDAY)
    assert made.wall == next_at(NINE, TOKYO, SUNDAY, free)


@given(st.lists(st.builds(There, ZONES, st.just(""), FREES), min_size=1, max_size=4), AFTER)
@settings(max_examples=150, deadline=None)
def test_together_is_within_working_hours_for_all_or_the_main_nine(people: list[There], after: datetime) -> None:
    made = local_time.shared_hours(people, after)
    assert made.instant > after
    for one in people if made.for_all else ():
        there = wall_of(made.instant, one.zone)
        assert NINE <= there.time() < time(17)
        assert one.free(there.date()) is None
    if not made.for_all:
        assert made.wall == next_at(NINE, people[0].zone, after, people[0].free)


# -- late


@pytest.mark.parametrize(
    ("hours", "rule", "wall"),
    [
        (-1, LateRule.MORNING, datetime(2026, 11, 24, 9)),  # not yet due
        (0.2, LateRule.NEXT_NINE, None),
        (2, LateRule.MORNING, None),
        (2, LateRule.NEXT_NINE, datetime(2026, 11, 25, 9)),
        (4, LateRule.MORNING, datetime(2026, 11, 25, 9)),
        (4, LateRule.WORKING_HOURS, None),
        (9, LateRule.WORKING_HOURS, datetime(2026, 11, 25, 9)),
        (16, LateRule.WORKING_HOURS, datetime(2026, 11, 25, 9)),  # one in the night
        (25, LateRule.MORNING, None),  # ten, a day later
        (24 * 4 + 1, LateRule.MORNING, datetime(2026, 11, 30, 9)),  # Saturday
    ],
)
def test_late_mail_never_goes_in_the_night(hours: float, rule: LateRule, wall: datetime | None) -> None:
    due = datetime(2026, 11, 24, 9)
    now = resolve(due, TOKYO) + timedelta(hours=hours)
    assert late(due, TOKYO, now, rule, days_off("JP")) == wall


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)), ZONES, st.integers(0, 200), FREES)
@settings(max_examples=100, deadline=None)
def test_what_is_late_goes_at_once_only_while_they_work(
    due: datetime, zone: ZoneInfo, hours: int, free: local_time.Free
) -> None:
    now = resolve(due, zone) + local_time.GRACE + timedelta(hours=hours, seconds=1)
    wall = late(due, zone, now, LateRule.WORKING_HOURS, free)
    there = wall_of(now, zone)
    assert (wall is None) or (wall.time() == NINE and resolve(wall, zone) > now)
    assert wall is not None or (
        9 <= there.hour < 17 and (free(there.date()) is None or due.date() == there.date())
    )


# -- in words


@pytest.mark.parametrize(
    ("instant", "zone", "place", "words"),
    [
        (datetime(2026, 11, 24, 0), TOKYO, "Tokyo", "Tue 24 Nov, 09:00 in Tokyo (your Mon 23 Nov, 18:00)"),
        (datetime(2026, 11, 24, 9), LONDON, "", "Tue 24 Nov, 09:00 in London (your 03:00)"),
        (datetime(2026, 11, 24, 15), ZoneInfo("America/Winnipeg"), "", "Tue 24 Nov, 09:00 in Winnipeg"),
        (
            datetime(2027, 1, 1, 0),
            TOKYO,
            "Japan",
            "Fri 1 Jan 2027, 09:00 in Japan (your Thu 31 Dec 2026, 18:00)",
        ),
    ],
)
def test_in_words(instant: datetime, zone: ZoneInfo, place: str, words: str) -> None:
    own = ZoneInfo("America/Chicago")
    assert local_time.in_words(instant.replace(tzinfo=UTC), zone, place, own, SUNDAY) == words
