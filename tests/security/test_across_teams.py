"""The walk across teams with the application's team filters switched off: the lock holds alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, event

from tests.security import walk
from tests.security.conftest import Stage
from tests.security.walk import told
from tests.tracker.domain import a_box
from tracker import row_security
from tracker.people import viewer_of
from tracker.row_security import Lock

pytestmark = pytest.mark.usefixtures("quick")
#: What the first team has and the second has not.
THEIRS = re.compile(r"\bAcme\b|\bOffer\b|\bCarol\b|\bArcher\b|quokka(?:mail|box)")
FILTER = re.compile(r"\b[\w.]+\.team_id = (?:%\(\w+\)s(?:::\w+)?|[\w.]+\.team_id)")


@contextmanager
def unfiltered(engine: Engine) -> Iterator[list[str]]:
    """Within it, no statement asks for a team any more; those that did."""
    changed: list[str] = []

    def open_up(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> tuple[str, Any]:
        opened = FILTER.sub(lambda found: f"(true OR {found[0]})", statement)
        if opened != statement:
            changed.append(statement)
        return opened, parameters

    event.listen(engine, "before_cursor_execute", open_up, retval=True)
    try:
        yield changed
    finally:
        event.remove(engine, "before_cursor_execute", open_up)


#: Pages on which a team's admin finds what is her own.
HERS = {
    "/team": "Others",
    "/b/{box}": "Zoes heron",
    "/contacts": "hal@heron.example",
    "/search?q=heron": "Zoes",
}


def test_the_lock_holds_alone(stage: Stage) -> None:
    """Every page and every form, as the other team's admin."""
    zoe, ways = stage.eyes("zoe"), replace(stage.walk("zoe"), most=2)
    with stage.restored():
        with stage.sessions() as session:
            hers = a_box(session, viewer_of(stage.house.people["zoe"], "test"), "Zoes heron", "hal@heron.example")
            session.commit()
        with unfiltered(stage.engine) as changed, stage.undoing():
            leaks = zoe.everywhere(ways, THEIRS)
            for rule in ways.rules("POST"):
                for address in ways.filled(rule)[:1]:
                    leaks.append(zoe.leak(address, zoe.post(address, walk.form(ways, 0)), THEIRS))
            for address, word in HERS.items():
                answer = zoe.get(address.format(box=hers.key))
                assert answer.status_code == 200, address
                assert word in answer.text, address
    leaks = [one for one in leaks if one and not one.startswith("/components")]  # made-up people, called so too
    assert not leaks, told(leaks)
    assert len(changed) > 50


def test_without_the_lock_everything_would_be_seen(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk would find it."""
    monkeypatch.setattr(row_security, "lock_of", lambda _: Lock("", ("taken off",)))
    asked = ("/contacts", *(f"/b/{one}" for one in stage.keys["boxes"]), "/search?q=a", "/inbox", "/organizations")
    with unfiltered(stage.engine):
        leaks = stage.eyes("zoe").found(asked, THEIRS)
    assert len(leaks) >= 2, leaks
