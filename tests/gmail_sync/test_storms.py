"""Gmail says *wait*, drops connections, loses answers: slower, complete, and never asked before its time."""

from __future__ import annotations

import itertools
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmail_sync import budget
from gmail_sync.budget import Budget, Spent
from gmail_sync.errors import QuotaWait
from gmail_sync.sandbox import Fault
from gmail_sync.sync import sync_mailbox
from tests.gmail_sync import processes
from tests.gmail_sync.processes import Asked, sql, visible_story
from tests.gmail_sync.syncing import ALICE, Team, in_gmail, mail, stored
from tracker import mailboxes
from tracker.jobs import Again
from tracker.mailboxes import Backfill, Mailbox, State

asked, other = processes.asked, processes.other


def fill(team: Team, count: int) -> None:
    """Mails in Alice's mailbox, some in threads of three."""
    box = team.sandbox.mailbox(ALICE)
    for number in range(count):
        first = box.insert(mail(subject=f"Topic {number}", Message_ID=f"<{number}@outside.example>"))
        for reply in range(2 if number % 5 == 0 else 0):
            thread = box.messages.get(first).short["threadId"]
            box.insert(mail(subject="Re", Message_ID=f"<{number}.{reply}@outside.example>"), thread_id=thread)


def unblocked(team: Team) -> None:
    """Let the time pass that Gmail asked to wait."""
    sql(team.sessions, "UPDATE gmail_budgets SET blocked_until = NULL")
    sql(team.sessions, "UPDATE wanted_messages SET not_before = NULL")


def through_the_storm(team: Team, mailbox: Mailbox, tries: int = 400) -> int:
    """Sync in a world where waiting takes no time; how often the sync was put off."""
    hasty = team.with_services(patience=0.0)
    for put_off in range(tries):
        try:
            sync_mailbox(hasty.services, mailbox.id)
        except Again:
            unblocked(team)
            continue
        if team.read(mailbox).backfill == Backfill.DONE:
            return put_off
    raise AssertionError("the storm was too much")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"kind": "status", "status": 403, "reason": "rateLimitExceeded"}, id="403"),
        pytest.param({"kind": "status", "status": 403, "reason": "userRateLimitExceeded"}, id="403 of the user"),
        pytest.param({"kind": "status", "status": 429, "retry_after": 3}, id="429"),
        pytest.param(
            {"kind": "status", "status": 429, "message": "Too many concurrent requests for user"}, id="concurrency"
        ),
        pytest.param({"kind": "status", "status": 500, "reason": "backendError"}, id="500"),
        pytest.param({"kind": "status", "status": 503, "reason": "backendError"}, id="503"),
        pytest.param({"kind": "drop"}, id="dropped"),
        pytest.param({"kind": "lost_answer"}, id="lost answer"),
    ],
)
def test_a_storm_makes_it_slower_but_not_less(team: Team, other: Team, fault: dict[str, Any]) -> None:
    fill(team, 14)
    mailbox = team.connect(ALICE)
    # A part that drops the connection takes its whole batch along: there the batch itself is struck.
    parts = ("batch",) if fault["kind"] in ("drop", "lost_answer") else ("batch", "*.get")
    struck = [
        team.sandbox.faults.add(Fault(method=method, probability=0.3, **fault))
        for method in ("getProfile", "*.list", *parts)
    ]
    put_off = through_the_storm(team, mailbox)
    box = team.sandbox.mailbox(ALICE)
    box.delete(box.message_ids()[3])
    box.insert(mail(subject="In the storm", Message_ID="<storm@outside.example>"))
    put_off += through_the_storm(team, mailbox)
    assert put_off > 0
    assert sum(fault.hits for fault in struck) >= 3
    team.sandbox.faults.clear()
    other.sync(other.connect(ALICE))
    with team.sessions() as mine, other.sessions() as theirs:
        assert stored(mine, mailbox) == in_gmail(box)
        assert visible_story(mine) == visible_story(theirs)
    assert team.read(mailbox).state == State.CONNECTED


