"""The team and the application of the pages' tests, and the stage of the walks, planted once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from config.app import create_app
from config.postgres import Cluster
from config.rooms import Rooms
from config.settings import load
from tests import databases
from tests.security import canary, walk
from tests.security.canary import House
from tests.security.walk import Eyes, Noting, Walk
from tests.tracker.web.conftest import app, browser, team
from tests.tracker.web.factories_web import browser_of
from tracker import row_security
from tracker.db import Sessions, make_engine
from tracker.people import User
from tracker.web import errors, frame

__all__ = ["alices", "app", "browser", "quick", "stage", "team"]
NAME, PLANTED = "canary", "canary_planted"


class Undone(Session):
    """A session that may be told to keep nothing: what a page commits is there until its answer is."""

    keeps = True

    def commit(self) -> None:
        """Commit, or seem to."""
        if self.keeps:
            super().commit()
        else:
            self.flush()


@dataclass(slots=True)
class Stage:
    """One application on one database, in which Alice's secrets are."""

    cluster: Cluster
    app: Flask
    engine: Engine
    sessions: Sessions
    house: House
    keys: dict[str, list[str]]
    _eyes: dict[str, Eyes] = field(default_factory=dict)

    def walk(self, name: str, *, wide: bool = False) -> Walk:
        """The addresses that there are for somebody."""
        few = {} if wide else {"most": 1, "asks": 1}
        return Walk(self.app, self.keys, self.house.secrets.get(name, "unknown"), **few)

    def eyes(self, name: str) -> Eyes:
        """Somebody's browser; nobody's, for `nobody`."""
        if name not in self._eyes:
            user = self.house.alice if name == "alice" else self.house.people.get(name)
            self._eyes[name] = Eyes(self.app, self._cookie(user) if user else "")
        return self._eyes[name]

    def eyes_anew(self, name: str) -> Eyes:
        """Somebody's browser after they signed in again."""
        self._eyes.pop(name, None)
        return self.eyes(name)

    def _cookie(self, user: User) -> str:
        found = browser_of(self.app, user).get_cookie(self.app.config["SESSION_COOKIE_NAME"])
        assert found is not None
        return found.value

    @contextmanager
    def undoing(self) -> Iterator[None]:
        """Within it each request finds everything as it was."""
        Undone.keeps = False
        try:
            yield
        finally:
            Undone.keeps = True

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Afterwards everything is as it was. The same address and engine: what was compiled is good on."""
        try:
            yield
        finally:
            self.engine.dispose()
            with databases.administering(self.cluster) as connection:
                connection.execute(f"DROP DATABASE {NAME} WITH (FORCE)")
            databases.copy(self.cluster, PLANTED, NAME)
            self._eyes.clear()


@pytest.fixture(scope="session")
def alices(stage: Stage) -> tuple[list[str], set[str]]:
    """The addresses that tell Alice of what is hers alone, and the routes of which neither she nor the admin gets
    a page."""
    eyes, bob, every = stage.eyes("alice"), stage.eyes("bob"), stage.walk("alice", wide=True)
    question, telling, lost = next(every.questions()), [], set()
    for rule in every.rules("GET"):
        reached = False
        for address in every.filled(rule):
            answer = eyes.get(address)
            asked = address + question if Noting.looked and not rule.arguments else ""
            if rule.endpoint != "calendar.feed":  # its secret is all that it asks for
                telling += [address] if eyes.leak(address, answer) else []
                telling += [asked] if asked and eyes.found([asked]) else []
            reached = reached or answer.status_code < 400
            if reached and rule.rule not in walk.MAIN:
                break
        if not reached and bob.get(every.filled(rule)[0]).status_code >= 400:
            lost.add(rule.endpoint)
    return telling, lost


@pytest.fixture
def quick(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is the same on every page of a person is made once for them: the bell, and the page for an error."""
    made: dict[tuple[object, ...], Any] = {}

    def once(make: Callable[..., Any]) -> Callable[..., Any]:
        def answer(*asked: object) -> Any:
            user = frame.user_or_none()
            key = (make, user and user.id, *asked)
            if key not in made:
                made[key] = make(*asked)
            return made[key]

        return answer

    monkeypatch.setattr(errors, "show", once(errors.show))
    corners = [replace(one, render=once(one.render)) for one in frame.of(stage.app).corners]
    monkeypatch.setattr(frame.of(stage.app), "corners", corners)


@pytest.fixture(scope="session")
def stage(cluster: Cluster) -> Iterator[Stage]:
    """Planted once in a test process."""
    databases.copy(cluster, databases.TEMPLATE, NAME)
    url = databases.address(cluster, NAME)
    engine = make_engine(url)
    row_security.ensure(engine)  # roles are named for their database
    sessions: Sessions = sessionmaker(engine, class_=Undone, expire_on_commit=False)
    with sessions() as session:
        house = canary.settle(session)
        keys = walk.all_keys(session, house.alice.team_id)
    settings = load(database_url=url, secret_key="k" * 40, google_client_id="id", google_client_secret="secret")
    furnished = Rooms(settings, engine, sessions)
    made = create_app(settings, furnished)
    made.config.update(TESTING=True, WTF_CSRF_ENABLED=False, PROPAGATE_EXCEPTIONS=False)
    made.request_class = walk.Noting
    engine.dispose()  # nobody may be connected to what is copied
    databases.copy(cluster, NAME, PLANTED)
    yield Stage(cluster, made, engine, sessions, house, keys)
    furnished.close()
    engine.dispose()
