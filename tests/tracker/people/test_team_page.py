"""The team's page and a person's own pages, by the door. Alice is admin, Bob a member, Gina a guest."""

from __future__ import annotations

import re

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from tests.tracker.web.conftest import Team
from tests.tracker.web.conftest import app as app
from tests.tracker.web.conftest import team as team
from tests.tracker.web.factories_web import browser_of
from tracker import people
from tracker.db import Sessions, transaction
from tracker.events import Event
from tracker.invitations import Invitation
from tracker.people import Role, User
from tracker.sessions import SignIn


def kinds(sessions: Sessions) -> list[str]:
    with sessions() as session:
        return list(session.scalars(select(Event.kind).order_by(Event.id)))


class TestTheTeamsPage:
    def test_admins_change_members_see_guests_see_whom_to_ask(self, app: Flask, team: Team) -> None:
        alice, bob, gina = (browser_of(app, one).get("/team").text for one in (team.alice, team.bob, team.gina))
        assert "Invite somebody" in alice
        assert "gina@team.example" in bob
        assert "Invite somebody" not in bob
        assert "alice@team.example" in gina
        assert "bob@team.example" not in gina

    def test_nobody_else_changes_it(self, app: Flask, team: Team) -> None:
        for who in (team.bob, team.gina):
            browser = browser_of(app, who)
            for path in (
                "/team/invitations", "/team/domains", "/team/domains/remove", f"/team/{team.alice.key}/role",
                f"/team/{team.alice.key}/sessions", f"/team/{team.alice.key}/remove",
                "/team/invitations/x/withdraw",
            ):  # fmt: skip
                assert browser.post(path, data={"role": "admin", "sure": "yes"}).status_code == 403, path
            assert browser.get(f"/team/{team.alice.key}/remove").status_code == 403

    def test_another_teams_people_are_not_there(self, app: Flask, team: Team, sessions: Sessions) -> None:
        from config import teams

        with transaction(sessions) as session:
            stranger = teams.found(session, "Others", "stranger@others.example", "Stranger")
        alice = browser_of(app, team.alice)
        for path in ("role", "sessions", "remove"):
            sent = {"role": "guest", "sure": "yes"}
            assert alice.post(f"/team/{stranger.key}/{path}", data=sent).status_code == 404
        assert "Stranger" not in alice.get("/team").text

    def test_a_role_is_changed_and_told(self, app: Flask, team: Team, sessions: Sessions) -> None:
        alice = browser_of(app, team.alice)
        alice.post(f"/team/{team.bob.key}/role", data={"role": "admin"})
        with sessions() as session:
            assert session.get_one(User, team.bob.id).role == Role.ADMIN
        assert kinds(sessions)[-1] == "user.role"
        assert alice.post(f"/team/{team.bob.key}/role", data={"role": "owner"}).status_code == 400

    def test_the_last_admin_stays_one(self, app: Flask, team: Team, sessions: Sessions) -> None:
        alice = browser_of(app, team.alice)
        answer = alice.post(
            f"/team/{team.alice.key}/role", data={"role": "member", "_place": f"role-{team.alice.key}"}
        )
        assert answer.status_code == 422
        assert "is the only admin" in answer.text
        assert alice.post(f"/team/{team.alice.key}/remove", data={"sure": "yes"}).status_code == 422
        with sessions() as session:
            assert session.get_one(User, team.alice.id).role == Role.ADMIN


class TestInviting:
    def test_an_invitation_offers_a_mail_and_is_withdrawn(
        self, app: Flask, team: Team, sessions: Sessions
    ) -> None:
        alice = browser_of(app, team.alice)
        alice.post("/team/invitations", data={"address": "Dora <dora@else.test>", "role": "member"})
        page = alice.get("/team").text
        assert "dora@else.test" in page
        assert 'href="mailto:dora@else.test?subject=' in page
        with sessions() as session:
            key = session.scalars(select(Invitation.key)).one()
        alice.post(f"/team/invitations/{key}/withdraw", follow_redirects=True)
        assert "dora@else.test" not in alice.get("/team").text
        assert [one for one in kinds(sessions) if "invited" in one] == ["user.invited", "user.uninvited"]

    def test_nonsense_is_refused_beside_the_form_with_what_was_typed(self, app: Flask, team: Team) -> None:
        alice = browser_of(app, team.alice)
        for typed, words in (
            ("nobody", "Give one e-mail address"), ("a@b.test, c@d.test", "Give one e-mail address"),
            ("BOB@team.example", "is in the team already"),
        ):  # fmt: skip
            answer = alice.post("/team/invitations", data={"address": typed, "role": "member", "_place": "invite"})
            assert answer.status_code == 422
            assert words in answer.text
            assert f'value="{typed}"' in answer.text

    def test_a_guest_is_invited_to_something(self, app: Flask, team: Team, sessions: Sessions) -> None:
        alice = browser_of(app, team.alice)
        sent = {"address": "g@else.test", "role": "guest", "_place": "invite"}
        assert alice.post("/team/invitations", data=sent).status_code == 422
        key = re.findall(r'name="pipeline" value="([^"]+)"', alice.get("/team").text)[0]
        assert alice.post("/team/invitations", data={**sent, "pipeline": key}).status_code == 303
        with sessions() as session:
            assert session.scalars(select(Invitation)).one().pipelines == [key]
        assert re.search(r"Guest, sees \w+, may join until", alice.get("/team").text)

    def test_a_domain_is_allowed_only_if_an_admin_belongs_to_it(
        self, app: Flask, team: Team, sessions: Sessions
    ) -> None:
        alice = browser_of(app, team.alice)
        answer = alice.post("/team/domains", data={"domain": "team.example", "_place": "domains"})
        assert answer.status_code == 422
        with transaction(sessions) as session:
            session.get_one(User, team.alice.id).workspace = "team.example"
        assert alice.post("/team/domains", data={"domain": "Team.Example"}).status_code == 303
        assert "Allowed domains" in alice.get("/team").text
        alice.post("/team/domains/remove", data={"domain": "team.example"})
        assert "Allowed domains" not in alice.get("/team").text


