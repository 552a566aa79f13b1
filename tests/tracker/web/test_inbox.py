"""The inbox: what is in it, and tagging."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from tests.tracker.domain import NOW, a_box, pipeline
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import ALICE, BOB, a_mail, browser_of, counted, some_mail
from tracker import boxes, conversations, filing
from tracker.boxes import Box
from tracker.filing import Filing
from tracker.messages import Copy, Message
from tracker.people import User
from tracker.web import rows


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
    mails = ({"subject": f"Mail {number:03}.", "at": NOW if number % 3 else None} for number in range(120))
    some_mail(write, team.mailbox, mails)
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
    browser.get("/tasks")  # the lock between teams is looked at once a process
    with counted(used) as few:
        assert browser.get("/inbox?show=all").text.count('<li class="row"') == 5
    mails = ({"subject": f"Mail {number}", "sender": f"p{number}@firm.test"} for number in range(5, 50))
    some_mail(write, team.mailbox, mails)
    write.commit()
    with counted(used) as many:
        assert browser.get("/inbox?show=all").text.count('<li class="row"') == 50
    assert len(few) == len(many)
    assert len(many) <= 16


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

    def test_of_a_box_that_is_gone_are_refused(self, browser: FlaskClient, team: Team, write: Session) -> None:
        mail, found = self.suggested(team, write)
        box = write.get_one(Box, found[0].box_id)
        boxes.delete(write, team.viewer, box, NOW)
        write.commit()
        answer = browser.post(f"/filings/{found[0].key}/accept", data={"_next": "/inbox"})
        assert answer.status_code == 422
        assert "put away meanwhile" in answer.text
        assert (found[0].box_id, "suggested") in [one[:2] for one in filed_in(write, mail)]

    def test_lead_back_only_to_our_own_pages(self, browser: FlaskClient, team: Team, write: Session) -> None:
        _, found = self.suggested(team, write)
        answer = browser.post(f"/filings/{found[0].key}/accept", data={"_next": "//evil.test/"})
        assert answer.headers["Location"] == "/"


JSON = {"Accept": "application/json"}


def act(browser: FlaskClient, address: str, **data: object) -> dict[str, Any]:
    """What a script is told of an act."""
    answer = browser.post(address, data={**data, "_place": "tag"}, headers=JSON)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json
    return told


def undo(browser: FlaskClient, told: dict[str, Any]) -> TestResponse:
    return browser.post("/undo", data={"ticket": told["undo"]}, headers=JSON)


def main(browser: FlaskClient, address: str = "/inbox") -> str:
    """The page without the navigation."""
    return browser.get(address).text.split("<main")[1]


class TestNeedsAnAnswer:
    def test_where_the_last_word_is_theirs_filed_or_not(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        a_box(write, team.viewer, "Acme deal", "anna@acme.test")
        a_mail(write, team.mailbox, "Filed question", sender="anna@acme.test")
        a_mail(write, team.mailbox, "Open question", sender="sam@new.test")
        a_mail(write, team.mailbox, "Answered", sender="ben@new.test", thread="x", at=NOW - timedelta(hours=9))
        a_mail(write, team.mailbox, "Re: Answered", sender=ALICE, to=("ben@new.test",), thread="x", at=NOW)
        write.commit()
        found = main(browser, "/inbox?show=answer")
        assert "Filed question" in found
        assert "Open question" in found
        assert "Answered" not in found

    def test_automatic_mail_has_no_word(self, browser: FlaskClient, team: Team, write: Session) -> None:
        mail = a_mail(write, team.mailbox, "Out of office")
        write.commit()
        assert "Out of office" in main(browser, "/inbox?show=answer")
        write.execute(update(Message).where(Message.conversation_id == mail.id).values(auto_reply=True))
        write.commit()
        assert "Out of office" not in main(browser, "/inbox?show=answer")

    def test_counts_end_at_99(
        self, browser: FlaskClient, team: Team, write: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rows, "MOST", 3)
        for number in range(5):
            a_mail(write, team.mailbox, f"Mail {number}")
        write.commit()
        assert 'data-count="unfiled">3+<' in main(browser)

    def test_no_page_looks_further_than_its_window(
        self, browser: FlaskClient, team: Team, write: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rows, "WINDOW", 5)
        box = a_box(write, team.viewer, "Acme deal")
        for number in range(12):
            mail = a_mail(write, team.mailbox, f"Mail {number:02}.", at=NOW - timedelta(hours=number))
            if number != 7:
                filing.file(write, team.viewer, mail, box)
        write.commit()
        first = main(browser)
        assert "Nothing here since" in first
        address = first.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
        second = main(browser, address)
        assert "Mail 07." in second
        assert "Look further back" in second


class TestDoneAndSnoozed:
    def test_done_until_the_next_mail(self, browser: FlaskClient, team: Team, write: Session) -> None:
        mail = a_mail(write, team.mailbox, "Question", thread="x", at=NOW - timedelta(hours=1))
        write.commit()
        told = act(browser, "/inbox/done", only=mail.key)
        assert (told["gone"], told["counts"]["unfiled"], told["counts"]["snoozed"]) == ([mail.key], "0", "1")
        assert "Question" not in main(browser)
        assert "Question" in main(browser, "/inbox?show=all")
        a_mail(write, team.mailbox, "Re: Question", thread="x", at=NOW)
        write.commit()
        assert "Question" in main(browser)

    def test_what_came_while_the_page_was_open_stays(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        mail = a_mail(write, team.mailbox, "Question", thread="x", at=NOW - timedelta(hours=1))
        write.commit()
        seen = main(browser).split('name="seen" value="')[1].split('"')[0]
        a_mail(write, team.mailbox, "Re: Question", thread="x", at=NOW)
        write.commit()
        act(browser, "/inbox/done", only=mail.key, seen=seen)
        assert "Question" in main(browser)

    def test_several_until_a_time_and_back(self, browser: FlaskClient, team: Team, write: Session) -> None:
        keys = [a_mail(write, team.mailbox, f"Mail {number}").key for number in range(3)]
        write.commit()
        told = act(browser, "/inbox/snooze", conversation=keys[:2], until="week")
        assert "2 conversations: back" in told["words"]
        assert "Mail 0" in main(browser, "/inbox?show=snoozed")
        assert undo(browser, told).status_code == 200
        assert "Mail 0" in main(browser)
        act(browser, "/inbox/snooze", conversation=keys[:1], until="day", day="in 3 days")
        act(browser, "/inbox/back?show=snoozed", only=keys[0])
        assert "Mail 0" in main(browser)

    @pytest.mark.parametrize("day", ["", "someday", "yesterday", "x" * 500])
    def test_a_day_that_is_none_is_refused_and_kept(
        self, day: str, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        key = a_mail(write, team.mailbox, "Mail").key
        write.commit()
        data = {"conversation": key, "until": "day", "day": day, "_place": "tag"}
        refused = browser.post("/inbox/snooze", data=data)
        assert refused.status_code == 422
        assert f'value="{key}" checked' in refused.text
        assert f'value="{day}"' in refused.text

    def test_without_scripts_says_so_with_an_undo(self, browser: FlaskClient, team: Team, write: Session) -> None:
        key = a_mail(write, team.mailbox, "Question").key
        write.commit()
        data = {"only": key, "_next": "/inbox?show=all", "_place": "tag"}
        page = browser.post("/inbox/done", data=data, follow_redirects=True)
        assert "Done until the next mail" in page.text
        ticket = page.text.split('name="ticket" value="')[1].split('"')[0]
        browser.post("/undo", data={"ticket": ticket, "_next": "/inbox"})
        assert "Question" in main(browser)


class TestUndo:
    def test_a_suggestion_that_was_accepted_or_declined(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        for name in ("Licence", "Support"):
            a_box(write, team.viewer, name, "dana@two.test")
        mail = a_mail(write, team.mailbox, "Which one?", sender="dana@two.test")
        write.commit()
        before = sorted(filed_in(write, mail.id), key=str)
        for address in ("/inbox/accept", "/inbox/dismiss"):
            told = act(browser, address, only=mail.key)
            assert sorted(filed_in(write, mail.id), key=str) != before
            assert undo(browser, told).status_code == 200
            assert sorted(filed_in(write, mail.id), key=str) == before

    def test_a_new_box_goes_again(self, browser: FlaskClient, team: Team, write: Session) -> None:
        mail = a_mail(write, team.mailbox, "Hello", sender="dana@new.test")
        write.commit()
        before = filed_in(write, mail.id)
        key = pipeline(write, team.alice.team_id).key
        told = act(browser, "/inbox/tag", conversation=mail.key, into="new", pipeline=key, box="Dana deal")
        assert "Dana deal" in main(browser, f"/p/{key}")
        assert undo(browser, told).status_code == 200
        assert "Dana deal" not in main(browser, f"/p/{key}")
        assert filed_in(write, mail.id) == before

    def test_a_new_box_that_a_teammate_works_with_stays(
        self, browser: FlaskClient, app: Flask, team: Team, write: Session
    ) -> None:
        mail = a_mail(write, team.mailbox, "Hello", sender="dana@new.test")
        write.commit()
        key = pipeline(write, team.alice.team_id).key
        told = act(browser, "/inbox/tag", conversation=mail.key, into="new", pipeline=key, box="Dana deal")
        box = write.scalars(select(Box).where(Box.name == "Dana deal")).one()
        bob = browser_of(app, team.bob)
        assert bob.post(f"/b/{box.key}/activities/note", data={"text": "Called her"}).status_code == 303
        refused = undo(browser, told)
        assert refused.status_code == 422
        assert "holds more by now" in refused.text
        assert "Dana deal" in main(browser, f"/p/{key}")
        assert (box.id, "filed") in [one[:2] for one in filed_in(write, mail.id)]

    def test_of_a_conversation_that_is_gone_says_so(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        mail = a_mail(write, team.mailbox, "Question")
        write.commit()
        act(browser, "/inbox/done", only=mail.key)
        told = act(browser, "/inbox/back", only=mail.key)
        gmail_ids = write.scalars(select(Copy.gmail_id).where(Copy.mailbox_id == team.mailbox.id)).all()
        conversations.drop_copies(write, team.mailbox.id, gmail_ids)  # deleted in Gmail
        write.commit()
        assert undo(browser, told).status_code == 409

    def test_what_was_decided_since_stays(self, browser: FlaskClient, team: Team, write: Session) -> None:
        box = a_box(write, team.viewer, "Acme deal")
        mail = a_mail(write, team.mailbox, "Hello", sender="dana@new.test")
        write.commit()
        told = act(browser, "/inbox/tag", conversation=mail.key, into="box", box="Acme deal")
        filing.remove(write, team.viewer, mail, box)
        write.commit()
        refused = undo(browser, told)
        assert refused.status_code == 422
        assert "Somebody has decided about it since" in refused.text
        assert (box.id, "removed") in [one[:2] for one in filed_in(write, mail.id)]

    def test_is_its_users_own_and_not_made_up(
        self, browser: FlaskClient, app: Flask, team: Team, write: Session
    ) -> None:
        mail = a_mail(write, team.mailbox, "Question")
        write.commit()
        told = act(browser, "/inbox/done", only=mail.key)
        assert undo(browser_of(app, team.bob), told).status_code == 404
        assert undo(browser, {"undo": told["undo"] + "x"}).status_code == 422
        assert undo(browser, {"undo": ""}).status_code == 422
        assert "Question" not in main(browser)


class TestPicking:
    def test_offers_what_is_suggested_then_boxes_then_new_ones(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        for name in ("Licence", "Support"):
            a_box(write, team.viewer, name, "dana@two.test")
        a_box(write, team.viewer, "Zebra")
        mail = a_mail(write, team.mailbox, "Which one?", sender="dana@two.test")
        write.commit()
        offered = browser.get(f"/inbox/pick?for={mail.key}").text
        assert offered.index("Licence") < offered.index("Zebra") < offered.index("New box")
        typed = browser.get("/inbox/pick?box=ze").text
        assert "Zebra" in typed
        assert "Licence" not in typed
        assert "New box “ze”" in typed

    def test_nothing_of_what_the_viewer_may_not_read(self, app: Flask, team: Team, write: Session) -> None:
        for name in ("Licence", "Support"):
            a_box(write, team.viewer, name, "dana@two.test")
        mail = a_mail(write, team.mailbox, "Which one?", sender="dana@two.test")
        write.commit()
        assert "suggested" not in browser_of(app, team.bob).get(f"/inbox/pick?for={mail.key}").text


class TestTimeZone:
    def test_is_learnt_once_from_the_browser_until_one_is_chosen(
        self, browser: FlaskClient, team: Team, write: Session
    ) -> None:
        assert "data-learn-zone" in main(browser)
        for zone, kept in (("Europe/Oslo", "Europe/Oslo"), ("Asia/Tokyo", "Europe/Oslo")):
            assert browser.post("/me/time-zone", data={"time_zone": zone}).status_code == 200
            write.expire_all()
            assert write.get_one(User, team.alice.id).time_zone == kept
        assert "data-learn-zone" not in main(browser)
        browser.post("/me", data={"name": "Alice", "time_zone": "Etc/UTC"})
        browser.post("/me/time-zone", data={"time_zone": "Asia/Tokyo"})
        write.expire_all()
        assert write.get_one(User, team.alice.id).time_zone == "Etc/UTC"

    @pytest.mark.parametrize("zone", ["", "Mars/Base", "../etc/passwd", "\x00", "x" * 999])
    def test_that_is_none_is_refused(self, zone: str, browser: FlaskClient) -> None:
        assert browser.post("/me/time-zone", data={"time_zone": zone}, headers=JSON).status_code == 422
        assert browser.post("/me", data={"name": "A", "time_zone": zone, "_place": "me"}).status_code == 422


def test_addresses_that_are_made_up(browser: FlaskClient, team: Team, write: Session) -> None:
    key = a_mail(write, team.mailbox).key
    write.commit()
    assert browser.get("/inbox?show=x").status_code == 404
    assert browser.get("/inbox?after=x").status_code == 400
    for seen in ("x", f"{key}.9999999999999999999999", f"{key}."):
        assert browser.post("/inbox/done", data={"only": key, "seen": seen}).status_code in (303, 400)


def test_a_new_box_is_named_by_what_its_maker_may_read(app: Flask, team: Team, write: Session) -> None:
    inside = {"sender": ALICE, "to": [BOB]}
    a_mail(write, team.mailbox, "Secret plan", sender=ALICE, to=["gina@team.example"], at=NOW, thread="plan")
    later = {**inside, "at": NOW + timedelta(hours=1), "message_id": "later@mail.test"}
    a_mail(write, team.mailbox, "Lunch", thread="plan", **later)
    conversation = a_mail(write, team.bobs, "Lunch", **later)
    assert conversation.subject == "Secret plan"
    data = {"conversation": conversation.key, "into": "new", "pipeline": pipeline(write, team.alice.team_id).key}
    write.commit()
    made = browser_of(app, team.bob).post("/inbox/tag", data=data, follow_redirects=True).text
    assert "1 conversation in Lunch" in made
    assert "Secret plan" not in made


def test_open_pages_hear_of_mail_that_was_read_elsewhere(
    team: Team, write: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = a_mail(write, team.mailbox, labels=("INBOX", "UNREAD"))
    copy = write.scalars(select(Copy)).one()
    told: list[int] = []
    monkeypatch.setattr(conversations, "on_change", [lambda _, ids: told.extend(ids)])
    conversations.relabel(write, team.mailbox.id, copy.gmail_id, ["STARRED"], [], copy.history_id + 1)
    assert told == []
    conversations.relabel(write, team.mailbox.id, copy.gmail_id, [], ["UNREAD"], copy.history_id + 1)
    assert told == [conversation.id]
