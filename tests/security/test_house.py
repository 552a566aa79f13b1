"""Guarding the house: changes want a token, cookies and headers are strict, and what comes in is bounded."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import Engine

from config.app import create_app
from config.rooms import Rooms
from config.settings import load
from tests.security.walk import Walk
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import browser_of
from tracker.db import Sessions

#: Changes without a form's token, each with its reason; there are no others.
WITHOUT_TOKEN = {
    "bell_settings.changed": "a service worker has no page; the body is JSON, which another site may not send",
    "gmail_push.push": "Google's own signed token stands in its header",
    "privacy.ask": "whoever holds the mail's token may ask, from any mail program (RFC 8058)",
}


def application(database_url: str, engine: Engine, sessions: Sessions, public_url: str) -> Flask:
    """As it is served: with tokens asked for."""
    settings = load(database_url=database_url, secret_key="k" * 40, public_url=public_url)
    made = create_app(settings, Rooms(settings, engine, sessions))
    made.config["TESTING"] = True
    return made


@pytest.fixture
def served(database_url: str, engine: Engine, sessions: Sessions) -> Flask:
    """The application at an https address."""
    return application(database_url, engine, sessions, "https://localhost")


def test_every_change_wants_a_token(served: Flask, team: Team) -> None:
    walk, open_ = Walk(served, {}, "s", most=1), []
    browser = browser_of(served, team.alice)
    changing = [
        one for one in served.url_map.iter_rules() if {"POST", "PUT", "PATCH", "DELETE"} & (one.methods or set())
    ]
    assert len(changing) > 80
    for rule in changing:
        method = next(iter({"POST", "PUT", "PATCH", "DELETE"} & (rule.methods or set())))
        answer = browser.open(walk.filled(rule)[0], method=method, base_url="https://localhost")
        if answer.status_code != 400:
            open_.append(rule.endpoint)
    assert sorted(open_) == sorted(WITHOUT_TOKEN)


def test_nothing_changes_by_looking(served: Flask) -> None:
    """What takes a GET takes no POST under the same name, so that no link can change anything by accident."""
    both = [one.endpoint for one in served.url_map.iter_rules() if {"GET", "POST"} <= (one.methods or set())]
    assert both == []


def test_the_cookie_is_strict(served: Flask) -> None:
    browser = served.test_client()
    said = browser.get("/sign-in", base_url="https://localhost").headers.getlist("Set-Cookie")
    assert said, "the page with a form keeps its token's secret in the cookie"
    for cookie in said:
        assert {"Secure", "HttpOnly", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}, cookie


def test_headers_of_every_answer(served: Flask) -> None:
    for address in ("/sign-in", "/nowhere", "/healthz", "/static/app.css"):
        headers = served.test_client().get(address, base_url="https://localhost").headers
        assert headers["Strict-Transport-Security"] == "max-age=31536000"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]


def test_http_is_not_told_to_be_https(database_url: str, engine: Engine, sessions: Sessions) -> None:
    """On one's own machine the next program at this port would not be reached any more."""
    plain = application(database_url, engine, sessions, "http://127.0.0.1:8080")
    assert "Strict-Transport-Security" not in plain.test_client().get("/sign-in").headers


def test_what_is_too_long_is_refused(served: Flask, team: Team) -> None:
    answer = browser_of(served, team.alice).post(
        "/contacts", data={"name": "x" * 3_000_000}, base_url="https://localhost"
    )
    assert answer.status_code == 413
