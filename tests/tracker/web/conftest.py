"""A team with mail in the database, and its browsers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from config import teams
from config.app import create_app
from config.rooms import Rooms
from config.settings import load
from tests.tracker.web.factories_web import ALICE, BOB, a_mailbox, browser_of
from tracker import people
from tracker.db import Sessions
from tracker.mailboxes import Mailbox
from tracker.people import Role, User, Viewer


@dataclass(slots=True)
class Team:
    """Alice is its admin and owns a mailbox; Bob is a teammate with one; Gina is a guest without."""

    alice: User
    bob: User
    gina: User
    mailbox: Mailbox
    bobs: Mailbox
    viewer: Viewer


@pytest.fixture
def app(database_url: str, engine: Engine, sessions: Sessions) -> Iterator[Flask]:
    """The web application on the test's database."""
    settings = load(
        database_url=database_url, secret_key="k" * 40, google_client_id="id", google_client_secret="secret"
    )
    furnished = Rooms(settings, engine, sessions)
    made = create_app(settings, furnished)
    made.config.update(TESTING=True, WTF_CSRF_ENABLED=False, PROPAGATE_EXCEPTIONS=False)
    yield made
    furnished.close()


@pytest.fixture
def team(sessions: Sessions) -> Team:
    """A team as a new one is, with three people."""
    with sessions() as session, session.begin():
        alice = teams.found(session, "Test team", ALICE, "Alice Archer")
        bob = people.add_user(session, alice.team_id, BOB, name="Bob Baker")
        gina = people.add_user(session, alice.team_id, "gina@team.example", name="Gina", role=Role.GUEST)
        return Team(
            alice, bob, gina, a_mailbox(session, alice), a_mailbox(session, bob), people.viewer_of(alice, "test")
        )


@pytest.fixture
def browser(app: Flask, team: Team) -> FlaskClient:
    """Alice's browser."""
    return browser_of(app, team.alice)


@pytest.fixture
def write(sessions: Sessions) -> Iterator[Session]:
    """A session to arrange with; commit before the browser looks."""
    with sessions() as session:
        yield session
