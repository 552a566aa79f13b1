"""The queue, what can be done about each mail, templates, and the panels of other pages."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from sqlalchemy import Engine, update

from config import teams
from gmail_sync.errors import NotFound, Transient
from scheduler import letters, outbox, preparing, snippets, timing
from scheduler.outbox import About, Found, ScheduledEmail, When
from scheduler.web import drafts as web_drafts
from scheduler.web import outbox as web_outbox
from tests.scheduler.web.conftest import DANA, MONDAY, Desk
from tests.tracker.web.factories_web import a_mailbox, browser_of, counted
from tracker import people
from tracker.web import frame


def queue(
    desk: Desk, subject: str = "The offer", days: int = 1, state: str = "", **columns: Any
) -> ScheduledEmail:
    """A mail in the outbox, in whatever state."""
    letter = letters.Letter(letters.address("Alice", "alice@team.example"), (letters.address("Dana", DANA),),
                            subject=subject, html="<p>Hi</p>", text="Hi")  # fmt: skip
    wall = (MONDAY + timedelta(days=days)).replace(tzinfo=None, hour=9)
    mailbox = desk.session.merge(desk.team.mailbox)
    about = About(box=desk.session.merge(desk.box))
    email = outbox.queue(
        desk.session, desk.team.viewer, mailbox, letter, When(wall, "Asia/Tokyo"), about, now=MONDAY
    )
    if state:
        told = {"state": state, "version": 2, "behind": False} | columns
        told |= {"draft_id": f"d{email.id}"} if state in ("queued", "held") else {}
        desk.session.execute(update(ScheduledEmail).where(ScheduledEmail.id == email.id).values(**told))
    desk.session.commit()
    desk.session.refresh(email)
    return email


def test_the_queue_says_what_goes_when_and_what_needs_a_decision_comes_first(desk: Desk) -> None:
    empty = desk.alice.get("/outbox").text
    assert "Nothing waits to be sent" in empty
    queue(desk, "Later", 9, "queued", moved_why="Thu is a holiday there")
    queue(desk, "Sooner", 1)
    queue(desk, "Broken", 1, "failed", reason="Gmail refuses it", remedy="Correct the address")
    queue(desk, "Unknown", 1, "uncertain")
    queue(desk, "Kept back", 1, "held", reason="they answered", held_by="answered")
    page = desk.alice.get("/outbox").text
    assert [page.index(word) for word in ("Broken", "Sooner", "Later")] == sorted(
        page.index(word) for word in ("Broken", "Sooner", "Later")
    )
    for words in ("Gmail refuses it. Correct the address", "Tue 24 Nov, 09:00 in Tokyo (your 00:00)",
                  "Thu is a holiday there", "It went", "Queue again"):  # fmt: skip
        assert words in page, words
    assert "Kept back" not in page
    assert "They answered" in desk.alice.get("/outbox?show=held").text
    assert re.search(r"Waiting\s*<span class=\"number\">2<", page)
    assert desk.alice.get("/outbox?show=nonsense").status_code == 404


def test_the_queue_pages_and_takes_as_many_queries_however_long(
    desk: Desk, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_outbox, "PAGE", 4)

    def queries() -> int:
        with counted(engine) as seen:
            assert desk.alice.get("/outbox").status_code == 200
        return len(seen)

    for number in range(2):
        queue(desk, f"Mail {number}.", number + 1)
    few = queries()
    for number in range(2, 11):
        queue(desk, f"Mail {number}.", number + 1)
    assert queries() == few
    told, address = [], "/outbox"
    for _ in range(3):
        page = desk.alice.get(address, headers={"HX-Request": "true"} if "after" in address else {}).text
        told += re.findall(r"Mail \d+\.", re.sub(r"<title>.*</title>", "", page))
        more = re.search(r'href="([^"]*after=[^"]*)"', page)
        address = more[1].replace("&amp;", "&") if more else ""
    assert told == [f"Mail {number}." for number in range(11)]
    assert address == ""
    assert desk.alice.get("/outbox?after=1.x").status_code == 400


def test_hold_release_cancel_restore_and_send_now(desk: Desk) -> None:
    email = queue(desk, state="queued")
    base = f"/outbox/{email.key}"
    for verb, state in (("hold", "held"), ("release", "queued"), ("cancel", "cancelled"), ("restore", "preparing"),
                        ("send-now", "preparing")):  # fmt: skip
        answer = desk.alice.post(f"{base}/{verb}", data={"_next": "/outbox"})
        assert (answer.status_code, answer.location) == (303, "/outbox"), verb
        assert desk.queued()[0].state == state, verb
    assert desk.queued()[0].at_once
    page = desk.alice.get(base).text
    assert "let “The offer” go at once" in page
    assert "Alice Archer queued “The offer” to Dana" in page


def test_an_undo_takes_hold_and_cancel_back(desk: Desk) -> None:
    email = queue(desk, state="queued")
    for verb, undo in (("hold", "release"), ("cancel", "restore")):
        desk.alice.post(f"/outbox/{email.key}/{verb}", data={"_next": "/outbox"})
        page = desk.alice.get("/outbox").text
        assert f'action="/outbox/{email.key}/{undo}"' in page.split('id="notices"')[1]
        assert desk.alice.post(f"/outbox/{email.key}/{undo}", data={"_next": "/outbox"}).status_code == 303


def test_what_is_released_too_late_goes_at_their_next_nine(desk: Desk, app: Flask) -> None:
    email = queue(desk, state="held", held_by="person")
    frame.of(app).now = lambda: MONDAY + timedelta(days=3)  # Thursday
    assert "That has passed" in desk.alice.get(f"/outbox/{email.key}").text
    desk.alice.post(f"/outbox/{email.key}/release")
    assert str(desk.queued()[0].wall_time) == "2026-11-27 09:00:00"


def test_an_open_page_reads_only_what_changes(desk: Desk) -> None:
    email = queue(desk, state="queued")
    for address in ("/outbox", f"/outbox/{email.key}"):
        live = re.search(r'data-live-url="(/outbox[^"]+)"', desk.alice.get(address).text)
        assert live is not None
        part = desk.alice.get(live[1].replace("&amp;", "&"), headers={"HX-Request": "true"}).text.strip()
        assert part.startswith("<div class=")
        assert "The offer" in part
        assert "<html" not in part


def test_somebody_was_faster(desk: Desk) -> None:
    email = queue(desk, state="queued")
    answer = desk.alice.post(f"/outbox/{email.key}/cancel", data={"version": "1", "_place": "act"})
    assert answer.status_code == 409
    assert "changed meanwhile" in answer.text
    gone = queue(desk, "Gone", state="sent", sent_at=MONDAY)
    answer = desk.alice.post(f"/outbox/{gone.key}/cancel", data={"_place": "act"})
    assert answer.status_code == 409
    assert "It has gone out already" in answer.text
    assert desk.alice.get(f"/outbox/{gone.key}/edit").location == f"/outbox/{gone.key}"


def test_what_failed_is_corrected_and_queued_again(desk: Desk, app: Flask) -> None:
    email = queue(desk, state="failed", reason="Gmail refuses the recipient")
    assert "Correct it" in desk.alice.get("/outbox").text
    form = desk.write(to="dana@new.test", when="keep", version=str(email.version))
    frame.of(app).now = lambda: MONDAY + timedelta(days=3)
    late = desk.alice.post(f"/outbox/{email.key}/edit", data=form)
    assert late.status_code == 422
    assert "Its time has passed; choose another" in late.text
    assert desk.alice.post(f"/outbox/{email.key}/edit", data=form | {"when": "nine"}).status_code == 303
    (after,) = desk.queued()
    assert (after.state, after.recipients, after.reason) == ("preparing", ["dana@new.test"], None)


def test_a_person_settles_what_nobody_knows(desk: Desk) -> None:
    one, other = queue(desk, "One", state="uncertain"), queue(desk, "Other", state="uncertain")
    desk.alice.post(f"/outbox/{one.key}/settle", data={"went": "1"})
    desk.alice.post(f"/outbox/{other.key}/settle", data={"went": "0"})
    assert [email.state for email in desk.queued()] == ["sent", "cancelled"]


def test_a_teammate_sees_what_waits_on_a_box_and_changes_nothing(desk: Desk) -> None:
    email = queue(desk, state="queued")
    assert "The offer" in desk.bob.get(f"/b/{desk.box.key}").text
    page = desk.bob.get(f"/outbox/{email.key}").text
    assert "Tue 24 Nov, 09:00 in Tokyo" in page
    assert "Cancel" not in page
    assert "The offer" not in desk.bob.get("/outbox").text
    for verb in ("send-now", "hold", "release", "cancel", "restore", "settle", "edit"):
        assert desk.bob.post(f"/outbox/{email.key}/{verb}", data=desk.write()).status_code == 404, verb
    assert desk.bob.get(f"/outbox/{email.key}/edit").status_code == 404
    assert desk.bob.post("/outbox/take-back", data={"emails": email.key}).status_code == 404
    assert desk.queued()[0].state == "queued"


def test_by_whose_clock_a_teammates_mail_goes(desk: Desk) -> None:
    email = queue(desk, state="queued", zone_rule="sender")
    assert "09:00 by your clock" in desk.alice.get(f"/outbox/{email.key}").text
    assert "09:00 by Alice Archer’s clock" in desk.bob.get(f"/outbox/{email.key}").text


def test_what_is_just_going_out_does_not_keep_the_rest_from_being_taken_back(desk: Desk) -> None:
    going = queue(desk, "Going", state="sending", draft_id="d", claim_token="t", claimed_at=MONDAY)
    keys = f"{going.key},{queue(desk, state='queued').key}"
    page = desk.alice.post("/outbox/take-back", data={"emails": keys}, follow_redirects=True).text
    assert "1 went out already" in page
    assert sorted(email.state for email in desk.queued()) == ["cancelled", "sending"]


@pytest.mark.parametrize(
    ("day", "told"),
    [(date.max, "more than a year ahead"), (date.min, "has passed"), (date(2026, 11, 1), "has passed")],
)
def test_a_day_of_no_calendar_is_refused_in_words(day: date, told: str) -> None:
    where = timing.Place(letters.address("", DANA), timing.Inferred("Asia/Tokyo", "guess", (), None),
                         timing.There(ZoneInfo("Asia/Tokyo"), ""))  # fmt: skip
    for asked in (timing.Asked.THERE, timing.Asked.MINE):
        with pytest.raises(timing.TimingError, match=told):
            timing.plan(timing.Timing(asked, on=day), [where], ZoneInfo("America/New_York"), MONDAY)


def test_nothing_of_another_teams_is_there(desk: Desk, app: Flask) -> None:
    eve = teams.found(desk.session, "Others", "eve@others.example", "Eve")
    a_mailbox(desk.session, eve)
    email = queue(desk, state="queued")
    template = snippets.add(desk.session, desk.team.viewer, "T", "", "<p>x</p>", shared=True)
    desk.session.commit()
    browser = browser_of(app, eve)
    addresses = [f"/outbox/{email.key}", f"/outbox/{email.key}/edit", f"/outbox/of/box/{desk.box.key}",
                 f"/templates/{template.key}", f"/outbox/drafts?mailbox={desk.team.mailbox.key}",
                 f"/outbox/drafts/{desk.team.mailbox.key}/d1", "/outbox/of/nothing/x"]  # fmt: skip
    assert {one: browser.get(one).status_code for one in addresses} == dict.fromkeys(addresses, 404)
    posts = [f"/outbox/{email.key}/{verb}" for verb in ("send-now", "hold", "cancel", "restore", "settle", "edit")]
    posts += [f"/templates/{template.key}", f"/templates/{template.key}/delete"]
    assert {one: browser.post(one).status_code for one in posts} == dict.fromkeys(posts, 404)


def test_the_panels_show_what_waits(desk: Desk) -> None:
    queue(desk, "Waits here", state="held", reason="the box was closed", held_by="box_closed")
    queue(desk, "Went", state="sent", sent_at=MONDAY)
    page = desk.alice.get(f"/outbox/of/box/{desk.box.key}").text
    assert "Waits here" in page
    assert "the box was closed" in page
    assert "Went" not in page
    assert f'data-live="box:{desk.box.key}"' in page
    contact = desk.box.contacts[0].key
    assert "Waits here" in desk.alice.get(f"/contacts/{contact}").text
    assert f"/compose?contact={contact}" in desk.alice.get(f"/outbox/of/contact/{contact}").text


# -- templates


def test_templates_are_added_changed_deleted_and_brought_back(desk: Desk) -> None:
    form = {"name": "First", "subject": "{{company}}", "body": "Dear {{first_name|there}}", "shared": "1"}
    assert desk.alice.post("/templates", data=form | {"_place": "template"}).status_code == 303
    (made,) = snippets.of_team(desk.session, desk.team.viewer)
    page = desk.bob.get(f"/templates/{made.key}").text
    assert "As Anna Berg reads it" in page
    assert "Dear Anna" in page
    assert "{{company}}</code>: such a mail is not sent" in page
    assert "only they or an admin" in page
    wrong = desk.alice.post(f"/templates/{made.key}", data=form | {"body": "{{nope}}", "_place": "template"})
    assert wrong.status_code == 422
    assert "there is no field {{nope}}" in wrong.text.split('id="said-body"')[1][:300]
    assert desk.bob.post(f"/templates/{made.key}", data=form).status_code == 422
    assert desk.alice.post(f"/templates/{made.key}/delete").status_code == 303
    undo = desk.alice.get("/templates").text.split('id="notices"')[1]
    assert 'name="body" value="&lt;p&gt;Dear {{first_name|there}}&lt;/p&gt;"' in undo


# -- drafts in Gmail


def test_a_draft_in_gmail_is_listed_picked_and_scheduled(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Found("r-1", "m1", "t1", "From Gmail", (f"Dana <{DANA}>",), (DANA,), "Dear Dana")
    monkeypatch.setattr(preparing, "drafts_in_gmail", lambda *_: ([found], "next"))
    monkeypatch.setattr(web_drafts, "_ask", lambda *_: found)
    page = desk.alice.get("/outbox/drafts").text
    assert "From Gmail" in page
    assert "page=next" in page
    mailbox = desk.team.mailbox.key
    one = desk.alice.get(f"/outbox/drafts/{mailbox}/r-1").text
    assert "Tue 24 Nov, 09:00 in Tokyo" in one
    answer = desk.alice.post(f"/outbox/drafts/{mailbox}/r-1", data={"when": "monday", "working_days": "1"})
    assert answer.status_code == 303
    (email,) = desk.queued()
    assert (email.origin, email.draft_id, str(email.wall_time)) == ("gmail", "r-1", "2026-11-30 09:00:00")
    again = desk.alice.post(f"/outbox/drafts/{mailbox}/r-1", data={"when": "nine"})
    assert again.status_code == 422
    assert "scheduled already" in again.text
    assert "queued" in desk.alice.get("/outbox/drafts").text


def test_gmail_that_does_not_answer_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise Transient("503", 1)

    def gone(*_: object) -> None:
        raise NotFound("404")

    monkeypatch.setattr(preparing, "drafts_in_gmail", broken)
    assert "Gmail does not answer just now" in desk.alice.get("/outbox/drafts").text
    monkeypatch.setattr(web_drafts, "_ask", gone)
    answer = desk.alice.get(f"/outbox/drafts/{desk.team.mailbox.key}/r-1")
    assert answer.status_code == 404
    assert "gone from Gmail" in answer.text
    assert people.by_address(desk.session, DANA) is None
