"""Work on a box's page: tasks, notes, calls, links, files, delete, and the parts that scripts ask for."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box, stage
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import a_mail, browser_of
from tracker import activities, boxes, events, filing, links, people, tasks
from tracker.activities import Activity, ActivityKind
from tracker.boxes import Box
from tracker.events import Event
from tracker.people import User
from tracker.tasks import Task
from tracker.web import timeline, words
from tracker.web.timeline import Entry, Source

HTMX = {"HX-Request": "true"}


@pytest.fixture
def box(team: Team, write: Session) -> Box:
    """Alice's deal with Anna."""
    made = a_box(write, team.viewer, "Acme deal", "anna@acme.test", at="Lead")
    write.commit()
    return made


def one_task(write: Session) -> Task:
    write.expire_all()
    return write.scalars(select(Task)).one()


class TestTasks:
    def test_are_set_for_a_day_in_words(self, browser: FlaskClient, write: Session, box: Box, team: Team) -> None:
        alice = write.get_one(User, team.alice.id)
        alice.time_zone = "Pacific/Kiritimati"  # a day ahead
        write.commit()
        there = f"/b/{box.key}/tasks"
        data = {"title": "Send the offer", "due": "2030-05-01", "owner": team.bob.key, "remind_time": "8:30"}
        page = browser.post(there, data=data, follow_redirects=True).text
        assert "Send the offer" in page
        task = one_task(write)
        assert (task.due_on and task.due_on.isoformat(), task.assignee_id) == ("2030-05-01", team.bob.id)
        assert task.remind_at is not None
        assert task.remind_at.isoformat() == "2030-05-01T08:30:00+00:00"  # Bob's zone is UTC

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            ({"title": ""}, "A task needs a title"),
            ({"title": "x" * 301}, "at most 300"),
            ({"title": "Call", "due": "soonish"}, "Expected a day such as tomorrow"),
            ({"title": "Call", "remind_time": "25:00", "due": "today"}, "Expected a time such as 9:00"),
            ({"title": "Call", "remind_time": "9:00"}, "no due date"),
        ],
    )
    def test_that_make_no_sense_are_refused_with_what_was_typed(
        self, browser: FlaskClient, write: Session, box: Box, data: dict[str, str], said: str
    ) -> None:
        answer = browser.post(f"/b/{box.key}/tasks", data={**data, "_place": "newtask"})
        assert answer.status_code == 422
        assert said in answer.text
        assert not data["title"] or f'value="{data["title"]}"' in answer.text
        assert write.scalars(select(Task)).all() == []

    def test_are_done_undone_deleted_and_back(
        self, browser: FlaskClient, write: Session, box: Box, team: Team
    ) -> None:
        task = tasks.create(write, team.viewer, "Call back", box=box, now=NOW)
        write.commit()
        there = f"/b/{box.key}/tasks/{task.key}"
        browser.post(f"{there}/done", data={"done": "on"})
        assert one_task(write).done_at is not None
        browser.post(f"{there}/done")
        assert one_task(write).done_at is None
        page = browser.post(f"{there}/remove", follow_redirects=True).text
        assert f'action="/b/{box.key}/tasks/{task.key}/restore"' in page
        write.expire_all()
        assert write.scalars(select(Task)).all() == []
        browser.post(f"{there}/restore")
        assert one_task(write).title == "Call back"

    def test_that_are_overdue_are_marked_by_the_readers_own_day(
        self, browser: FlaskClient, write: Session, box: Box, team: Team
    ) -> None:
        tasks.create(write, team.viewer, "Late", box=box, due_on=(NOW - timedelta(days=400)).date(), now=NOW)
        tasks.create(write, team.viewer, "Early", box=box, due_on=(NOW + timedelta(days=4000)).date(), now=NOW)
        write.commit()
        page = browser.get(f"/b/{box.key}").text
        assert page.count("overdue,") == 1
        assert page.count("is-late") == 1

    def test_change_owner_and_day(self, browser: FlaskClient, write: Session, box: Box, team: Team) -> None:
        task = tasks.create(write, team.viewer, "Call back", box=box, now=NOW)
        write.commit()
        data = {"title": "Call Anna", "due": "24 nov 2030", "owner": ""}
        browser.post(f"/b/{box.key}/tasks/{task.key}", data=data)
        changed = one_task(write)
        assert (changed.title, str(changed.due_on), changed.assignee_id) == ("Call Anna", "2030-11-24", None)
        assert "given to nobody" in browser.get(f"/b/{box.key}?show=tasks").text


