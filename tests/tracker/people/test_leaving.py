"""Leaving: what goes, what stays, who goes on with it; and what Google is told."""

from __future__ import annotations

from datetime import timedelta

import pytest
import requests
from flask import Flask
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from gmail_sync import farewell, oauth
from tests.tracker.domain import NOW, a_box
from tests.tracker.web.conftest import Team
from tests.tracker.web.conftest import app as app
from tests.tracker.web.conftest import team as team
from tests.tracker.web.factories_web import BOB, a_mail, browser_of
from tracker import filing, leaving, mailboxes, people, sharing, tasks
from tracker.boxes import Box
from tracker.db import Sessions, transaction
from tracker.events import Event
from tracker.jobs import Again
from tracker.leaving import Choice
from tracker.mailboxes import Mailbox, State
from tracker.messages import Message
from tracker.people import PeopleError, Role, User, Viewer
from tracker.tasks import Task


@pytest.fixture
def left(sessions: Sessions, team: Team) -> dict[str, int]:
    """Bob's work: a box with a mail from outside, a mail of his own, an open task."""
    with transaction(sessions) as session:
        bob = session.get_one(User, team.bob.id)
        viewer, mailbox = people.viewer_of(bob, "test"), session.get_one(Mailbox, team.bobs.id)
        box = a_box(session, viewer, "Acme")
        shared = a_mail(session, mailbox, "Our offer", to=[BOB], text="shared words")
        filing.file(session, viewer, shared, box)
        own = a_mail(session, mailbox, "Doctor", sender="doctor@clinic.test", to=[BOB], text="own words")
        box.owner_id = bob.id
        task = tasks.create(session, viewer, "Call them", box=box, assignee_id=bob.id, now=NOW)
        return {"box": box.id, "shared": shared.id, "own": own.id, "task": task.id}


def leave(sessions: Sessions, team: Team, **choice: User) -> list[int]:
    with transaction(sessions) as session:
        found = {name: session.get_one(User, one.id) for name, one in choice.items()}
        bob = session.get_one(User, team.bob.id)
        return leaving.leave(session, team.viewer, bob, Choice(**found), NOW).mailboxes


def read(session: Session, viewer: Viewer) -> set[str]:
    return set(session.scalars(select(Message.text).where(sharing.may_read(viewer))))


class TestWhatStays:
    def test_what_was_shared_stays_and_the_rest_is_nobodys(
        self, app: Flask, sessions: Sessions, team: Team, left: dict[str, int]
    ) -> None:
        with sessions() as session:
            assert read(session, team.viewer) == {"shared words"}
        (mailbox_id,) = leave(sessions, team)
        with sessions() as session:
            assert read(session, team.viewer) == {"shared words"}
        services = app.extensions["gmail_sync"].services
        with transaction(sessions) as session:  # nothing to revoke
            session.get_one(Mailbox, mailbox_id).credentials = None
            assert farewell.waiting(session) == [mailbox_id]
        farewell.say(services, mailbox_id)
        with sessions() as session:
            assert read(session, team.viewer) == {"shared words"}
            assert session.scalars(select(Message.text)).all() == ["shared words"]
            assert farewell.waiting(session) == []
            nowhere = "SELECT count(*) FROM events WHERE data::text LIKE '%own words%'"
            assert session.scalar(text(nowhere)) == 0

    def test_who_comes_back_sees_what_a_newcomer_sees(
        self, sessions: Sessions, team: Team, left: dict[str, int]
    ) -> None:
        with transaction(sessions) as session:
            private = a_box(session, people.viewer_of(session.get_one(User, team.bob.id), "test"), "Bob's alone")
            private.access, private.owner_id = "people", team.bob.id
        leave(sessions, team)
        with transaction(sessions) as session:
            again = people.add_user(session, team.alice.team_id, BOB, name="Bob Baker")
            newcomer = people.add_user(session, team.alice.team_id, "new@team.example")
            seen = [read(session, people.viewer_of(one, "test")) for one in (again, newcomer)]
            assert seen[0] == seen[1]
            assert again.id != team.bob.id
            assert session.scalar(select(func.count()).where(Box.owner_id == again.id)) == 0

    def test_their_name_stays_where_they_were_and_is_not_to_be_chosen(
        self, app: Flask, sessions: Sessions, team: Team, left: dict[str, int]
    ) -> None:
        leave(sessions, team)
        with sessions() as session:
            key = session.get_one(Box, left["box"]).key
        page = browser_of(app, team.alice).get(f"/b/{key}").text
        assert "Bob Baker" in page
        assert f'<option value="{team.bob.key}"' not in page


