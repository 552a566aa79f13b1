"""Privacy: raw hits are forgotten, people opt out, what is kept of them is handed out and erased."""

from __future__ import annotations

import html
import json
import re
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, func, insert, select
from sqlalchemy.orm import Session

from config import worker
from config.cli import main
from config.rooms import Rooms
from config.settings import load
from tests.tracker.domain import NOW, a_box, a_contact
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import a_mail, browser_of
from tests.webhooks.reading import ANNA, SENT, TOM, a_hit, a_tracked_mail
from tracker import contacts, events, people
from tracker.db import Sessions, new_key, utc_now
from tracker.events import Event
from tracker.messages import Message
from tracker.people import system_viewer
from tracker.web.frame import EXTENSION
from webhooks import privacy, privacy_export, tracking_settings
from webhooks.bells import telling as bells_telling
from webhooks.bells.notices import Notification
from webhooks.hits import ARRIVALS, Hit
from webhooks.tracking_settings import NeverTracked, Source
from webhooks.tracks import TrackedEmail, TrackedLink

NOTHING = (None, None, {}, None, True)


def raw(hit: Hit) -> tuple[Any, ...]:
    """What is to be forgotten of a hit."""
    return hit.address and str(hit.address), hit.agent, hit.headers, hit.user_key, hit.forgotten


# -- retention


def test_raw_hits_are_forgotten_and_verdicts_stay(session: Session, team: Team) -> None:
    mail = a_tracked_mail(session, team.alice)
    young, old = (a_hit(session, mail, NOW - timedelta(days=days), user_key="k") for days in (89, 91))
    before = raw(young)
    assert privacy.forget(session, 90, NOW) == 1
    session.expire_all()
    assert raw(old) == NOTHING
    assert raw(young) == before
    assert (old.verdict, old.why, old.kind, old.at) == ("proxy", "Gmail's proxy", "open", NOW - timedelta(days=91))
    assert privacy.forget(session, 90, NOW) == 0


def test_what_nobody_judged_is_kept_a_week_longer_and_no_more(session: Session, team: Team) -> None:
    mail = a_tracked_mail(session, team.alice)
    hits = [a_hit(session, mail, NOW - timedelta(days=days), rules=0, verdict=None) for days in (91, 96, 98)]
    privacy.forget(session, 90, NOW)
    session.expire_all()
    assert [hit.forgotten for hit in hits] == [False, False, True]


def test_without_retention_hits_are_kept_while_they_are_judged(session: Session, team: Team) -> None:
    mail = a_tracked_mail(session, team.alice)
    hits = [a_hit(session, mail, NOW - timedelta(minutes=minutes)) for minutes in (1, 9, 11, 60)]
    assert privacy.forget(session, 0, NOW) == 2
    session.expire_all()
    assert [hit.forgotten for hit in hits] == [False, False, True, True]


def test_the_tick_forgets_in_steps_and_comes_to_an_end(
    database_url: str, engine: Engine, sessions: Sessions, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy, "AT_ONCE", 3)
    steps: list[int] = []
    forget = privacy.forget

    def counting(*arguments: Any) -> int:
        steps.append(forget(*arguments))
        return steps[-1]

    monkeypatch.setattr(privacy, "forget", counting)
    with sessions() as session, session.begin():
        mail = a_tracked_mail(session, team.alice)
        for number in range(8):
            a_hit(session, mail, utc_now() - timedelta(days=100 + number))
        a_hit(session, mail, utc_now())
    rooms = Rooms(load(database_url=database_url, secret_key="k" * 40), engine, sessions)
    worker.forget(rooms)
    assert steps == [3, 3, 2]
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Hit).where(~Hit.forgotten)) == 1
    assert "privacy.forget" in [tick.name for tick in worker.ticks(rooms)]


# -- the page that a mail links to


def noted(sessions: Sessions) -> dict[str, str]:
    """Who is on the team's list, and who said so."""
    with sessions() as session:
        return {row.value: row.source for row in session.scalars(select(NeverTracked))}


def put(sessions: Sessions, team: Team, *recipients: str, **more: Any) -> TrackedEmail:
    """A tracked mail that is there."""
    with sessions() as session, session.begin():
        return a_tracked_mail(session, team.alice, *recipients, **more)


@pytest.fixture
def stranger(app: Flask) -> FlaskClient:
    """Somebody's browser; forms want their tokens."""
    app.config["WTF_CSRF_ENABLED"] = True
    return app.test_client()