class TestNotes:
    def test_mention_teammates(self, browser: FlaskClient, write: Session, box: Box, team: Team) -> None:
        page = browser.post(
            f"/b/{box.key}/activities/note", data={"text": "<b>Ask</b> @Bob Baker"}, follow_redirects=True
        ).text
        assert '&lt;b&gt;Ask&lt;/b&gt; <span class="mention">@Bob Baker</span>' in page
        note = write.scalars(select(Activity)).one()
        assert note.text == f"<b>Ask</b> @{{{team.bob.key}}}"
        told = write.scalars(select(Event.data).where(Event.kind == "user.mentioned")).one()
        assert told["user"] == team.bob.key

    def test_are_changed_and_removed_by_who_wrote_them_alone(
        self, app: Flask, browser: FlaskClient, write: Session, box: Box, team: Team
    ) -> None:
        browser.post(f"/b/{box.key}/activities/note", data={"text": "First words"})
        note = write.scalars(select(Activity)).one()
        there = f"/b/{box.key}/activity/{note.key}"
        bob = browser_of(app, team.bob)
        assert there not in bob.get(f"/b/{box.key}").text
        assert bob.post(there, data={"text": "Bob's words"}).status_code == 422
        browser.post(there, data={"text": "Second words"})
        page = bob.get(f"/b/{box.key}").text
        assert "Second words" in page
        assert ">edited<" in page
        browser.post(f"{there}/remove")
        page = bob.get(f"/b/{box.key}").text
        assert "Second words" not in page
        assert "Alice Archer removed a note" in page
        assert browser.post(there, data={"text": "late", "_place": f"activity-{note.key}"}).status_code == 422

    def test_that_are_empty_or_long_are_refused_and_kept(
        self, browser: FlaskClient, write: Session, box: Box
    ) -> None:
        for text in (" \x00", "x" * 20_001):
            data = {"text": text, "_place": "note"}
            assert browser.post(f"/b/{box.key}/activities/note", data=data).status_code == 422
        assert "x" * 20_001 in browser.post(f"/b/{box.key}/activities/note", data=data).text
        assert browser.post(f"/b/{box.key}/activities/gossip", data={"text": "x"}).status_code == 404

    def test_calls_and_meetings_say_when_how_long_and_with_whom(
        self, browser: FlaskClient, write: Session, box: Box, team: Team
    ) -> None:
        write.get_one(User, team.alice.id).time_zone = "Asia/Tokyo"
        write.commit()
        data = {"text": "Price", "at": "2026-11-20T10:00", "minutes": "25", "with": box.contacts[0].key}
        page = browser.post(f"/b/{box.key}/activities/call", data=data, follow_redirects=True).text
        call = write.scalars(select(Activity)).one()
        assert call.at.isoformat() == "2026-11-20T01:00:00+00:00"
        assert re.search(r"logged a call, 25 minutes with Anna\s*<", page)
        for wrong in ({"at": "yesterday"}, {"minutes": "-3"}, {"minutes": "5000"}, {"at": "0001-01-01T00:00"}):
            assert browser.post(f"/b/{box.key}/activities/call", data={**data, **wrong}).status_code == 422