class TestWhoGoesOn:
    def test_boxes_and_open_tasks_go_to_the_heir(
        self, sessions: Sessions, team: Team, left: dict[str, int]
    ) -> None:
        leave(sessions, team, heir=team.alice)
        with sessions() as session:
            assert session.get_one(Box, left["box"]).owner_id == team.alice.id
            assert session.get_one(Task, left["task"]).assignee_id == team.alice.id
            kinds = set(session.scalars(select(Event.kind)))
            assert {"box.assigned", "task.changed", "user.removed", "mailbox.disconnected"} <= kinds

    def test_or_to_nobody(self, sessions: Sessions, team: Team, left: dict[str, int]) -> None:
        leave(sessions, team)
        with sessions() as session:
            assert session.get_one(Box, left["box"]).owner_id is None
            assert session.get_one(Task, left["task"]).assignee_id is None

    @pytest.mark.parametrize("who", ["gina", "bob"])
    def test_not_to_a_guest_nor_to_themselves(self, sessions: Sessions, team: Team, who: str) -> None:
        with pytest.raises(PeopleError):
            leave(sessions, team, heir=getattr(team, who))
        with sessions() as session:
            assert session.get_one(User, team.bob.id).removed_at is None

    def test_members_remove_nobody_and_nobody_is_removed_twice(self, sessions: Sessions, team: Team) -> None:
        with sessions() as session:
            bob = people.viewer_of(session.get_one(User, team.bob.id), "test")
            alice = session.get_one(User, team.alice.id)
            with pytest.raises(PermissionError):
                leaving.leave(session, bob, alice, Choice(), NOW)
        leave(sessions, team)
        with pytest.raises(PeopleError, match="already"):
            leave(sessions, team)