def test_one_recipient_says_it_with_a_click(stranger: FlaskClient, team: Team, sessions: Sessions) -> None:
    mail = put(sessions, team, ANNA, links=["https://example.com/"])
    older = put(sessions, team, ANNA)
    shared = put(sessions, team, ANNA, TOM)
    page = stranger.get(f"/privacy/{mail.token}")
    assert page.status_code == 200
    assert "small picture that tells its sender when it is opened" in page.text
    assert "forgotten after 90 days" in page.text
    assert ANNA not in page.text
    assert 'name="address"' not in page.text
    assert noted(sessions) == {}
    answer = stranger.post(f"/privacy/{mail.token}")
    assert "Mail to you is not tracked from now on" in answer.text
    assert noted(sessions) == {ANNA: "self"}
    with sessions() as session:
        rows = {one.id: (one.opens, one.clicks) for one in session.scalars(select(TrackedEmail))}
        assert session.scalar(select(func.count()).select_from(TrackedLink)) == 1  # and goes on leading there
        assert tracking_settings.may_track(session, team.alice.team_id, [ANNA]) is not None
    assert rows == {mail.id: (False, False), older.id: (False, False), shared.id: (True, True)}
    assert not answer.headers.getlist("Set-Cookie")
    assert "noindex" in answer.headers["X-Robots-Tag"]


def test_saying_it_often_is_one_line_and_one_event(stranger: FlaskClient, team: Team, sessions: Sessions) -> None:
    mail = put(sessions, team, ANNA)
    for _ in range(5):
        stranger.post(f"/privacy/{mail.token}", data={"List-Unsubscribe": "One-Click"})
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Event).where(Event.kind == "tracking.never")) == 1


def test_of_several_it_is_the_one_who_is_typed(stranger: FlaskClient, team: Team, sessions: Sessions) -> None:
    mail = put(sessions, team, ANNA, TOM)
    assert 'name="address"' in stranger.get(f"/privacy/{mail.token}").text
    answers = []
    for typed in ("nobody@client.test", "", "a, b, c", f"{ANNA}, {TOM}", "Anna <ANNA@Client.test>"):
        assert noted(sessions) == {}
        answers.append(stranger.post(f"/privacy/{mail.token}", data={"address": typed}))
    assert noted(sessions) == {ANNA: "self"}
    said = {re.sub(r'value="[^"]*"', "", answer.text) for answer in answers}
    assert len(said) == 1  # the same, whether or not it was one of them
    assert {answer.status_code for answer in answers} == {200}


def test_an_unknown_token_is_answered_as_most_mails_are(
    stranger: FlaskClient, team: Team, sessions: Sessions
) -> None:
    token = put(sessions, team, ANNA).token
    for method in (stranger.get, stranger.post):
        known = method(f"/privacy/{token}")
        for unknown in ("x" * 32, "x", "%00", "ü", "x" * 5000):
            answer = method(f"/privacy/{unknown}")
            one, other = (re.sub(r'value="[^"]*"', "", each.text) for each in (answer, known))
            assert (answer.status_code, one, len(answer.text)) == (known.status_code, other, len(known.text))
    assert noted(sessions) == {ANNA: "self"}


def ticket(page: str) -> str:
    """What the button that takes it back sends."""
    return str(re.search(r'name="again" value="([^"]*)"', page)[1])  # type: ignore[index]


def test_whoever_said_it_takes_it_back_and_nobody_else(
    app: Flask, stranger: FlaskClient, team: Team, sessions: Sessions
) -> None:
    mail = put(sessions, team, ANNA)
    path = f"/privacy/{mail.token}"
    with sessions() as session, session.begin():
        tracking_settings.never_track(session, team.alice.team_id, ANNA, NOW)  # one of us marked her, too

    def sources() -> list[str]:
        with sessions() as session:
            return sorted(session.scalars(select(NeverTracked.source)))

    hers = ticket(stranger.post(path).text)
    dummy = ticket(stranger.post(f"/privacy/{'x' * 32}").text)
    for forged in ("1", "", dummy, "é\x00", hers[:-4] + "AAA="):
        stranger.post(path, data={"again": forged})
    assert sources() == ["person", "self"]
    answer = stranger.post(path, data={"again": hers})
    assert "is taken back" in answer.text
    assert sources() == ["person"]  # what one of us marked, they don't take back
    # Said by the sender, to take it back once Anna has said it too.
    senders = ticket(stranger.post(path).text)
    annas = ticket(stranger.post(path).text)
    assert len(annas) == len(senders)
    for late in (senders, annas, hers):
        assert stranger.post(path, data={"again": late}).text == answer.text
    assert sources() == ["person", "self"]