class TestTimeline:
    def test_is_filtered_by_its_address(self, browser: FlaskClient, write: Session, box: Box, team: Team) -> None:
        a_mail(write, team.mailbox, "The offer", sender="anna@acme.test", text="Forty seats")
        activities.add(write, team.viewer, box, ActivityKind.NOTE, "Remember", now=NOW)
        tasks.create(write, team.viewer, "Call back", box=box, now=NOW)
        write.commit()
        told = {
            "mail": "Forty seats",
            "notes": "Remember",
            "tasks": "set the task “Call back”",
            "changes": "made this box",
        }
        for show, wanted in told.items():
            page = browser.get(f"/b/{box.key}/part/timeline?_show={show}").text
            assert {name for name, said in told.items() if said in page} == {show}, wanted
        page = browser.get(f"/b/{box.key}?show=nonsense").text
        assert all(said in page for said in told.values())

    def test_of_all_kinds_goes_on_without_gaps_or_doubles(
        self, browser: FlaskClient, write: Session, box: Box, team: Team
    ) -> None:
        for number in range(45):
            at = NOW - timedelta(hours=number // 9)  # many at one same instant
            a_mail(write, team.mailbox, "Mail", sender="anna@acme.test", text=f"Entry m{number:02}.", at=at)
            activities.add(write, team.viewer, box, ActivityKind.CALL, f"Entry a{number:02}.", at=at, now=NOW)
            data = {"name": f"Entry e{number:02}."}
            events.record(write, box.team_id, "box.linked", box_id=box.id, at=at, data=data)
        write.commit()
        address, seen, pages = f"/b/{box.key}", [], 0
        while address:
            page = browser.get(address, headers=HTMX if "after" in address else {}).text
            seen += re.findall(r'(?:message-peek">|note-text">|linked it with )Entry ([mae]\d\d)\.', page)
            found = re.search(r'rel="next" href="([^"]+)"', page)
            address, pages = (found[1].replace("&amp;", "&") if found else ""), pages + 1
        assert sorted(seen) == sorted(f"{kind}{number:02}" for kind in "mae" for number in range(45))
        assert pages == 4

    def test_shown_again_holds_what_was_there_and_what_is_new(
        self, browser: FlaskClient, write: Session, box: Box, team: Team
    ) -> None:
        for number in range(60):
            at = NOW - timedelta(hours=number)
            activities.add(write, team.viewer, box, ActivityKind.CALL, f"Call {number:02}.", at=at, now=NOW)
        write.commit()
        page = browser.get(f"/b/{box.key}?show=notes").text
        until = re.search(r'name="_until" value="([^"]+)"', page)
        assert until is not None
        activities.add(write, team.viewer, box, ActivityKind.NOTE, "News", now=NOW + timedelta(hours=1))
        write.commit()
        again = browser.get(f"/b/{box.key}/part/timeline?_show=notes&_until={until[1]}").text
        assert re.findall(r'note-text">Call (\d\d)\.', again) == [f"{number:02}" for number in range(40)]
        assert "News" in again

    @pytest.mark.parametrize(
        "after",
        [
            "x", "1", "1.mail-", "99999999999999999999999.event-1", "1.event-" + "9" * 40, "5.nobody-\x00",
            "-62135596800000000.mail-x",
        ],
    )  # fmt: skip
    def test_cursors_that_were_made_up_do_no_harm(self, browser: FlaskClient, box: Box, after: str) -> None:
        answer = browser.get(f"/b/{box.key}", query_string={"after": after}, headers=HTMX)
        assert answer.status_code in (200, 400)

    def test_other_rooms_add_entries_and_words(
        self, app: Flask, browser: FlaskClient, write: Session, box: Box, team: Team
    ) -> None:
        one = Entry(NOW, "k1", html="<p>Opened twice in Tokyo</p>")
        source = Source("open", frozenset({timeline.MAIL}), lambda _, __, ___, span: [] if span.after else [one])
        timeline.register(app, source)
        words.register("mail.opened", "opened “{subject}”")
        events.record(write, box.team_id, "mail.opened", box_id=box.id, data={"subject": "Our offer"})
        write.commit()
        page = browser.get(f"/b/{box.key}").text
        assert "Opened twice in Tokyo" in page
        assert "opened “Our offer”" in page
        assert "Opened twice" in browser.get(f"/b/{box.key}?show=mail").text
        assert "Opened twice" not in browser.get(f"/b/{box.key}?show=tasks").text


class TestWhy:
    def test_says_who_decided(
        self, app: Flask, browser: FlaskClient, write: Session, box: Box, team: Team
    ) -> None:
        a_mail(write, team.mailbox, "By rule", sender="anna@acme.test")
        by_hand = a_mail(write, team.mailbox, "By hand", sender="zoe@other.test")
        filing.file(write, team.viewer, by_hand, box)
        write.commit()
        page = browser_of(app, team.bob).get(f"/b/{box.key}").text
        assert "Because anna@acme.test is a contact of this box." in page
        assert "Alice Archer put it here." in page

    def test_never_again_stops_the_rule(self, browser: FlaskClient, write: Session, box: Box, team: Team) -> None:
        mail = a_mail(write, team.mailbox, "Private", sender="anna@acme.test")
        write.commit()
        browser.post(f"/b/{box.key}/conversations/{mail.key}/remove", data={"never": "1"})
        write.expire_all()
        assert write.get_one(Box, box.id).contacts == []
        a_mail(write, team.mailbox, "Another", sender="anna@acme.test")
        assert filing.of_box(write, box.id) == []


class TestLife:
    def test_a_deleted_box_is_gone_from_lists_and_comes_back(
        self, browser: FlaskClient, write: Session, box: Box
    ) -> None:
        board = browser.post(f"/b/{box.key}/delete", follow_redirects=True)
        assert board.request.path == f"/p/{box.pipeline.key}"
        assert f'action="/b/{box.key}/undelete"' in board.text
        page = browser.get(f"/b/{box.key}").text
        assert "Acme deal was deleted" in page
        assert "Bring back" in page
        assert "Write a note" not in page
        assert "Acme deal" in browser.get(f"/p/{box.pipeline.key}/deleted").text
        refused = browser.post(f"/b/{box.key}/activities/note", data={"text": "late"})
        assert refused.status_code == 409
        assert "deleted meanwhile" in refused.text
        browser.post(f"/b/{box.key}/undelete")
        assert "Write a note" in browser.get(f"/b/{box.key}").text
        assert "Acme deal" not in browser.get(f"/p/{box.pipeline.key}/deleted").text.split("<main")[1]

    def test_the_list_of_deleted_boxes_pages(
        self, browser: FlaskClient, write: Session, box: Box, team: Team
    ) -> None:
        for number in range(55):
            boxes.delete(write, team.viewer, a_box(write, team.viewer, f"Gone {number:02}."), NOW)
        write.commit()
        address, seen = f"/p/{box.pipeline.key}/deleted", []
        while address:
            page = browser.get(address).text
            seen += re.findall(r"Gone (\d\d)\.", page)
            found = re.search(r'rel="next" href="([^"]+)"', page)
            address = found[1] if found else ""
        assert sorted(seen) == [f"{number:02}" for number in range(55)]

    def test_a_stale_move_tells_where_it_is_now(
        self, app: Flask, browser: FlaskClient, write: Session, box: Box, team: Team
    ) -> None:
        lead, won = stage(write, box.pipeline, "Prospect"), stage(write, box.pipeline, "Won")
        browser_of(app, team.bob).post(f"/b/{box.key}/stage", data={"stage": won.key, "version": "1"})
        data = {"stage": lead.key, "version": "1", "_place": "stage"}
        told = browser.post(f"/b/{box.key}/stage", data=data, headers=HTMX)
        assert told.status_code == 409
        assert "A teammate moved this box to Won meanwhile (Bob Baker)" in told.text
        assert re.search(r'aria-current="step"[^>]*>.*?<span>Won', told.text, re.S)
        assert 'name="version" value="2"' in told.text
        assert 'id="box-head"' in told.text
        assert "<html" not in told.text


class TestLinks:
    def test_are_found_by_name_and_shown_with_their_stage(
        self, browser: FlaskClient, write: Session, box: Box, team: Team
    ) -> None:
        other = a_box(write, team.viewer, "Anna 100%", into="Connections")
        write.commit()
        there = f"/b/{box.key}/links"
        assert other.key in browser.get(f"{there}/choices", query_string={"name": "100%"}).text
        assert other.key not in browser.get(f"{there}/choices", query_string={"name": "%0_"}).text
        page = browser.post(there, data={"name": "anna 100%"}, follow_redirects=True).text
        assert "linked it with Anna 100%" in page
        assert "Connections · " in page
        assert "Acme deal" in browser.get(f"/b/{other.key}").text
        browser.post(f"{there}/{other.key}/remove")
        assert links.of_box(write, box.id) == []
        for data in ({"name": "nobody"}, {"name": ""}, {"box": box.key}):
            assert browser.post(there, data={**data, "_place": "links"}).status_code == 422


def test_files_are_those_of_mail_that_may_be_read(app: Flask, write: Session, box: Box, team: Team) -> None:
    plan = {"filename": "Plan.pdf", "size": 20480, "inline": False}
    logo = {"filename": "logo.png", "size": 99, "inline": True}
    secret = {"filename": "Salaries.xlsx", "size": 1, "inline": False}
    mail = a_mail(
        write, team.mailbox, "Plan", sender="anna@acme.test", sender_name="Anna", attachments=[plan, logo]
    )
    internal = a_mail(
        write, team.mailbox, "Us", sender="alice@team.example", to=["bob@team.example"], attachments=[secret]
    )
    filing.file(write, team.viewer, internal, box)
    write.commit()
    page = browser_of(app, team.bob).get(f"/b/{box.key}/files").text
    assert "Plan.pdf" in page
    assert "20 KB" in page
    assert "logo.png" not in page
    assert "Salaries.xlsx" not in page
    found = re.search(r'href="(/m/[^"]+)"', page)
    assert found is not None
    answer = browser_of(app, team.bob).get(found[1], follow_redirects=True)
    assert answer.request.path == f"/c/{mail.key}"
    assert f'id="m-{found[1][3:]}"' in answer.text
    assert "Salaries.xlsx" in browser_of(app, team.alice).get(f"/b/{box.key}/files").text


class TestMerge:
    def test_is_previewed_chosen_and_done(
        self, browser: FlaskClient, write: Session, box: Box, team: Team
    ) -> None:
        other = a_box(write, team.viewer, "Acme – Anna", at="Won")
        mail = a_mail(write, team.mailbox, "The offer", sender="zoe@acme.test")
        filing.file(write, team.viewer, mail, other)
        activities.add(write, team.viewer, other, ActivityKind.NOTE, "Hers", now=NOW)
        tasks.create(write, team.viewer, "Call Zoe", box=other, now=NOW)
        write.commit()
        there = f"/b/{box.key}/merge"
        assert other.key in browser.get(there, query_string={"name": "anna"}, headers=HTMX).text
        preview = browser.get(there, query_string={"other": other.key}).text
        assert "1 conversation, 1 task, 1 note, call or meeting" in preview
        assert "Merging can’t be undone" in preview
        form = dict(re.findall(r'type="hidden" name="(other|fingerprint)" value="([^"]+)"', preview))
        merged = browser.post(there, data={**form, "win-stage": "other"}, follow_redirects=True)
        assert merged.request.path == f"/b/{box.key}"
        for said in ("Hers", "Call Zoe", "The offer", "merged Acme – Anna into it", "made this box in Won"):
            assert said in merged.text, said
        write.expire_all()
        assert write.get_one(Box, box.id).stage.name == "Won"
        led = browser.get(f"/b/{other.key}")
        assert (led.status_code, led.location) == (301, f"/b/{box.key}")
        browser.post(f"/b/{other.key}/activities/note", data={"text": "To the old address"})
        assert "To the old address" in browser.get(f"/b/{box.key}").text
        assert "Acme – Anna" not in browser.get(f"/p/{box.pipeline.key}").text

    def test_of_what_changed_meanwhile_is_shown_again(
        self, app: Flask, browser: FlaskClient, write: Session, box: Box, team: Team
    ) -> None:
        other = a_box(write, team.viewer, "Acme – Anna")
        write.commit()
        there = f"/b/{box.key}/merge"
        preview = browser.get(there, query_string={"other": other.key}).text
        form = dict(re.findall(r'type="hidden" name="(other|fingerprint)" value="([^"]+)"', preview))
        browser_of(app, team.bob).post(f"/b/{other.key}/name", data={"name": "Renamed by Bob"})
        told = browser.post(there, data={**form, "_place": "merge"})
        assert told.status_code == 409
        assert "changed meanwhile" in told.text
        assert "Renamed by Bob" in told.text

    @pytest.mark.parametrize("which", ["itself", "elsewhere", "nothing"])
    def test_of_what_cannot_be_merged_is_refused(
        self, browser: FlaskClient, write: Session, box: Box, team: Team, which: str
    ) -> None:
        elsewhere = a_box(write, team.viewer, "Anna", into="Connections")
        write.commit()
        key = {"itself": box.key, "elsewhere": elsewhere.key, "nothing": "made-up"}[which]
        answer = browser.post(f"/b/{box.key}/merge", data={"other": key, "_place": "merge"})
        assert answer.status_code == (404 if which == "nothing" else 422)
        assert browser.get(f"/b/{box.key}/merge", query_string={"other": key}).status_code in (200, 404)


def test_a_change_by_script_answers_with_the_parts_that_show_it(browser: FlaskClient, box: Box) -> None:
    answer = browser.post(f"/b/{box.key}/activities/note", data={"text": "Quick"}, headers=HTMX)
    assert answer.status_code == 200
    assert re.findall(r'id="(box-\w+)"[^>]* hx-swap-oob="true"', answer.text) == ["box-compose", "box-timeline"]
    assert "Quick" in answer.text
    assert 'id="notices"' in answer.text
    assert "<html" not in answer.text
    refused = browser.post(f"/b/{box.key}/name", data={"name": "", "_place": "name"}, headers=HTMX)
    assert refused.status_code == 422
    assert "A box needs a name" in refused.text


@pytest.mark.parametrize(
    "name",
    ["head", "compose", "tasks", "newtask", "timeline", "fields", "contacts", "conversations", "links", "files"],
)
def test_each_part_is_one_element_with_its_id(browser: FlaskClient, box: Box, name: str) -> None:
    part = browser.get(f"/b/{box.key}/part/{name}").text.strip()
    opened = re.match(rf'<(\w+)[^>]* id="box-{name}"', part)
    assert opened is not None
    assert part.endswith(f"</{opened[1]}>")
    assert "hx-swap-oob" not in part
    assert f'id="box-{name}"' in browser.get(f"/b/{box.key}").text


def test_nothing_of_another_teams_box_is_reached(
    app: Flask, browser: FlaskClient, write: Session, box: Box, team: Team
) -> None:
    from config import teams

    stranger = teams.found(write, "Others", "eve@others.example", "Eve")
    theirs = people.viewer_of(stranger, "test")
    other = a_box(write, theirs, "Their deal", at="Lead")
    task = tasks.create(write, theirs, "Their task", box=other, now=NOW)
    note = activities.add(write, theirs, other, ActivityKind.NOTE, "Their note", now=NOW)
    write.commit()
    gets = ["", "/part/head", "/files", "/merge", "/links/choices?name=x", "/contacts/known?address=xx"]
    assert [browser.get(f"/b/{other.key}{there}").status_code for there in gets[:4]] == [404] * 4
    posts = {
        f"/b/{other.key}/tasks": {"title": "x"},
        f"/b/{other.key}/activities/note": {"text": "x"},
        f"/b/{other.key}/delete": {},
        f"/b/{other.key}/undelete": {},
        f"/b/{box.key}/links": {"box": other.key},
        f"/b/{box.key}/merge": {"other": other.key},
        f"/b/{box.key}/owner": {"owner": stranger.key},
    }
    for address, data in posts.items():
        assert browser.post(address, data=data).status_code == 404, address
    for address in (f"tasks/{task.key}/done", f"tasks/{task.key}/remove", f"tasks/{task.key}/restore",
                    f"activity/{note.key}", f"activity/{note.key}/remove"):  # fmt: skip
        assert browser.post(f"/b/{box.key}/{address}", data={"text": "x", "done": "on"}).status_code >= 400, (
            address
        )
    write.expire_all()
    assert write.get_one(Task, task.id).done_at is None
    assert write.get_one(Activity, note.id).text == "Their note"
