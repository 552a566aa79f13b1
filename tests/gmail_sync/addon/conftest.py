"""The application with its side panel, and a team that uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from flask import Flask

from config.app import create_app
from config.rooms import Rooms
from config.settings import load
from gmail_sync.sandbox import Sandbox
from gmail_sync.sandbox.addon import CLIENT_ID, SERVICE_ACCOUNT
from tests.gmail_sync.addon.house import URL, House
from tests.gmail_sync.addon.room import furnish
from tests.gmail_sync.syncing import ALICE, BOB, Team
from tracker.panel import Asked

MakeApp = Callable[..., Flask]


@pytest.fixture
def make_app(database_url: str, sandbox: Sandbox, team: Team) -> Iterator[MakeApp]:
    """Makes applications with the side panel, whose Google is the sandbox."""
    opened: list[Rooms] = []

    def make(**overrides: object) -> Flask:
        google = team.services.google
        settings = load(
            **{
                "database_url": database_url, "secret_key": "k" * 40, "public_url": URL,
                "google_client_id": sandbox.client_id, "google_client_secret": sandbox.client_secret,
                "gmail_api_url": sandbox.url, "google_auth_url": google.auth_url,
                "google_token_url": google.token_url, "google_certs_url": google.certs_url,
                "addon_service_account": SERVICE_ACCOUNT, "addon_client_id": CLIENT_ID, **overrides,
            }
        )  # fmt: skip
        furnished = Rooms(settings, team.sessions.kw["bind"], team.sessions)
        # The vault that the team's mailboxes were connected with.
        furnished.__dict__["gmail"] = replace(team.services, patience=0.0)
        opened.append(furnished)
        app = create_app(settings, furnished)
        app.config.update(TESTING=True, PROPAGATE_EXCEPTIONS=False)
        return app

    yield make
    for furnished in opened:
        furnished.close()


@pytest.fixture
def house(make_app: MakeApp, team: Team, sandbox: Sandbox) -> House:
    """The team, connected, with the panel; a mailbox is read when its first mail arrives."""
    boxes = {address: team.connect(address) for address in (ALICE, BOB)}
    return House(make_app(), team, sandbox, team.sessions, boxes)


@pytest.fixture
def asked(house: House) -> list[Asked]:
    """A room that shows a section at each place, and does things; what it was asked, in order."""
    return furnish(house)