def test_a_ticket_holds_for_an_hour(app: Flask, stranger: FlaskClient, team: Team, sessions: Sessions) -> None:
    mail = put(sessions, team, ANNA)
    again = {"again": ticket(stranger.post(f"/privacy/{mail.token}").text)}
    app.extensions[EXTENSION].now = lambda: utc_now() + timedelta(minutes=61)
    stranger.post(f"/privacy/{mail.token}", data=again)
    assert noted(sessions) == {ANNA: "self"}


def test_saying_it_and_taking_it_back_by_turns_does_not_fill_the_log(
    stranger: FlaskClient, team: Team, sessions: Sessions
) -> None:
    path = f"/privacy/{put(sessions, team, ANNA).token}"
    for _ in range(20):
        stranger.post(path, data={"again": ticket(stranger.post(path).text)})
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Event).where(Event.kind.like("tracking.%"))) == 11
    assert noted(sessions) == {ANNA: "self"}


def test_what_somebody_types_is_text(stranger: FlaskClient, team: Team, sessions: Sessions) -> None:
    mail = put(sessions, team, ANNA, TOM)
    typed = '"><script>alert(1)</script>\x00'
    page = stranger.post(f"/privacy/{mail.token}", data={"address": typed}).text
    assert "<script" not in page
    assert typed.strip("\x00") in map(html.unescape, re.findall(r'value="([^"]*)"', page))


# -- handing out


def told(session: Session, team: Team, *addresses: str, operator: bool = True) -> dict[str, Any]:
    viewer = system_viewer(team.alice.team_id, "test") if operator else team.viewer
    found = privacy_export.export(session, viewer, addresses or (ANNA,), NOW)
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def test_all_that_is_kept_of_somebody_is_handed_out(session: Session, team: Team) -> None:
    message = arrived(session, team)
    mail = a_tracked_mail(
        session, team.alice, ANNA, links=["https://example.com/offer"], message_id=message.id,
        confidence="likely", why="opened through Gmail's proxy", views=1, hits=2,
    )  # fmt: skip
    link = session.scalars(select(TrackedLink)).one()
    a_hit(session, mail)
    a_hit(session, mail, NOW, kind="click", link_id=link.id, agent="Firefox", address="2001:db8::1")
    a_tracked_mail(session, team.alice, TOM)
    tracking_settings.never_track(session, team.alice.team_id, ANNA, NOW, "she said so", source=Source.SELF)
    found = told(session, team)
    (one,) = found["mails"]
    assert (one["subject"], one["from"], one["recipients"]) == (message.subject, "Alice Archer", 1)
    assert one["reading"]["confidence"] == "likely"
    assert [(hit["kind"], hit["address"], hit["link"]) for hit in one["hits"]] == [
        ("open", "66.249.84.1", None),
        ("click", "2001:db8::1", "https://example.com/offer"),
    ]
    assert found["never_tracked"][0]["why"] == "she said so"
    assert found["mails_of_teammates_left_out"] == 0


def test_our_own_side_and_what_is_not_judged_is_not_handed_out(session: Session, team: Team) -> None:
    mail = a_tracked_mail(session, team.alice, ANNA)
    a_hit(session, mail, verdict="own", why="Alice’s own look", agent="Alice’s Firefox", address="198.51.100.7")
    a_hit(session, mail, NOW, verdict=None, rules=0, agent="Bob’s Firefox", address="198.51.100.8")
    own, unjudged = told(session, team)["mails"][0]["hits"]
    assert own == {"at": own["at"], "verdict": "own", "why": "our own side"}
    assert {"address", "program", "headers"} & set(unjudged) == set()


def test_what_the_log_has_is_handed_out_and_after_erasing_neither_shown_nor_told(
    session: Session, team: Team, browser: FlaskClient
) -> None:
    box = a_box(session, team.viewer, "Acme deal")
    mail = a_tracked_mail(session, team.alice, ANNA, box_id=box.id, clicked=3, told_clicks=3, told_at=NOW)

    def click(host: str, at: datetime) -> None:
        data = {"tracked": mail.key, "host": host, "first": True}
        events.record(session, mail.team_id, "email.clicked", at=at, box_id=box.id, data=data)
        session.commit()

    click("secret.example", NOW)
    assert "secret.example" in browser.get(f"/b/{box.key}").text
    assert [one["host"] for one in told(session, team)["mails"][0]["log"]] == ["secret.example"]
    privacy.erase(session, team.viewer, [ANNA], NOW, never=False)
    session.commit()
    with session.begin():
        bells_telling.tell(session, session.scalars(select(Event).where(Event.kind == "email.clicked")).all(), NOW)
        assert session.scalars(select(Notification)).all() == []
        session.refresh(mail)
        assert (mail.told_clicks, told(session, team)["mails"][0]["log"]) == (0, [])
    assert "secret.example" not in browser.get(f"/b/{box.key}").text
    mail.clicked = 1
    click("later.example", NOW + timedelta(hours=1))
    assert "later.example" in browser.get(f"/b/{box.key}").text


