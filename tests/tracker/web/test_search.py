"""The page of the search, and the palette."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests.tracker.domain import a_box
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import a_mail, browser_of, counted, some_mail
from tracker.web import search as page


def test_finds_boxes_contacts_organizations_and_mail_together(
    browser: FlaskClient, team: Team, write: Session
) -> None:
    a_box(write, team.viewer, "Wolfram renewal", "wolf@wolfram.test")
    a_mail(write, team.mailbox, "About wolfram", sender="sam@new.test", text="The price of wolfram rises.")
    write.commit()
    found = browser.get("/search?q=wolf").text
    for part in ("found-boxes", "found-contacts", "found-organizations", "found-mail"):
        assert part in found, part
    assert "<mark>Wolf</mark>ram renewal" in found
    assert "price of <mark>wolfram</mark> rises" in found


def test_a_fragment_for_the_page_that_is_open(browser: FlaskClient, team: Team, write: Session) -> None:
    a_box(write, team.viewer, "Acme deal")
    write.commit()
    fragment = browser.get("/search?q=acme", headers={"HX-Request": "true"}).text
    assert fragment.strip().startswith('<div id="found"')
    assert "deal" in fragment


def test_what_is_found_and_typed_is_text_never_markup(browser: FlaskClient, team: Team, write: Session) -> None:
    a_box(write, team.viewer, "<img src=x> evil")
    a_mail(write, team.mailbox, "<b>evil</b>", text="evil <script>alert(1)</script> evil \ue000 here")
    write.commit()
    found = browser.get("/search?q=evil").text
    assert "<script>alert" not in found
    assert "<img" not in found
    assert "<b>" not in found
    assert "&lt;b&gt;<mark>evil</mark>" in found
    assert "&lt;img src=x&gt; <mark>evil</mark>" in found
    assert "<script>" not in browser.get("/search?q=%3Cscript%3Ealert").text.split("<main")[1]


def test_an_excerpt_has_no_quoting_marks(browser: FlaskClient, team: Team, write: Session) -> None:
    quoted = "Fine.\n\n> Dana wrote:\n>> > five  totes\n>>of helium\t\n> > \n"
    a_mail(write, team.mailbox, "Totes", text=quoted)
    write.commit()
    found = browser.get("/search?q=helium").text
    assert "Fine. Dana wrote: five totes of <mark>helium</mark>" in found


def test_nobody_finds_what_is_not_theirs(app: Flask, team: Team, write: Session) -> None:
    a_mail(write, team.mailbox, "Secret merger", text="For Alice only")
    write.commit()
    assert "Secret" in browser_of(app, team.alice).get("/search?q=merger").text
    bobs = browser_of(app, team.bob).get("/search?q=merger").text
    assert "Secret" not in bobs
    assert "Nothing found" in bobs


def test_all_mail_page_by_page(browser: FlaskClient, team: Team, write: Session) -> None:
    mails = ({"subject": f"Offer {number:02}.", "text": "zirconium"} for number in range(70))
    some_mail(write, team.mailbox, mails)
    write.commit()
    first = browser.get("/search?q=zirconium").text
    address, seen = "/search?only=mail&q=zirconium", []
    assert "All mail that fits" in first
    while address:
        found = browser.get(address).text
        seen += [number for number in range(70) if f"Offer {number:02}." in found]
        address = (
            found.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
            if 'rel="next"' in found
            else ""
        )
    assert sorted(seen) == list(range(70))


def test_as_many_queries_for_much_as_for_little(
    browser: FlaskClient, team: Team, write: Session, app: Flask
) -> None:
    used = app.extensions["gmail_sync"].services.sessions.kw["bind"]
    a_box(write, team.viewer, "Cobalt 0", "cobalt0@firm0.test")
    a_mail(write, team.mailbox, "Cobalt", text="cobalt")
    write.commit()
    browser.get("/search?q=cobalt")
    with counted(used) as few:
        assert "found-mail" in browser.get("/search?q=cobalt").text
    for number in range(1, 15):
        a_box(write, team.viewer, f"Cobalt {number}", f"cobalt{number}@firm{number}.test")
        a_mail(write, team.mailbox, f"Cobalt {number}", text="cobalt")
    write.commit()
    with counted(used) as many:
        assert "Cobalt" in browser.get("/search?q=cobalt").text
    assert len(many) <= len(few)
    assert len(many) <= 45


def test_a_section_that_takes_too_long_says_what_to_do(
    browser: FlaskClient, team: Team, write: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import text

    a_box(write, team.viewer, "Acme deal")
    write.commit()
    monkeypatch.setattr(page, "PATIENCE_MS", 100)
    slow = lambda session, *_: session.execute(text("SELECT pg_sleep(5)"))  # noqa: E731
    monkeypatch.setattr(page.search, "find_mail", slow)
    found = browser.get("/search?q=acme")
    assert found.status_code == 200
    assert "too broad to look through" in found.text
    assert "deal" in found.text


@pytest.mark.parametrize(
    "typed",
    ["%00", "'", "\\", "' :* & | !", "((", "a" * 5000, "from:", "from:%00x", "before:never", '"', "-", "-a", ":*",
     "%F0%9F%98%80", "in:%25", "to:a@", "has:x", "after:9999-99-99", "x'); DROP TABLE boxes", "from:'", "&lt;->"],
)  # fmt: skip
def test_whatever_is_typed_is_answered(browser: FlaskClient, typed: str) -> None:
    assert browser.get(f"/search?q={typed}").status_code == 200
    assert browser.get(f"/search?only=mail&q={typed}").status_code == 200
    assert browser.get(f"/search/palette?q={typed}").status_code == 200


class TestPalette:
    def test_offers_pages_and_what_can_be_begun(self, browser: FlaskClient) -> None:
        offered = browser.get("/search/palette").text
        assert 'href="/inbox"' in offered
        assert "New box in Sales" in offered
        assert "New box in Sales" in browser.get("/search/palette?q=new sal").text
        assert "New box in Sales" not in browser.get("/search/palette?q=zzz").text
        assert 'href="/followups#new-task"' in browser.get("/search/palette?q=new ta").text

    def test_finds_boxes_and_contacts(self, browser: FlaskClient, team: Team, write: Session) -> None:
        box = a_box(write, team.viewer, "Acme deal", "anna@acme.test")
        write.commit()
        offered = browser.get("/search/palette?q=ac").text
        assert f"/b/{box.key}" in offered
        assert "anna@acme.test" in browser.get("/search/palette?q=anna").text
        assert "/search?q=ac" in offered

    def test_asks_for_a_sign_in(self, app: Flask, team: Team) -> None:
        answer = app.test_client().get("/search/palette", headers={"HX-Request": "true"})
        assert answer.status_code == 401
        assert answer.headers["HX-Redirect"]
