"""The inbox: what is in it, and tagging."""

from __future__ import annotations

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests.tracker.domain import a_box, pipeline
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import a_mail, browser_of, counted
from tracker import filing
from tracker.filing import Filing


def filed_in(write: Session, conversation_id: int) -> list[tuple[int | None, str, str]]:
    write.expire_all()
    found: list[Filing] = filing.of_conversations(write, [conversation_id])[conversation_id]
    return [(one.box_id, one.state, one.reason) for one in found]


def test_shows_unfiled_first_and_all_on_demand(browser: FlaskClient, team: Team, write: Session) -> None:
    a_box(write, team.viewer, "Acme deal", "anna@acme.test")
    a_mail(write, team.mailbox, "About the deal", sender="anna@acme.test")
    a_mail(write, team.mailbox, "From a stranger", sender="sam@new.test", labels=("INBOX", "UNREAD"))
    write.commit()
    unfiled, every = browser.get("/inbox").text, browser.get("/inbox?show=all").text
    assert "From a stranger" in unfiled
    assert "About the deal" not in unfiled
    assert "About the deal" in every
    assert "Acme deal" in every
    assert 'class="row unread"' in unfiled


def test_holds_only_the_viewers_own_mail(app: Flask, team: Team, write: Session) -> None:
    a_mail(write, team.mailbox, "For Alice only")
    a_mail(write, team.bobs, "For Bob only")
    write.commit()
    bobs = browser_of(app, team.bob).get("/inbox?show=all").text
    assert "For Bob only" in bobs
    assert "For Alice only" not in bobs


def test_without_a_mailbox_says_what_to_do(app: Flask, team: Team) -> None:
    assert "Connect your mailbox" in browser_of(app, team.gina).get("/inbox").text


def test_goes_through_page_by_page_and_misses_none(browser: FlaskClient, team: Team, write: Session) -> None:
    from tests.tracker.domain import NOW

    for number in range(120):
        a_mail(write, team.mailbox, f"Mail {number:03}.", at=NOW if number % 3 else None)
    write.commit()
    address, seen = "/inbox", []
    while address:
        page = browser.get(address).text
        seen += [number for number in range(120) if f"Mail {number:03}." in page]
        address = (
            page.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&") if 'rel="next"' in page else ""
        )
    assert sorted(seen) == list(range(120))


def test_takes_as_many_queries_for_50_rows_as_for_5(
    browser: FlaskClient, team: Team, write: Session, app: Flask
) -> None:
    used = app.extensions["gmail_sync"].services.sessions.kw["bind"]
    for number in range(50):
        a_box(write, team.viewer, f"Deal {number}", f"p{number}@firm.test")
    for number in range(5):
        a_mail(write, team.mailbox, f"Mail {number}", sender=f"p{number}@firm.test")
    write.commit()
    with counted(used) as few:
        assert browser.get("/inbox?show=all").text.count('class="row"') == 5
    for number in range(5, 50):
        a_mail(write, team.mailbox, f"Mail {number}", sender=f"p{number}@firm.test")
    write.commit()
    with counted(used) as many:
        assert browser.get("/inbox?show=all").text.count('class="row"') == 50
    assert len(few) == len(many)
    assert len(many) <= 14