def test_of_a_mail_to_several_no_address_is_handed_out(session: Session, team: Team) -> None:
    a_hit(session, a_tracked_mail(session, team.alice, ANNA, TOM))
    found = told(session, team)
    (hit,) = found["mails"][0]["hits"]
    assert hit["verdict"] == "proxy"
    assert "sent to 2 people" in found["mails"][0]["note"]
    for secret in ("66.249.84.1", "GoogleImageProxy", TOM):
        assert secret not in json.dumps(found)


def arrived(session: Session, team: Team, owner: str = "bob") -> Message:
    """A mail to Anna that is in a mailbox of its sender's alone."""
    mailbox = team.bobs if owner == "bob" else team.mailbox
    conversation = a_mail(session, mailbox, "The offer", sender=mailbox.address, to=(ANNA,), labels=("SENT",))
    return session.scalars(select(Message).where(Message.conversation_id == conversation.id)).one()


def test_who_may_not_read_a_mail_is_not_told_of_its_reading(session: Session, team: Team) -> None:
    message = arrived(session, team)
    a_hit(session, a_tracked_mail(session, team.bob, ANNA, message_id=message.id))
    a_tracked_mail(session, team.bob, ANNA)  # not in the store yet
    own = a_tracked_mail(session, team.alice, ANNA)
    found = told(session, team, operator=False)
    assert [one["key"] for one in found["mails"]] == [own.key]
    assert found["mails_of_teammates_left_out"] == 2
    kept = privacy.kept(session, team.viewer, [ANNA])
    assert (kept.mails, kept.hits) == (1, 0)
    bobs = privacy.kept(session, people.viewer_of(team.bob, "test"), [ANNA])
    assert (bobs.mails, bobs.hits, bobs.raw) == (2, 1, 1)


# -- erasing


def test_erased_is_erased_and_links_go_on_leading(session: Session, team: Team) -> None:
    mail = a_tracked_mail(
        session, team.bob, ANNA, links=["https://example.com/"], confidence="likely", why="w", via="v", views=3,
        clicked=1, hits=4, first_view_at=NOW, last_view_at=NOW, told_at=NOW, told="likely",
    )  # fmt: skip
    shared = a_tracked_mail(session, team.alice, ANNA, TOM, confidence="likely", why="one of 2", views=1, hits=1)
    toms = a_tracked_mail(session, team.alice, TOM, confidence="likely")
    for each in (mail, shared, toms):
        told_of(session, team, each)
    assert [one["mail"] for one in told(session, team)["notifications"]] == [mail.key, shared.key]
    for each in (mail, mail, toms):
        a_hit(session, each)
    of_both = a_hit(session, shared)
    for each in (mail, shared):  # and this moment, not taken in yet
        columns = {"team_id": each.team_id, "tracked_email_id": each.id, "kind": "open", "at": NOW, "repeats": 0}
        session.execute(insert(ARRIVALS).values(**columns, key=uuid4(), address="203.0.113.7", headers={"a": "b"}))
    erased = privacy.erase(session, team.viewer, [ANNA], NOW, never=False)
    assert erased == privacy.Erased(mails=1, shared=1)
    session.expire_all()
    assert [one.id for one in session.scalars(select(Hit).where(Hit.tracked_email_id == mail.id))] == []
    assert (mail.confidence, mail.why, mail.via, mail.views, mail.clicked, mail.hits) == ("none", "", "", 0, 0, 0)
    assert (mail.first_view_at, mail.last_view_at, mail.told_at, mail.told) == (None, None, None, "")
    assert session.scalar(select(func.count()).select_from(TrackedLink)) == 1
    assert [raw(one) for one in session.scalars(select(Hit).where(Hit.tracked_email_id == shared.id))] == [
        NOTHING
    ] * 2
    assert session.execute(select(ARRIVALS)).all() == []
    assert (of_both.verdict, shared.confidence, shared.why) == ("proxy", "likely", "one of 2")
    assert (toms.confidence, mail.opens) == ("likely", True)
    event = session.scalars(select(Event).where(Event.kind == privacy.ERASED)).one()
    assert (event.user_id, event.data) == (team.alice.id, {"mails": 1, "shared": 1, "never": False})
    assert ANNA not in json.dumps(told(session, team)["mails"])
    assert set(session.scalars(select(Notification.tracked_email_id))) == {shared.id, toms.id}


