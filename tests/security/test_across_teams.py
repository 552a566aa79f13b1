"""The walk across teams with the application's team filters switched off: the lock holds alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, event

from tests.security import canary
from tests.security.canary import House, Walk
from tests.tracker.domain import a_box
from tests.tracker.web.factories_web import browser_of
from tracker import row_security
from tracker.db import Sessions
from tracker.people import viewer_of
from tracker.row_security import Lock

#: What the first team has and the second has not.
THEIRS = re.compile(r"Acme|Offer|Carol|Archer|quokka\w", re.IGNORECASE)
FILTER = re.compile(r"\b[\w.]+\.team_id = (?:%\(\w+\)s(?:::\w+)?|[\w.]+\.team_id)")
NOT_ASKED = {"gmail_drafts.index", "gmail_drafts.show", "live.stream", "files.open_file"}


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


@pytest.fixture
def house(sessions: Sessions) -> House:
    """Two teams."""
    with sessions() as session:
        return canary.settle(session)


#: Pages on which a team's admin finds what is her own.
HERS = {
    "/team": "Others",
    "/b/{box}": "Zoes heron",
    "/contacts": "hal@heron.example",
    "/search?q=heron": "Zoes",
}


def seen(browser: FlaskClient, walk: Walk) -> list[str]:
    """Where something of the first team stands, or what breaks: a page that fell over shows nothing of anybody."""
    found = []
    for rule in walk.rules("GET"):
        if rule.endpoint in NOT_ASKED or rule.endpoint.startswith(("calendar.feed", "components")):
            continue
        for address in walk.filled(rule)[:2]:
            answer = browser.get(address if rule.arguments else f"{address}?q=a")
            if answer.status_code >= 500 or THEIRS.search(answer.get_data(as_text=True)):
                found.append(address)
    return found


def test_the_lock_holds_alone(app: Flask, house: House, sessions: Sessions, engine: Engine) -> None:
    with sessions() as session:
        walk = Walk(app, canary.all_keys(session, house.alice.team_id), house.secret)
        hers = a_box(session, viewer_of(house.people["zoe"], "test"), "Zoes heron", "hal@heron.example")
        session.commit()
    zoe = browser_of(app, house.people["zoe"])
    with unfiltered(engine) as changed:
        assert seen(zoe, walk) == []
        for address, word in HERS.items():
            answer = zoe.get(address.format(box=hers.key))
            assert answer.status_code == 200, address
            assert word in answer.text, address
    assert len(changed) > 50


def test_without_the_lock_everything_would_be_seen(
    app: Flask, house: House, sessions: Sessions, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walk would find it."""
    monkeypatch.setitem(row_security._locks, engine, Lock("", ("taken off",)))
    with sessions() as session:
        keys = canary.all_keys(session, house.alice.team_id)
    zoe = browser_of(app, house.people["zoe"])
    with unfiltered(engine):
        told = [
            zoe.get(one).get_data(as_text=True) for one in ("/contacts", f"/b/{keys['boxes'][0]}", "/search?q=a")
        ]
    assert any(THEIRS.search(one) for one in told)
