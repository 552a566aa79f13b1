"""What every page has: a session that is all or nothing, headers, errors, and who is let in."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests.tracker.domain import a_box
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import a_mail, browser_of
from tracker import boxes
from tracker.boxes import Box
from tracker.web import filters, frame
from tracker.web.frame import db, viewer


def test_healthz_answers_anybody(app: Flask) -> None:
    answer = app.test_client().get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_healthz_tells_when_the_database_is_gone(app: Flask) -> None:
    from tracker.db import make_engine, make_sessions

    app.extensions["tracker"].sessions = make_sessions(make_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"))
    answer = app.test_client().get("/healthz")
    assert answer.status_code == 503
    assert "The database can" in answer.text


@pytest.mark.parametrize(
    "address", ["/", "/inbox", "/p/x", "/b/x", "/c/x", "/m/x/frame", "/mailboxes", "/contacts/x"]
)
def test_nobody_gets_in_without_signing_in(app: Flask, address: str) -> None:
    answer = app.test_client().get(address)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/sign-in?next=")


def test_every_view_but_the_doors_asks_for_a_sign_in(app: Flask) -> None:
    public = {name for name, view in app.view_functions.items() if getattr(view, "is_public", False)}
    assert public == {
        "pages.healthz", "pages.favicon", "sign_in.show", "sign_in.begin", "sign_in.back",
        "sign_in.leave", "sign_in.join", "gmail_push.push",
        "bell.service_worker",
        "privacy.show", "privacy.ask",  # who does not want to be tracked has no account here
        "calendar.feed",  # a calendar can't sign in: the secret in its address is what it knows
    }  # fmt: skip


def test_a_user_who_was_removed_is_signed_out(app: Flask, team: Team, write: Session) -> None:
    browser = browser_of(app, team.gina)
    assert browser.get("/inbox").status_code == 200
    write.delete(write.merge(team.gina))
    write.commit()
    assert browser.get("/inbox").status_code == 302


def test_pages_allow_no_inline_scripts_or_styles_and_no_framing(browser: FlaskClient, team: Team) -> None:
    answer = browser.get("/inbox")
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert " style=" not in answer.text
    assert "<style" not in answer.text
    assert " onclick=" not in answer.text


@pytest.mark.parametrize("path", ["/inbox?show=all&after=5.x", "/b/käse", "/"])
def test_one_goes_on_to_our_own_pages(path: str) -> None:
    assert frame.local_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "//evil.test",
        "/\\evil.test",
        "/\t/evil.test",
        "/\r/evil.test",
        "/\n\\evil.test",
        "https://evil.test",
        "",
        None,
    ],
)
def test_no_path_leads_to_another_site(path: str | None) -> None:
    assert frame.local_path(path) == "/"


class TestMailFrame:
    HTML = '<p onclick="x()">Hello <img src="https://spy.test/p.gif"><script>alert(1)</script></p>'

    def test_shows_sanitised_mail_that_can_do_nothing(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        a_mail(write, team.mailbox, "Formatted", html=self.HTML, message_id="html@mail.test")
        write.commit()
        key = _key_of(write, "html@mail.test")
        answer = browser.get(f"/m/{key}/frame")
        assert "Hello" in answer.text
        assert "script>" not in answer.text
        assert "onclick" not in answer.text
        assert ' src="https://spy.test' not in answer.text
        policy = answer.headers["Content-Security-Policy"]
        assert "sandbox allow-popups" in policy
        assert "default-src 'none'" in policy
        assert "https:" not in policy
        assert "script-src" not in policy

    def test_shows_images_when_asked(self, browser: FlaskClient, team: Team, write: Session) -> None:
        mail = a_mail(write, team.mailbox, "Formatted", html=self.HTML, message_id="html@mail.test")
        write.commit()
        assert "Show images" in browser.get(f"/c/{mail.key}").text
        answer = browser.get(f"/m/{_key_of(write, 'html@mail.test')}/frame?images=1")
        assert "https://spy.test/p.gif" in answer.text
        assert "img-src data: https:" in answer.headers["Content-Security-Policy"]

    def test_is_for_those_who_may_read_the_mail(self, app: Flask, team: Team, write: Session) -> None:
        a_mail(write, team.mailbox, "Formatted", html=self.HTML, message_id="html@mail.test")
        write.commit()
        key = _key_of(write, "html@mail.test")
        assert browser_of(app, team.bob).get(f"/m/{key}/frame").status_code == 404


def _key_of(write: Session, message_id: str) -> str:
    from sqlalchemy import select

    from tracker.messages import Message

    return write.scalars(select(Message.key).where(Message.rfc822_message_id == message_id)).one()


class TestErrors:
    @pytest.mark.parametrize(
        ("method", "address", "status"),
        [
            ("GET", "/nothing", 404), ("GET", "/b/nothing", 404), ("GET", "/c/a%00b", 404),
            ("GET", "/p/x/settings", 404),
            ("POST", "/inbox", 405), ("GET", "/inbox?after=nonsense", 400), ("GET", f"/inbox?after={9**40}", 400),
            ("GET", "/inbox?after=5.%00", 200), ("GET", "/inbox/choices?box=%00%25", 200),
            ("POST", "/filings/x/accept", 404), ("POST", "/mailboxes/x/sync", 404),
        ],
    )  # fmt: skip
    def test_wrong_input_is_told_in_the_shell(
        self, browser: FlaskClient, team: Team, method: str, address: str, status: int
    ) -> None:
        answer = browser.open(address, method=method)
        assert answer.status_code == status
        if status >= 400:
            assert "Sign out" in answer.text
            assert "Traceback" not in answer.text

    def test_too_much_is_refused(self, browser: FlaskClient, team: Team) -> None:
        assert browser.post("/inbox/tag", data={"box": "x" * 3_000_000}).status_code == 413

    def test_a_fault_of_ours_changes_nothing_and_says_so(
        self, app: Flask, team: Team, write: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        box = a_box(write, team.viewer, "Deal", at="Lead")
        write.commit()

        def half_done(session: Session, who: object, found: Box, name: str) -> None:
            found.name = name
            session.flush()
            raise RuntimeError("broken")

        monkeypatch.setattr(boxes, "rename", half_done)
        answer = browser_of(app, team.alice).post(f"/b/{box.key}/name", data={"name": "New"})
        assert answer.status_code == 500
        assert "Nothing was changed" in answer.text
        write.expire_all()
        assert write.get_one(Box, box.id).name == "Deal"

    def test_an_error_without_a_sign_in_needs_no_shell(self, app: Flask) -> None:
        answer = app.test_client().get("/nothing")
        assert answer.status_code == 404
        assert "Sign out" not in answer.text


def test_every_post_needs_its_token(app: Flask, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Deal", at="Lead")
    write.commit()
    app.config["WTF_CSRF_ENABLED"] = True
    answer = browser_of(app, team.alice).post(f"/b/{box.key}/name", data={"name": "Forged"})
    assert answer.status_code == 400
    assert "Load it again" in answer.text
    write.expire_all()
    assert write.get_one(Box, box.id).name == "Deal"


def test_what_waits_for_the_commit_runs_after_it_and_may_fail(app: Flask, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Deal", at="Lead")
    write.commit()
    seen: list[str] = []

    @app.post("/try")
    def attempt() -> str:
        boxes.rename(db(), viewer(), db().get_one(Box, box.id), "Renamed")
        frame.after_commit(lambda: (write.expire_all(), seen.append(write.get_one(Box, box.id).name)))
        frame.after_commit(lambda: 1 / 0)
        return "done"

    assert browser_of(app, team.alice).post("/try").text == "done"
    assert seen == ["Renamed"]


def test_days_and_amounts_are_written_one_way(app: Flask) -> None:
    with app.test_request_context():
        this = date.today().year
        told = {
            filters.day(date(this, 11, 4)),
            filters.day(f"{this}-11-04"),
            str(filters.when(noon(this), day=True)),
        }
        assert all("4 Nov" in one and f"Nov {this}" not in one for one in told)
        other = {filters.day(f"{this - 1}-11-04"), str(filters.when(noon(this - 1), day=True))}
        assert all(f"4 Nov {this - 1}" in one for one in other)
        assert filters.day("soon") == "soon"
        assert filters.money({"amount": "12500.00", "currency": "EUR"}) == "€12,500"
        assert filters.money_to_type({"amount": "12500.00", "currency": "EUR"}) == "12,500.00 EUR"
        assert filters.money(None) == filters.money({"amount": "x"}) == ""


def noon(year: int) -> datetime:
    return datetime(year, 11, 4, 12, tzinfo=UTC)
