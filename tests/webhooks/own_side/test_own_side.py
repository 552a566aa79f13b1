"""Where our own people are: noted from their requests, and told of the mails that hits came for."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from tests.tracker.domain import NOW
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import a_mail, browser_of, counted
from tests.webhooks.reading import SENT, a_hit, a_tracked_mail
from tracker import people
from tracker.db import Sessions
from tracker.web import frame
from webhooks import own_side
from webhooks.client_address import networks
from webhooks.own_side import KnownAddress, OwnView
from webhooks.web.own_views import where

HOME, CAFE, PROXY = "9.9.9.9", "1.1.1.1", "8.8.8.8"  # global addresses, whatever they are


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        (HOME, HOME),
        ("::ffff:9.9.9.9", HOME),
        ("2620:fe::fe", "2620:fe::/64"),
        ("2620:fe:0:0:1:2:3:4%eth0", "2620:fe::/64"),
        ("127.0.0.1", None),
        ("::1", None),
        ("10.1.2.3", None),
        ("172.17.0.1", None),
        ("192.168.1.20", None),
        ("169.254.1.1", None),
        ("100.64.0.9", None),
        ("fd00::1", None),
        ("fe80::1", None),
        ("", None),
        (None, None),
        ("nonsense", None),
    ],
)
def test_only_addresses_of_the_internet_tell_where_somebody_is(address: str | None, kept: str | None) -> None:
    assert own_side.place(address) == kept


@pytest.mark.parametrize(
    ("peer", "headers", "trusted", "found"),
    [
        (HOME, {}, "", HOME),
        (PROXY, {"X-Forwarded-For": HOME}, "", None),  # nobody listed that proxy: its address is everybody's
        (PROXY, {"X-Forwarded-For": HOME}, PROXY, HOME),
        ("10.0.0.2", {"X-Forwarded-For": f"{HOME}, {PROXY}"}, "10.0.0.2", None),  # another in between
        ("10.0.0.2", {"X-Forwarded-For": f"{HOME}, {PROXY}"}, f"10.0.0.2 {PROXY}", HOME),
        (PROXY, {"X-Real-IP": HOME}, "", None),
        (PROXY, {"Forwarded": "for=9.9.9.9"}, "", None),
        (PROXY, {}, PROXY, None),  # a listed proxy that told of nobody
        (PROXY, {"X-Forwarded-For": "unknown"}, PROXY, None),
    ],
)
def test_a_proxy_is_nobodys_home(peer: str, headers: dict[str, str], trusted: str, found: str | None) -> None:
    asked = Request(EnvironBuilder(headers=headers, environ_base={"REMOTE_ADDR": peer}).get_environ())
    assert where(asked, networks(trusted)) == found


def test_a_signed_in_browser_is_noted_once_an_hour(
    app: Flask,
    browser: FlaskClient,
    team: Team,
    engine: Engine,
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = {"REMOTE_ADDR": HOME}
    clock = [NOW]
    monkeypatch.setattr(frame.of(app), "now", lambda: clock[0])
    assert browser.get("/contacts", environ_base=here).status_code == 200
    with counted(engine) as statements:
        clock[0] = NOW + timedelta(minutes=59)
        browser.get("/contacts", environ_base=here)
    assert not [one for one in statements if "known_addresses" in one]
    clock[0] = NOW + timedelta(minutes=61)
    browser.get("/contacts", environ_base=here)
    browser.get("/contacts", environ_base={"REMOTE_ADDR": "127.0.0.1"})
    browser.get("/nowhere", environ_base={"REMOTE_ADDR": CAFE})
    app.test_client().get("/sign-in", environ_base={"REMOTE_ADDR": PROXY})
    with sessions() as session:
        (row,) = session.scalars(select(KnownAddress))
        assert (row.user_id, str(row.address), row.first_seen, row.last_seen) == (
            team.alice.id, HOME, NOW, NOW + timedelta(minutes=61),
        )  # fmt: skip


def test_a_page_is_answered_even_if_nothing_can_be_noted(
    browser: FlaskClient, sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    with sessions() as session:
        session.execute(own_side.text("ALTER TABLE known_addresses RENAME TO elsewhere"))
        session.commit()
    try:
        answer = browser.get("/contacts", environ_base={"REMOTE_ADDR": HOME})
    finally:
        with sessions() as session:
            session.execute(own_side.text("ALTER TABLE elsewhere RENAME TO known_addresses"))
            session.commit()
    assert answer.status_code == 200
    assert "could not be noted" in caplog.text
    browser.get("/contacts", environ_base={"REMOTE_ADDR": HOME})  # and it is tried again
    with sessions() as session:
        assert session.scalar(select(KnownAddress.user_id)) is not None


def test_memory_is_bounded() -> None:
    lately = own_side.Lately(most=100)
    for number in range(1000):
        assert lately.is_news(1, str(number), NOW)
    assert len(lately.noted) == 100
    assert not lately.is_news(1, "999", NOW)


def test_an_address_that_rested_for_long_begins_anew(session: Session, team: Team) -> None:
    def note(days: float) -> tuple[datetime, datetime]:
        own_side.note(session, team.alice.team_id, team.alice.id, CAFE, NOW + timedelta(days=days))
        session.expire_all()
        (row,) = session.scalars(select(KnownAddress))
        return row.first_seen, row.last_seen

    assert note(0) == (NOW, NOW)
    assert note(6) == (NOW, NOW + timedelta(days=6))
    assert note(5) == (NOW, NOW + timedelta(days=6))  # two processes, the later first
    assert note(20) == (NOW + timedelta(days=20), NOW + timedelta(days=20))


def test_known_tells_who_of_ours_was_where_the_hits_came_from(
    session: Session, team: Team, engine: Engine
) -> None:
    alice, bob = team.alice, team.bob
    one, other, quiet = (a_tracked_mail(session, alice) for _ in range(3))
    a_hit(session, one, address=HOME)
    a_hit(session, one, address="2620:fe::aa")
    a_hit(session, other, address=CAFE)
    a_hit(session, other, address=None, forgotten=True)
    were = ((alice, HOME, SENT), (bob, HOME, NOW), (bob, "2620:fe::/64", NOW), (bob, PROXY, NOW))
    for user, address, at in were:
        own_side.note(session, user.team_id, user.id, address, at)
    stranger = people.create_team(session, "Others")
    eve = people.add_user(session, stranger.id, "eve@others.test")
    own_side.note(session, stranger.id, eve.id, CAFE, NOW)
    session.commit()
    with counted(engine) as statements:
        found = own_side.known(session, [one, other, quiet])
    assert len(statements) == 2
    assert set(found) == {one.id, other.id, quiet.id}
    assert {
        address: [(each.user_key, each.since, each.until) for each in there]
        for address, there in found[one.id].team_addresses.items()
    } == {
        HOME: [
            (alice.key, SENT - own_side.AROUND, SENT + own_side.AROUND),
            (bob.key, NOW - own_side.AROUND, NOW + own_side.AROUND),
        ],
        "2620:fe::aa": [(bob.key, NOW - own_side.AROUND, NOW + own_side.AROUND)],
    }
    assert found[other.id].team_addresses == {}
    assert found[quiet.id].own_views == ()


def test_a_thread_that_the_panel_showed_is_known(session: Session, team: Team) -> None:
    conversation = a_mail(session, team.mailbox)
    mail = a_tracked_mail(session, team.alice, conversation_id=conversation.id)
    for seconds in (0, 10, 45):
        own_side.seen(session, team.alice.id, conversation.id, NOW + timedelta(seconds=seconds))
    stranger = people.create_team(session, "Others")
    eve = people.add_user(session, stranger.id, "eve@others.test")
    own_side.seen(session, eve.id, conversation.id, NOW)
    assert own_side.known(session, [mail])[mail.id].own_views == (
        (team.alice.key, NOW),
        (team.alice.key, NOW + timedelta(seconds=45)),
    )


def test_what_is_old_is_forgotten_but_not_what_may_still_tell(session: Session, team: Team) -> None:
    conversation = a_mail(session, team.mailbox)
    for number, days in enumerate((0, 1, 3, 100)):
        at = NOW - timedelta(days=days)
        own_side.note(session, team.alice.team_id, team.alice.id, f"9.9.9.{number}", at)
        own_side.seen(session, team.alice.id, conversation.id, at)
    assert own_side.forget(session, 90, NOW) == 1
    assert own_side.forget(session, 0, NOW) == 1
    assert len(session.scalars(select(KnownAddress)).all()) == 2
    assert len(session.scalars(select(OwnView)).all()) == 2


def test_the_pages_of_other_people_note_other_people(app: Flask, team: Team, sessions: Sessions) -> None:
    for user in (team.alice, team.bob):
        browser_of(app, user).get("/contacts", environ_base={"REMOTE_ADDR": HOME})
    with sessions() as session:
        assert set(session.scalars(select(KnownAddress.user_id))) == {team.alice.id, team.bob.id}