class TestTheMailbox:
    def test_is_read_no_more_and_may_be_connected_anew(
        self, sessions: Sessions, team: Team, left: dict[str, int]
    ) -> None:
        (old,) = leave(sessions, team)
        with transaction(sessions) as session:
            assert session.get_one(Mailbox, old).state == State.DISCONNECTED
            assert mailboxes.by_address(session, BOB) is None
            assert mailboxes.due(session, NOW + timedelta(days=1), timedelta(0)) == [team.mailbox.id]
            again = people.add_user(session, team.alice.team_id, BOB)
            assert mailboxes.connect(session, again, BOB, b"sealed", NOW).id != old

    @pytest.mark.parametrize(("status", "dropped"), [(200, True), (400, True), (503, False)])
    def test_google_is_told_and_the_credentials_go(
        self,
        app: Flask,
        sessions: Sessions,
        team: Team,
        monkeypatch: pytest.MonkeyPatch,
        status: int,
        dropped: bool,
    ) -> None:
        services = app.extensions["gmail_sync"].services
        asked = google_answers(monkeypatch, status)
        mailbox_id = self.leave_with_credentials(sessions, team, services)
        if dropped:
            farewell.say(services, mailbox_id)
        else:
            with pytest.raises(Again):
                farewell.say(services, mailbox_id)
        assert asked == [("https://oauth2.googleapis.com/revoke", {"token": "secret-token"})]
        with sessions() as session:
            assert (session.get_one(Mailbox, mailbox_id).credentials is None) == dropped
            assert (farewell.waiting(session) == []) == dropped

    def test_google_is_not_waited_for_longer_than_a_day(
        self, app: Flask, sessions: Sessions, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        services = app.extensions["gmail_sync"].services
        google_answers(monkeypatch, 503)
        mailbox_id = self.leave_with_credentials(sessions, team, services)
        with transaction(sessions) as session:
            session.get_one(Mailbox, mailbox_id).left_at = services.now() - farewell.PATIENCE
        farewell.say(services, mailbox_id)
        with sessions() as session:
            assert session.get_one(Mailbox, mailbox_id).credentials is None
            told = session.scalars(select(Event).where(Event.kind == "mailbox.left")).one()
            assert told.data["revoked"] is False

    def test_the_access_of_who_came_back_is_not_ended_with_the_former(
        self, app: Flask, sessions: Sessions, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        services = app.extensions["gmail_sync"].services
        asked = google_answers(monkeypatch, 200)
        mailbox_id = self.leave_with_credentials(sessions, team, services)
        with transaction(sessions) as session:
            again = people.add_user(session, team.alice.team_id, BOB)
            anew = mailboxes.connect(session, again, BOB, b"sealed", NOW)
        farewell.say(services, mailbox_id)
        assert asked == []
        with sessions() as session:
            assert session.get_one(Mailbox, mailbox_id).credentials is None
            assert session.get_one(Mailbox, anew.id).credentials == b"sealed"
            told = session.scalars(select(Event).where(Event.kind == "mailbox.left")).one()
            assert told.data["revoked"] is False

    def test_none_is_connected_behind_the_removals_back(self, sessions: Sessions, team: Team) -> None:
        with transaction(sessions) as session:
            bob, gina = session.get_one(User, team.bob.id), session.get_one(User, team.gina.id)
            with pytest.raises(PeopleError, match="Guests"):
                mailboxes.connect(session, gina, "gina@else.test", b"x", NOW)
        leave(sessions, team)
        with sessions() as session, pytest.raises(PeopleError, match="not in the team any more"):
            mailboxes.connect(session, bob, "bobs.other@else.test", b"x", NOW)

    def leave_with_credentials(self, sessions: Sessions, team: Team, services: object) -> int:
        kept = {
            "refresh_token": "secret-token", "token_uri": "https://oauth2.googleapis.com/token",
            "client_id": "id", "client_secret": "secret",
        }  # fmt: skip
        with transaction(sessions) as session:
            mailbox = session.get_one(Mailbox, team.bobs.id)
            mailbox.credentials = services.vault.seal(kept)  # type: ignore[attr-defined]
            bob = session.get_one(User, team.bob.id)
            (left,) = leaving.leave(session, team.viewer, bob, Choice(), services.now()).mailboxes  # type: ignore[attr-defined]
        return left


def google_answers(monkeypatch: pytest.MonkeyPatch, status: int) -> list[tuple[str, dict[str, str]]]:
    asked: list[tuple[str, dict[str, str]]] = []

    def post(address: str, data: dict[str, str], **_: object) -> requests.Response:
        asked.append((address, data))
        answer = requests.Response()
        answer.status_code = status
        return answer

    monkeypatch.setattr(oauth.requests, "post", post)
    monkeypatch.setattr(farewell, "before_credentials_go", [])
    monkeypatch.setattr(farewell, "settling", [])
    return asked


class TestOwnAddresses:
    def test_a_guests_address_is_an_outsiders(self, sessions: Sessions, team: Team) -> None:
        client = "client@else.test"
        with transaction(sessions) as session:
            guest = people.add_user(session, team.alice.team_id, client, role=Role.GUEST)
            assert client not in people.own_addresses(session, team.alice.team_id)
            people.change_role(session, team.viewer, guest, Role.MEMBER)
            assert client in people.own_addresses(session, team.alice.team_id)
            people.change_role(session, team.viewer, guest, Role.GUEST)
            assert client not in people.own_addresses(session, team.alice.team_id)

    def test_with_a_mailbox_here_it_stays_the_teams(self, sessions: Sessions, team: Team) -> None:
        with transaction(sessions) as session:
            bob = session.get_one(User, team.bob.id)
            people.change_role(session, team.viewer, bob, Role.GUEST)
            assert BOB in people.own_addresses(session, bob.team_id)


class TestThePage:
    def test_queued_mail_is_not_cancelled_by_oversight(
        self, app: Flask, sessions: Sessions, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        alice, path = browser_of(app, team.alice), f"/team/{team.bob.key}/remove"
        assert "Queued mail goes to" not in alice.get(path).text
        room = leaving.Room(lambda *_: ["1 queued mail"], lambda *_: ["1 queued mail cancelled"], lambda *_: 1)
        monkeypatch.setattr(leaving, "_rooms", [room])
        assert "Alice Archer, held until they look" in alice.get(path).text
        answer = alice.post(path, data={"sure": "yes", "mail_to": "", "_place": "remove"})
        assert answer.status_code == 422
        assert "Choose what becomes of the queued mail" in answer.text
        alice.post(path, data={"sure": "yes", "mail_to": "cancel"})
        assert "1 queued mail cancelled" in alice.get("/team").text

    def test_says_in_numbers_what_will_happen(self, app: Flask, team: Team, left: dict[str, int]) -> None:
        browser_of(app, team.bob)
        page = browser_of(app, team.alice).get(f"/team/{team.bob.key}/remove").text
        for words in ("signed out at once: 1 session ends", "2 mails read there", "1 box and 1 open task", BOB):
            assert words in page

    def test_asks_whether_one_is_sure_and_then_removes(
        self, app: Flask, sessions: Sessions, team: Team, left: dict[str, int]
    ) -> None:
        alice, bob = browser_of(app, team.alice), browser_of(app, team.bob)
        path = f"/team/{team.bob.key}/remove"
        assert alice.post(path, data={"_place": "remove"}).status_code == 422
        assert bob.get("/me").status_code == 200
        assert alice.post(path, data={"sure": "yes", "heir": team.alice.key}).status_code == 303
        assert bob.get("/me").status_code == 302
        page = alice.get("/team", follow_redirects=True).text
        assert "what they had shared stays" in page
        assert BOB not in alice.get("/team").text
        with sessions() as session:
            found = session.execute(text("SELECT task_name, args FROM procrastinate_jobs")).all()
            assert ("gmail_sync.farewell", {"mailbox_id": team.bobs.id}) in [tuple(one) for one in found]
            assert session.get_one(Box, left["box"]).owner_id == team.alice.id
        assert alice.post(path, data={"sure": "yes"}).status_code == 404

    def test_boxes_that_the_admin_may_not_see_are_handed_over_too(
        self, app: Flask, sessions: Sessions, team: Team, left: dict[str, int]
    ) -> None:
        with transaction(sessions) as session:
            session.get_one(Box, left["box"]).access = "people"
        browser_of(app, team.alice).post(
            f"/team/{team.bob.key}/remove", data={"sure": "yes", "heir": team.alice.key}
        )
        with sessions() as session:
            assert session.get_one(Box, left["box"]).owner_id == team.alice.id