def told_of(session: Session, team: Team, mail: TrackedEmail) -> None:
    """Alice was told that it was read."""
    made = Notification(
        team_id=mail.team_id, user_id=team.alice.id, kind="read", thing=f"mail:{mail.id}", event_id=1, at=NOW,
        tracked_email_id=mail.id,
    )  # fmt: skip
    session.add(made)
    session.flush()


def test_with_never_nothing_new_is_kept(session: Session, team: Team) -> None:
    mail = a_tracked_mail(session, team.bob, ANNA)
    privacy.erase(session, team.viewer, [ANNA], NOW, never=True)
    session.expire_all()
    assert (mail.opens, mail.clicks) == (False, False)
    assert tracking_settings.may_track(session, team.alice.team_id, [ANNA]) is not None


# -- by the doors


def test_the_contacts_page_tells_hands_out_and_erases_once_one_is_sure(
    app: Flask, browser: FlaskClient, team: Team, sessions: Sessions
) -> None:
    with sessions() as session, session.begin():
        contact = a_contact(session, team.viewer, ANNA)
        key = contact.key
        untouched = a_contact(session, team.viewer, "lou@client.test").key
        a_hit(session, a_tracked_mail(session, team.alice, ANNA))
    assert "What is kept of their reading" not in browser.get(f"/contacts/{untouched}").text
    page = " ".join(browser.get(f"/contacts/{key}").text.split())
    assert "1 mail to them was tracked. 1 hit is kept, 1 of them with address and program" in page
    handed = browser.get(f"/contacts/{key}/privacy.json")
    assert "attachment" in handed.headers["Content-Disposition"]
    assert handed.json is not None
    assert len(handed.json["mails"][0]["hits"]) == 1
    guest = browser_of(app, team.gina)
    assert guest.get(f"/contacts/{key}/privacy.json").status_code == 403
    assert guest.post(f"/contacts/{key}/privacy/erase", data={"sure": "1"}).status_code == 403
    refused = browser.post(f"/contacts/{key}/privacy/erase", data={"_place": "contact-privacy"})
    assert refused.status_code == 422
    assert "Tick that you are sure" in refused.text
    assert re.search(r'name="never" value="1"(?! checked)', refused.text)  # as it was left
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Hit)) == 1
    done = browser.post(f"/contacts/{key}/privacy/erase", data={"sure": "1", "never": "1"}, follow_redirects=True)
    assert "is erased" in done.text
    assert "No hit is kept" in done.text
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Hit)) == 0
    assert noted(sessions) == {ANNA: "person"}


def test_another_teams_contact_is_not_found(browser: FlaskClient) -> None:
    assert browser.get(f"/contacts/{new_key()}/privacy.json").status_code == 404
    assert browser.post(f"/contacts/{new_key()}/privacy/erase", data={"sure": "1"}).status_code == 404


def test_the_operator_hands_out_and_erases_all_addresses_of_a_person(
    database_url: str, team: Team, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_DATABASE_URL", database_url)
    monkeypatch.setenv("TRACKER_SECRET_KEY", "k" * 40)
    with sessions() as session, session.begin():
        contact = a_contact(session, team.viewer, ANNA)
        contacts.add_address(session, team.viewer, contact, "anna@home.test")
        for address in (ANNA, "anna@home.test", TOM):
            a_hit(session, a_tracked_mail(session, team.bob, address))

    def run(*arguments: str, typed: str = "") -> tuple[int, str]:
        done = CliRunner().invoke(main, ["privacy", *arguments], input=typed)
        return done.exit_code, done.output

    status, printed = run("export", "anna@home.test")
    assert status == 0, printed
    assert len(json.loads(printed)["mails"]) == 2
    assert run("erase", ANNA, typed="n\n")[0] == 1
    status, printed = run("erase", "Anna@Client.test", "--yes", "--never")
    assert status == 0, printed
    assert "2 mails to them alone" in printed
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Hit)) == 1
    assert noted(sessions) == {ANNA: "person", "anna@home.test": "person"}
    assert run("export", "nobody")[0] == 1
    assert SENT.isoformat() in run("export", TOM)[1]
