"""Readers of the log miss nothing, whatever order transactions end in."""

from __future__ import annotations

from sqlalchemy import text

from tracker import events, people
from tracker.db import Sessions, transaction
from tracker.events import Cursor


def kinds(sessions: Sessions, cursor: Cursor) -> tuple[list[str], Cursor]:
    """What a reader finds next, and where it is then."""
    with sessions() as session:
        found = events.after(session, cursor)
        return [event.kind for _, event in found], found[-1][0] if found else cursor


def test_an_event_of_a_transaction_that_is_still_open_is_not_stepped_over(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        team_id = people.create_team(session, "Team").id
    _, cursor = kinds(sessions, Cursor())
    with sessions() as older, sessions() as younger:
        for session in (older, younger):
            session.execute(text("SELECT pg_current_xact_id()"))
        events.record(younger, team_id, "young.first")  # the lower id, in the younger transaction
        events.record(older, team_id, "old.second")
        older.commit()
        seen, cursor = kinds(sessions, cursor)
        younger.commit()
    more, cursor = kinds(sessions, cursor)
    assert sorted(seen + more) == ["old.second", "young.first"]
    assert kinds(sessions, cursor)[0] == []


def test_an_event_is_read_only_once_its_transaction_is_done(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        team_id = people.create_team(session, "Team").id
    _, cursor = kinds(sessions, Cursor())
    with sessions() as writing:
        events.record(writing, team_id, "half.done")
        writing.flush()
        assert kinds(sessions, cursor)[0] == []
        writing.commit()
    assert kinds(sessions, cursor)[0] == ["half.done"]


def test_a_new_reader_starts_from_the_beginning_in_helpings(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        team_id = people.create_team(session, "Team").id
        for number in range(5):
            events.record(session, team_id, f"thing.{number}")
    cursor, seen = Cursor(), []
    while True:
        with sessions() as session:
            found = events.after(session, cursor, limit=2)
        if not found:
            break
        seen += [event.kind for _, event in found]
        cursor = found[-1][0]
    assert seen == ["team.created", *(f"thing.{number}" for number in range(5))]
