"""Cut off anywhere, and `kill -9` amid relabelling 500 threads: every thread is labelled right in the end."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from gmail_sync.labels.tables import Label
from gmail_sync.sandbox import Fault
from tests.gmail_sync import processes
from tests.gmail_sync.labels.lanes import World
from tests.gmail_sync.labels.world import Phone
from tests.gmail_sync.processes import Workers, until
from tests.gmail_sync.syncing import Team
from tests.tracker.domain import a_team
from tracker import boxes, filing
from tracker.boxes import Box
from tracker.conversations import Conversation, Thread
from tracker.db import transaction

workers = processes.workers
THREADS = 500


def _rename_to_a_label_that_there_is(world: World) -> dict[str, int]:
    """Threads carry a box's label, and the box is renamed to what another label is called; the threads, by box."""
    box = world.lanes[0].boxes[0]
    threads = [thread for lane in world.lanes for thread in lane.threads]
    with transaction(world.sessions) as session:
        for thread in threads[:-1]:
            there = session.get_one(Thread, (world.mailbox.id, thread))
            conversation = session.get_one(Conversation, there.conversation_id)
            filing.file(session, world.viewer, conversation, session.get_one(Box, box))
    world.sync()
    world.gmail.put(threads[-1], world.gmail.make(f"Boxes/Sales/Renamed {box}"), True)
    with transaction(world.sessions) as session:
        boxes.rename(session, world.viewer, session.get_one(Box, box), f"Renamed {box}")
    return dict.fromkeys(threads, box)


def _is_right(world: World, threads: dict[str, int]) -> None:
    (box,) = set(threads.values())
    label = world.gmail.id_of(f"Boxes/Sales/Renamed {box}")
    assert label is not None
    with world.sessions() as session:
        filed = world._filed(session)
    for thread in threads:
        assert filed[thread] == {box}
        assert set().union(*(world.gmail.carried[id_] for id_ in world.gmail.threads[thread])) == {label}
    assert len([path for path in world.gmail.names.values() if path.startswith("Boxes/Sales/")]) == 1


@pytest.mark.parametrize("late", [True, pytest.param(False, marks=pytest.mark.soak)])
def test_a_rename_that_is_cut_off_at_any_call_ends_as_if_it_had_not_been(team: Team, *, late: bool) -> None:
    with transaction(team.sessions) as session:
        user = a_team(session)
    dies, lived = 0, False
    while not lived:
        dies += 1
        world = World(team.sessions, team.services, user, dies, 2)
        threads = _rename_to_a_label_that_there_is(world)
        lived = world.sync(dies, late=late)
        world.settle()
        _is_right(world, threads)
        world.end()
    assert dies > 4


def _filed_at_once(session: Session, phone: Phone, box: int) -> None:
    """All threads of a mailbox into a box, faster than one by one."""
    statement = """
      INSERT INTO filings (team_id, key, conversation_id, box_id, pipeline_id, state, origin, reason)
      SELECT t.team_id, 'k' || t.conversation_id, t.conversation_id, b.id, b.pipeline_id, 'filed', 'person', 'x'
      FROM threads t JOIN boxes b ON b.id = :box WHERE t.mailbox_id = :mailbox
    """
    session.execute(text(statement), {"box": box, "mailbox": phone.mailbox.id})


def test_killed_in_the_middle_of_500_threads(phone: Phone, workers: Workers) -> None:
    threads = [phone.thread(messages=1 + 3 * (number % 2)) for number in range(THREADS)]
    phone.sync()
    box = phone.a_box("Acme")
    with transaction(phone.team.sessions) as session:
        _filed_at_once(session, phone, box)
    phone.on()
    assert phone.of_thread(threads[-1]) == {"Boxes/Sales/Acme"}
    phone.label(threads[0], "Boxes/Sales/Acme Inc")
    with phone.tracker() as (session, viewer):
        boxes.rename(session, viewer, session.get_one(Box, box), "Acme Inc")
    phone.team.sandbox.stats.reset()
    phone.team.sandbox.faults.add(Fault(kind="latency", method="messages.batchModify", seconds=0.4))
    for calls in (1, 2):  # in the middle of the first call, and of the second
        worker = workers.start()
        until(lambda at=calls: _asked(phone) >= at, 40, f"call {calls}", [worker])  # type: ignore[misc]
        worker.kill()
    worker = workers.start()
    until(lambda: "Boxes/Sales/Acme" not in phone.labels(), 60, "the old label's end", [worker])
    worker.kill()
    phone.team.sandbox.faults.clear()
    assert phone.is_quiet()
    for thread in threads:
        assert phone.of_thread(thread) == {"Boxes/Sales/Acme Inc"}
        assert phone.in_boxes(thread) == {"Acme Inc"}
    assert _asked(phone) <= 6, "what was said is not said again and again"
    with phone.team.sessions() as session:
        assert session.scalar(select(Label.former).where(Label.former)) is None


def _asked(phone: Phone) -> int:
    faults = phone.team.sandbox.faults._faults
    return sum(
        fault.hits for fault in faults if fault.method == "messages.batchModify"
    ) or phone.team.sandbox.stats.calls(phone.address).get("messages.batchModify", 0)


pytestmark = pytest.mark.timeout(300)
