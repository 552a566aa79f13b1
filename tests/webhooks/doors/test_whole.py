"""The doors in Tracker's own server: in front of Flask, knowing who is signed in, kept when it stops."""

from __future__ import annotations

import signal
from pathlib import Path

from flask import Flask
from sqlalchemy.orm import Session

from config.app import create_app
from config.settings import load
from tests.config.running import Running, answers, environment, free_port
from tests.tracker.web.factories_web import browser_of
from tests.webhooks.doors.serving import Load, ask, each_is_stored_once, hits, track
from tracker.db import Sessions
from tracker.people import User

SECRET = "k" * 40


def cookie_of(app: Flask, user: User) -> str:
    """What this person's browser sends."""
    found = browser_of(app, user).get_cookie(app.config["SESSION_COOKIE_NAME"])
    assert found is not None
    return f"{found.key}={found.value}"


def test_in_the_whole_server(database_url: str, sessions: Sessions, session: Session, tmp_path: Path) -> None:
    made, port = track(sessions, 100), free_port()
    env = environment(tmp_path / "var", database_url=database_url, secret_key=SECRET, port=port)
    running = Running(env, "serve", log=tmp_path / "serve.log")
    running.wait_for(lambda: answers(f"http://127.0.0.1:{port}/healthz"), 60)
    try:
        alice = session.query(User).one()
        cookie = cookie_of(create_app(load(database_url=database_url, secret_key=SECRET)), alice)
        assert ask(port, f"/l/{made.links[0]}", User_Agent="load-alice", Cookie=f"a=b; {cookie}")[0] == 302
        assert ask(port, f"/l/{made.links[0]}", User_Agent="load-forged", Cookie=f"{cookie}x")[0] == 302
        assert [one.user_key for one in hits(session)] == [alice.key, None]
        busy = Load(port, [f"/t/{one}.gif" for one in made.pixels], threads=4)
        busy.asked |= {"load-alice", "load-forged"}
        with busy:
            busy.some(100)
            assert running.stop(signal.SIGTERM) == 0
        each_is_stored_once(session, busy)
    finally:
        running.stop(signal.SIGKILL)
    assert "Traceback" not in running.log.read_text()
    assert not list((tmp_path / "var" / "hits").glob("*"))
