"""The clock ticks on, whatever a tick does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from scheduler.clock import Clock, Tick


class Counted:
    """A tick that counts, and then does what it is told."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.times: list[float] = []
        self._then = then

    def __call__(self) -> None:
        self.times.append(time.monotonic())
        self._then()


def fail() -> None:
    """What a tick may do when the database is away."""
    raise ConnectionError("the database is away")


@pytest.fixture
def started() -> Iterator[Callable[[list[Tick]], Clock]]:
    """Starts clocks, and stops them after the test."""
    clocks: list[Clock] = []

    def start(ticks: list[Tick]) -> Clock:
        clocks.append(Clock(ticks))
        clocks[-1].start()
        return clocks[-1]

    yield start
    for clock in clocks:
        clock.stop()


def wait(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Wait until something holds; whether it came true."""
    ends = time.monotonic() + seconds
    while not condition() and time.monotonic() < ends:
        time.sleep(0.01)
    return condition()


def test_each_ticks_at_once_and_then_at_its_interval(started: Callable[[list[Tick]], Clock]) -> None:
    quick, slow = Counted(), Counted()
    started([Tick("quick", 0.1, quick), Tick("slow", 3600, slow)])
    assert (len(quick.times), len(slow.times)) == (1, 1)
    assert wait(lambda: len(quick.times) >= 4)
    assert quick.times[3] - quick.times[0] >= 0.15
    assert len(slow.times) == 1


def test_a_tick_that_fails_stops_neither_itself_nor_the_others(started: Callable[[list[Tick]], Clock]) -> None:
    failing, fine = Counted(fail), Counted()
    started([Tick("failing", 0.1, failing), Tick("fine", 0.1, fine)])
    assert wait(lambda: len(failing.times) >= 3 and len(fine.times) >= 3)


def test_a_tick_that_hangs_is_not_begun_again_and_holds_up_nobody(started: Callable[[list[Tick]], Clock]) -> None:
    go_on, first = threading.Event(), [True]

    def hang_the_second_time() -> None:
        if first:
            first.clear()
            return
        go_on.wait(10)

    hanging, fine = Counted(hang_the_second_time), Counted()
    started([Tick("hanging", 0.1, hanging), Tick("fine", 0.1, fine)])
    assert wait(lambda: len(fine.times) >= 6)
    assert len(hanging.times) == 2
    go_on.set()
    assert wait(lambda: len(hanging.times) >= 3)


def test_a_stopped_clock_does_not_tick() -> None:
    quick = Counted()
    clock = Clock([Tick("quick", 0.05, quick)])
    clock.start()
    assert wait(lambda: len(quick.times) >= 2)
    clock.stop()
    time.sleep(0.1)
    ticks = len(quick.times)
    time.sleep(0.3)
    assert len(quick.times) == ticks