class TestTagging:
    def test_several_into_a_box_by_its_name(self, browser: FlaskClient, team: Team, write: Session) -> None:
        box = a_box(write, team.viewer, "Acme deal")
        two = [a_mail(write, team.mailbox, f"Mail {number}") for number in range(2)]
        write.commit()
        data = {"conversation": [one.key for one in two], "box": "acme DEAL", "into": "box", "_place": "tag"}
        page = browser.post("/inbox/tag", data=data, follow_redirects=True).text
        assert "2 conversations in Acme deal" in page
        for one in two:
            assert filed_in(write, one.id) == [(box.id, "filed", "because you put it here")]

    def test_into_a_new_box_of_a_pipeline(self, browser: FlaskClient, team: Team, write: Session) -> None:
        two = [a_mail(write, team.mailbox, f"Mail {number}", sender="dana@new.test") for number in range(2)]
        key = pipeline(write, team.alice.team_id).key
        write.commit()
        data = {"conversation": [one.key for one in two], "pipeline": key, "into": "new", "_place": "tag"}
        browser.post("/inbox/tag", data=data)
        boxes = {filed_in(write, one.id)[0][0] for one in two}
        assert len(boxes) == 1

    def test_an_ambiguous_name_asks_which(self, browser: FlaskClient, team: Team, write: Session) -> None:
        first, second = a_box(write, team.viewer, "Acme"), a_box(write, team.viewer, "Acme")
        mail = a_mail(write, team.mailbox)
        write.commit()
        data = {"conversation": mail.key, "box": "Acme", "into": "box", "_place": "tag"}
        asked = browser.post("/inbox/tag", data=data)
        assert asked.status_code == 422
        assert "Which of these do you mean?" in asked.text
        assert first.key in asked.text
        assert f'value="{mail.key}" checked' in asked.text
        browser.post("/inbox/tag", data={**data, "chosen": second.key})
        assert filed_in(write, mail.id)[0][0] == second.id

    def test_nothing_ticked(self, browser: FlaskClient, team: Team, write: Session) -> None:
        a_mail(write, team.mailbox)
        write.commit()
        answer = browser.post("/inbox/tag", data={"box": "x", "into": "box", "_place": "tag"})
        assert answer.status_code == 422
        assert "Tick at least one conversation first" in answer.text

    def test_not_what_the_viewer_may_not_read(self, app: Flask, team: Team, write: Session) -> None:
        a_box(write, team.viewer, "Acme deal")
        private = a_mail(write, team.mailbox, "For Alice only")
        write.commit()
        data = {"conversation": private.key, "box": "Acme deal", "into": "box", "_place": "tag"}
        assert browser_of(app, team.bob).post("/inbox/tag", data=data).status_code == 422
        assert filed_in(write, private.id) == []


class TestSuggestions:
    def suggested(self, team: Team, write: Session) -> tuple[int, list[Filing]]:
        for name in ("Licence", "Support"):
            a_box(write, team.viewer, name, "dana@two.test")
        mail = a_mail(write, team.mailbox, "Which one?", sender="dana@two.test")
        write.commit()
        return mail.id, filing.of_conversations(write, [mail.id])[mail.id]

    def test_are_shown_with_their_reason_and_accepted(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        mail, found = self.suggested(team, write)
        assert "because dana@two.test is a contact of this box" in browser.get("/inbox").text
        answer = browser.post(f"/filings/{found[0].key}/accept", data={"_next": "/inbox"})
        assert answer.headers["Location"] == "/inbox"
        assert [one[:2] for one in filed_in(write, mail)] == [(found[0].box_id, "filed")]

    def test_are_declined(self, browser: FlaskClient, team: Team, write: Session) -> None:
        mail, found = self.suggested(team, write)
        browser.post(f"/filings/{found[0].key}/dismiss", data={"_next": "//evil.test/"})
        assert (found[0].box_id, "dismissed") in [one[:2] for one in filed_in(write, mail)]

    def test_that_are_gone_say_so(self, browser: FlaskClient, team: Team, write: Session) -> None:
        _, found = self.suggested(team, write)
        browser.post(f"/filings/{found[0].key}/dismiss", data={"_next": "/inbox"})
        again = browser.post(f"/filings/{found[0].key}/dismiss", data={"_next": "/inbox"})
        assert again.status_code == 422
        assert "no longer a suggestion" in again.text

    def test_lead_back_only_to_our_own_pages(self, browser: FlaskClient, team: Team, write: Session) -> None:
        _, found = self.suggested(team, write)
        answer = browser.post(f"/filings/{found[0].key}/accept", data={"_next": "//evil.test/"})
        assert answer.headers["Location"] == "/"