class TestSessions:
    def keys(self, browser: FlaskClient) -> list[str]:
        return re.findall(r"/me/sessions/([\w-]+)/end\"", browser.get("/me/sessions").text)

    def test_are_listed_with_this_one_marked_and_ended_one_by_one(self, app: Flask, team: Team) -> None:
        here, there = browser_of(app, team.alice), browser_of(app, team.alice)
        page = here.get("/me/sessions").text
        assert page.count("Firefox on Linux") == 2
        assert page.count("this one") == 1
        mine = re.findall(r'this one.*?/me/sessions/([\w-]+)/end"', page, re.S)[0]
        other = next(key for key in self.keys(here) if key != mine)
        here.post(f"/me/sessions/{other}/end")
        assert there.get("/me").status_code == 302
        assert here.get("/me").status_code == 200

    def test_all_others_end_at_once(self, app: Flask, team: Team) -> None:
        here, *others = (browser_of(app, team.alice) for _ in range(3))
        bob = browser_of(app, team.bob)
        here.post("/me/sessions/end-others")
        assert [one.get("/me").status_code for one in (here, *others, bob)] == [200, 302, 302, 200]

    def test_nobody_ends_anothers_by_its_key(self, app: Flask, team: Team) -> None:
        alice, bob = browser_of(app, team.alice), browser_of(app, team.bob)
        assert bob.post(f"/me/sessions/{self.keys(alice)[0]}/end").status_code == 404
        assert alice.get("/me").status_code == 200

    def test_an_admin_ends_all_of_a_teammates(self, app: Flask, team: Team) -> None:
        alice, bob = browser_of(app, team.alice), browser_of(app, team.bob)
        alice.post(f"/team/{team.bob.key}/sessions")
        assert bob.get("/me").status_code == 302

    def test_a_copy_of_the_cookie_is_worth_nothing_after_sign_out(self, app: Flask, team: Team) -> None:
        browser, thief = browser_of(app, team.alice), app.test_client()
        name = app.config["SESSION_COOKIE_NAME"]
        cookie = browser.get_cookie(name)
        assert cookie is not None
        thief.set_cookie(name, cookie.value)
        assert thief.get("/me").status_code == 200
        browser.post("/sign-out")
        assert thief.get("/me").status_code == 302
        assert thief.post("/team/invitations", data={"address": "x@y.test", "role": "admin"}).status_code == 302

    def test_a_users_key_alone_opens_nothing(self, app: Flask, team: Team) -> None:
        browser = app.test_client()
        with browser.session_transaction() as cookie:
            cookie["user"] = team.alice.key
        assert browser.get("/me").status_code == 302
        with browser.session_transaction() as cookie:
            cookie["token"] = ["not", "a", "text"]
        assert browser.get("/me").status_code == 302

    def test_the_database_holds_no_token(self, app: Flask, team: Team, sessions: Sessions) -> None:
        browser = browser_of(app, team.alice)
        with browser.session_transaction() as cookie:
            token = cookie["token"]
        with sessions() as session:
            assert token.encode() not in session.scalars(select(SignIn)).one().token_hash

    def test_a_removed_person_is_out_at_once(self, app: Flask, team: Team, sessions: Sessions) -> None:
        bob = browser_of(app, team.bob)
        with transaction(sessions) as session:
            people.remove(
                session, team.viewer, session.get_one(User, team.bob.id), app.extensions["tracker"].now()
            )
        assert bob.get("/me").status_code == 302


class TestApiKeys:
    def test_a_key_is_shown_once_and_revoked(self, app: Flask, team: Team) -> None:
        bob = browser_of(app, team.bob)
        made = bob.post("/me/keys", data={"name": "Report", "scope": ["read", "write"], "expires": ""})
        shown = re.findall(r'value="(trk_[^"]+)"', made.text)[0]
        assert made.headers["Cache-Control"] == "no-store"
        page = bob.get("/me/keys").text
        assert shown not in page
        assert shown[:14] in page
        key = re.findall(r"/me/keys/([\w-]+)/revoke", page)[0]
        assert browser_of(app, team.alice).post(f"/me/keys/{key}/revoke").status_code == 404
        bob.post(f"/me/keys/{key}/revoke")
        assert shown[:14] not in bob.get("/me/keys").text

    def test_wrong_input_is_told_beside_the_form(self, app: Flask, team: Team) -> None:
        bob = browser_of(app, team.bob)
        for sent, words in (
            ({"name": "x"}, "at least one thing"), ({"scope": "read"}, "Give it a name"),
            ({"name": "x", "scope": "admin"}, "Only an admin"),
            ({"name": "x", "scope": "read", "expires": "2001-01-01"}, "day in the future"),
            ({"name": "x", "scope": "read", "expires": "soon"}, "Choose the day"),
            ({"name": "x", "scope": "read", "expires": "9999-12-31"}, "day in the future"),
        ):  # fmt: skip
            answer = bob.post("/me/keys", data={**sent, "_place": "api-key"})
            assert (answer.status_code, words in answer.text) == (422, True), sent