def test_units_are_counted_for_what_was_asked_in_vain_too(team: Team) -> None:
    fill(team, 4)
    mailbox = team.connect(ALICE)
    struck = team.sandbox.faults.add(Fault(kind="lost_answer", method="messages.list", times=2))
    through_the_storm(team, mailbox)
    assert struck.hits == 2
    with team.sessions() as session:
        counted = budget.spent_by(session, mailbox)
    assert counted["messages.list"] == 15 == team.sandbox.stats.units(ALICE)["messages.list"]


def stamp(seconds: float) -> str:
    """A moment from now as Gmail writes it in a message."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


@pytest.mark.parametrize(
    ("method", "named"),
    [
        ("history.list", "header"),
        ("getProfile", "message"),
        ("batch", "header"),
        ("messages.get", "header"),
        ("messages.get", "message"),
    ],
)
def test_the_wait_that_gmail_named_is_kept(team: Team, asked: Asked, method: str, named: str) -> None:
    team.sandbox.mailbox(ALICE).insert(mail())
    mailbox = team.connect(ALICE)
    how: dict[str, Any] = {"retry_after": 2} if named == "header" else {
        "message": f"User-rate limit exceeded.  Retry after {stamp(2)}"
    }  # fmt: skip
    began = time.monotonic()
    fault = team.sandbox.faults.add(Fault(kind="status", status=429, method=method, times=1, **how))
    hasty = team.with_services(patience=0.0)
    with pytest.raises(Again) as put_off:
        sync_mailbox(hasty.services, mailbox.id)
    assert fault.hits == 1
    assert 1.0 < put_off.value.seconds <= 2.1
    refused_at, calls = time.monotonic(), len(asked.paths)
    with pytest.raises(Again):
        sync_mailbox(hasty.services, mailbox.id)  # woken too early: nothing is asked
    assert len(asked.paths) == calls
    team.sync(mailbox)  # as patient as a worker
    assert asked.times[calls] - began >= 1.9
    assert asked.times[calls] - refused_at <= 4
    with team.sessions() as session:
        assert stored(session, mailbox) == in_gmail(team.sandbox.mailbox(ALICE))


@pytest.mark.parametrize(
    ("status", "reason", "method"),
    [
        (403, "dailyLimitExceeded", "messages.list"),
        (403, "domainPolicy", "getProfile"),
        (403, "dailyLimitExceeded", "messages.get"),
        (403, "insufficientPermissions", "history.list"),
        (401, "authError", "messages.list"),
    ],
)
def test_what_no_waiting_mends_needs_attention_and_is_left_alone(
    team: Team, asked: Asked, status: int, reason: str, method: str
) -> None:
    fill(team, 3)
    mailbox = team.connect(ALICE)
    team.sandbox.faults.add(Fault(kind="status", status=status, reason=reason, method=method))
    sync_mailbox(team.services, mailbox.id)
    read = team.read(mailbox)
    assert read.state == State.ATTENTION
    assert read.attention
    health = mailboxes.health(read, team.services.now(), team.services.silence)
    assert (health.level, bool(health.remedy)) == ("bad", True)
    calls = len(asked.paths)
    sync_mailbox(team.services, mailbox.id)
    assert len(asked.paths) == calls
    team.sandbox.faults.clear()
    team.sync(team.connect(ALICE))
    with team.sessions() as session:
        assert stored(session, mailbox) == in_gmail(team.sandbox.mailbox(ALICE))


def test_a_revoked_token_is_asked_for_once(team: Team) -> None:
    fill(team, 1)
    mailbox = team.connect(ALICE)
    team.sandbox.mailbox(ALICE).revoke()
    refreshed = team.sandbox.faults.add(Fault(kind="latency", method="oauth.token"))
    for _ in range(3):
        sync_mailbox(team.services, mailbox.id)
    assert team.read(mailbox).state == State.ATTENTION
    assert refreshed.hits == 1
    assert not team.sandbox.stats.calls(ALICE)


class Ahead:
    """A clock that leaps over each wait."""

    def __init__(self) -> None:
        self.leapt = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.leapt


def test_gmail_never_has_to_refuse_for_quota(team: Team) -> None:
    fill(team, 90)
    clock = Ahead()
    team.sandbox.quota._clock = clock
    team.sandbox.quota.units_per_minute = 600
    mailbox = team.connect(ALICE)
    frugal = team.with_services(units_per_minute=600, patience=0.0)
    waited = 0.0
    for _ in range(60):
        try:
            sync_mailbox(frugal.services, mailbox.id)
        except Again as again:
            waited += again.seconds
            clock.leapt += timedelta(seconds=again.seconds)
            # The database's clock can't be moved: what was spent moves into the past instead.
            sql(
                team.sessions,
                "UPDATE gmail_budgets SET seconds = coalesce((SELECT jsonb_agg(jsonb_build_array("
                "(e->>0)::numeric - :s, e->1)) FROM jsonb_array_elements(seconds) e), '[]'), "
                "blocked_until = blocked_until - make_interval(secs => :s)",
                s=again.seconds,
            )
            continue
        break
    assert team.sandbox.stats.refused(ALICE) == 0
    with team.sessions() as session:
        assert stored(session, mailbox) == in_gmail(team.sandbox.mailbox(ALICE))
    units = team.sandbox.stats.units_total(ALICE)
    assert units > 1500
    assert waited >= (units / 600 - 1) * 60 * 0.9  # no faster than the quota lets


def test_two_callers_share_one_budget(team: Team) -> None:
    mailbox = team.connect(ALICE)
    granted: list[int] = []

    def spend() -> None:
        mine = Budget(team.sessions, mailbox.team_id, mailbox.id, 400, patience=0.0)
        for _ in range(40):
            try:
                mine.acquire({"messages.get": 1})
            except QuotaWait:
                continue
            granted.append(20)

    threads = [threading.Thread(target=spend) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(granted) == 400
    with team.sessions() as session:
        assert budget.spent_by(session, mailbox) == {"messages.get": 400}


def test_a_wait_that_one_caller_was_told_is_everybody_s(team: Team) -> None:
    mailbox = team.connect(ALICE)
    one, two = (Budget(team.sessions, mailbox.team_id, mailbox.id, 6000, patience=0.0) for _ in range(2))
    one.block(30)
    one.block(5)  # a shorter one does not shorten it
    with pytest.raises(QuotaWait) as wait:
        two.acquire({"getProfile": 1})
    assert 28 < wait.value.retry_after <= 30


@settings(deadline=None, max_examples=200, database=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from([1, 2, 5, 20, 40, 100]), st.integers(1, 50), st.floats(0, 90, allow_nan=False)),
        min_size=1,
        max_size=60,
    ),
    start=st.floats(0, 1),
)
def test_no_sixty_seconds_hold_more_than_the_limit(steps: list[tuple[int, int, float]], start: float) -> None:
    limit, now = 1000, datetime(2026, 11, 21, 9, tzinfo=UTC) + timedelta(seconds=start)
    row = Spent(mailbox_id=1, seconds=[], blocked_until=None)
    spent: list[tuple[datetime, int]] = []
    for price, count, pause in steps:
        cost = min(price * count, limit)
        now += timedelta(seconds=pause)
        waits = 0
        while (wait := budget._wait(row, now, cost, limit)) > 0:
            now += timedelta(seconds=wait)
            waits += 1
            assert waits < 5
        second = int(now.timestamp())
        row.seconds = [*[entry for entry in row.seconds if entry[0] > second - budget.WINDOW], [second, cost]]
        spent.append((now, cost))
    for (first, _), number in zip(spent, itertools.count()):
        window = [cost for at, cost in spent[number:] if at < first + timedelta(seconds=60)]
        assert sum(window) <= limit


@settings(deadline=None, max_examples=100, database=None)
@given(costs=st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_the_budget_never_waits_when_there_is_room(costs: list[int]) -> None:
    now = datetime(2026, 11, 21, 9, tzinfo=UTC)
    row = Spent(mailbox_id=1, seconds=[], blocked_until=None)
    total = 0
    for cost in costs:
        wait = budget._wait(row, now, cost, 1000)
        assert (wait > 0) == (total + cost > 1000)
        if wait == 0:
            row.seconds = [*row.seconds, [int(now.timestamp()), cost]]
            total += cost
