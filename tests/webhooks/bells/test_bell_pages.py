"""The bell on the pages, its list, what one wishes to be told, and the browsers that ring."""

from __future__ import annotations

import hashlib
import re
from datetime import time, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from config.app import create_app
from config.rooms import Rooms
from config.settings import load
from tests.tracker.domain import a_box
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import browser_of, counted
from tests.webhooks.bells.ringing import Ringing, tracked_mail
from tests.webhooks.bells.services import Browser, PushService
from tests.webhooks.bells.test_telling import wish
from tracker import events
from tracker.boxes import Box
from tracker.db import Sessions
from tracker.events import Cursor
from tracker.messages import Copy
from tracker.topics import Watch
from tracker.web.frame import EXTENSION
from webhooks.bells.kinds import Channel, Kind
from webhooks.bells.notices import Notification
from webhooks.bells.subscriptions import PushSubscription, VapidKey
from webhooks.bells.wishes import NotificationSettings
from webhooks.web import base

JSON = {"Accept": "application/json"}
PLAIN_FORM = {"digest": "none", "_place": "bell"}


@pytest.fixture
def private(app: Flask) -> None:
    """Push services may be on this machine, as `TRACKER_PUSH_PRIVATE` allows."""
    given = app.extensions[base.EXTENSION]
    app.extensions[base.EXTENSION] = base.Web(given.cipher, given.public_url, push_private=True)


def reads(write: Session, team: Team, ringing: Ringing, number: int, box: Box | None = None) -> None:
    mails = [
        tracked_mail(write, team.alice, team.mailbox, subject=f"Mail {one}", box=box) for one in range(number)
    ]
    write.commit()
    for mail in mails:
        ringing.later(seconds=1)
        ringing.read(mail)
    ringing.work()


def links(text: str) -> list[str]:
    return re.findall(r'href="(/bell/[\w-]{16})"', text)


def test_the_bell_counts_what_is_new_and_the_list_leads_to_the_box(
    browser: FlaskClient, write: Session, team: Team, ringing: Ringing
) -> None:
    assert "Nothing yet" in browser.get("/bell").text
    box = a_box(write, team.viewer, "Acme deal")
    reads(write, team, ringing, 2, box)
    page = browser.get("/bell").text
    assert 'aria-label="Notifications, 2 new"' in page
    assert "probably read “Mail 1”" in page
    assert page.index("Mail 1") < page.index("Mail 0")
    assert browser.get(links(page)[0]).headers["Location"] == f"/b/{box.key}"
    assert 'aria-label="Notifications, 1 new"' in browser.get("/inbox").text


def test_one_is_seen_and_all_are_seen_but_not_what_came_meanwhile(
    app: Flask, browser: FlaskClient, write: Session, team: Team, ringing: Ringing
) -> None:
    reads(write, team, ringing, 3)
    page = browser.get("/bell").text
    upto = str(re.search(r'name="upto" value="([\w-]+)"', page)[1])  # type: ignore[index]
    first = links(page)[-1]
    fragment = browser.post(f"{first}/seen", headers={"HX-Request": "true"}).text
    assert fragment.lstrip().startswith('<div id="bell-list"')
    assert "2 new things" in fragment
    reads(write, team, ringing, 1)
    assert browser.post("/bell/seen", data={"upto": upto}).headers["Location"] == "/bell"
    assert 'aria-label="Notifications, 1 new"' in browser.get("/inbox").text


def test_the_list_goes_on_below_and_costs_the_same_however_long_it_is(
    browser: FlaskClient, write: Session, team: Team, ringing: Ringing, engine: Engine
) -> None:
    reads(write, team, ringing, 2)
    with counted(engine) as few:
        browser.get("/bell")
    reads(write, team, ringing, 58)
    with counted(engine) as many:
        page = browser.get("/bell").text
    assert len(many) == len(few)
    assert page.count('class="bell-row ') == 50
    below = browser.get(str(re.search(r'hx-get="(/bell/list\?before=[\w-]+)"', page)[1])).text  # type: ignore[index]
    assert below.count('class="bell-row ') == 10
    assert "Mail 0”" in below


def test_nobody_opens_or_ticks_off_what_is_anothers(
    app: Flask, browser: FlaskClient, write: Session, team: Team, ringing: Ringing
) -> None:
    reads(write, team, ringing, 1)
    [one] = ringing.told()
    bobs = browser_of(app, team.bob)
    assert bobs.get(f"/bell/{one.key}").status_code == 404
    assert bobs.post(f"/bell/{one.key}/seen").status_code == 404
    bobs.post("/bell/seen", data={"upto": one.key})
    assert "Mail 0" not in bobs.get("/bell").text
    assert browser.get("/bell/%00").status_code == 404
    assert ringing.told()[0].seen_at is None
    assert app.test_client().get("/bell").status_code == 302


def test_where_each_kind_leads_to(browser: FlaskClient, write: Session, team: Team, ringing: Ringing) -> None:
    who: dict[str, Any] = {"user_id": team.alice.id, "mailbox_id": team.mailbox.id}
    ringing.happen(team.alice.team_id, "email.failed", data={"email": "abc", "subject": "x"}, **who)
    ringing.happen(team.alice.team_id, "mailbox.attention", data={"reason": "x"}, **who)
    data = {"task": "t", "title": "Call", "assignee": team.alice.key}
    ringing.happen(team.alice.team_id, "task.reminded", data=data, user_id=team.alice.id)
    ringing.work()
    leads = {one.kind: browser.get(f"/bell/{one.key}").headers["Location"] for one in ringing.told()}
    assert leads == {Kind.TROUBLE: "/outbox/abc", Kind.MAILBOX: "/mailboxes", Kind.TASK: "/followups"}


# -- open pages


def test_an_open_page_rings_for_what_came_since_it_looked(
    app: Flask, browser: FlaskClient, write: Session, team: Team, ringing: Ringing
) -> None:
    app.extensions[EXTENSION].now = lambda: ringing.clock
    nothing = {"ring": [], "mine": False}
    assert browser.get("/bell/news").json == nothing | {"newest": ""}
    reads(write, team, ringing, 1)
    first = ringing.told()[0]
    assert browser.get("/bell/news").json == nothing | {"newest": str(first.id)}  # it only begins to listen
    reads(write, team, ringing, 1)
    told = browser.get(f"/bell/news?after={first.id}").json
    assert told is not None
    second = ringing.told()[1]
    assert (told["newest"], [one["tag"] for one in told["ring"]]) == (str(second.id), [second.tag])
    assert browser.get("/bell/news?after=nobody").json == nothing | {"newest": str(second.id)}
    write.execute(update(Copy).values(label_ids=["TRASH"]))  # nor does one that nobody may read hold up the next
    write.commit()
    reads(write, team, ringing, 5)
    [summary] = browser.get(f"/bell/news?after={second.id}").json["ring"]  # type: ignore[index]
    assert summary["title"] == "5 more things to know"
    app.extensions[EXTENSION].now = lambda: ringing.clock + timedelta(hours=13)
    assert browser.get(f"/bell/news?after={second.id}").json["ring"] == []  # type: ignore[index]


def test_an_open_page_is_silent_in_quiet_hours(
    app: Flask, browser: FlaskClient, write: Session, team: Team, ringing: Ringing
) -> None:
    app.extensions[EXTENSION].now = lambda: ringing.clock
    reads(write, team, ringing, 1)
    first = str(ringing.told()[0].id)
    reads(write, team, ringing, 2)
    wish(write, team.alice, quiet=(time(8, 30), time(10)))
    told = browser.get(f"/bell/news?after={first}").json
    assert told is not None
    assert (told["ring"], told["newest"]) == ([], first)
    ringing.later(seconds=told["wait"])  # then the page looks again: together, as they came in quiet hours
    told = browser.get(f"/bell/news?after={first}").json
    assert [one["title"] for one in told["ring"]] == ["2 more things to know"]  # type: ignore[index]
    assert told["newest"] == str(ringing.told()[-1].id)  # type: ignore[index]


@pytest.mark.usefixtures("private")
def test_a_page_is_silent_only_beside_a_browser_that_is_this_persons(
    app: Flask, browser: FlaskClient, write: Session, team: Team, ringing: Ringing
) -> None:
    app.extensions[EXTENSION].now = lambda: ringing.clock
    endpoint = "https://push.example/shared"
    here = "&browser=" + hashlib.sha256(endpoint.encode()).hexdigest()
    reads(write, team, ringing, 1)
    told = browser.get(f"/bell/news?after=-{here}").json
    assert told is not None
    assert (told["mine"], len(told["ring"])) == (False, 1)
    ringing.switch_on(team.alice, Browser(endpoint).keys)
    told = browser.get(f"/bell/news?after=-{here}").json
    assert told is not None
    assert (told["mine"], told["ring"]) == (True, [])
    assert browser_of(app, team.bob).get(f"/bell/news?after=-{here}").json["mine"] is False  # type: ignore[index]


def test_what_is_new_is_told_to_the_users_pages_alone(write: Session, team: Team) -> None:
    watch = Watch.of(team.alice.key, "bell")
    assert watch.hits(frozenset({f"bell:{team.alice.key}"})) == {"bell"}
    assert watch.hits(frozenset({f"bell:{team.bob.key}"})) == set()
    assert Watch.of(team.alice.key, f"bell:{team.bob.key}").names == {}


def test_a_page_that_polls_looks_at_the_bell_each_time(browser: FlaskClient, write: Session, team: Team) -> None:
    cursor: Cursor = events.newest(write)
    asked = browser.get(f"/live/since?topics=bell&cursor={cursor.transaction}.{cursor.id}").json
    assert asked is not None
    assert asked["topics"] == ["bell"]


def test_the_service_worker_is_at_the_root_for_everybody(app: Flask) -> None:
    answer = app.test_client().get("/sw.js")
    assert (answer.status_code, answer.mimetype) == (200, "text/javascript")
    assert answer.headers["Service-Worker-Allowed"] == "/"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert "worker-src 'self'" in answer.headers["Content-Security-Policy"]
    for event in ("push", "notificationclick", "pushsubscriptionchange"):
        assert f'addEventListener("{event}"' in answer.text


# -- wishes


def test_the_defaults_are_all_on_but_what_would_only_disturb(browser: FlaskClient) -> None:
    ticked = _ticked(browser.get("/bell/settings").text)
    assert "read.desktop" in ticked
    assert {"sent.desktop", "moved_by_rule.desktop"} & ticked == set()
    assert {"sent.bell", "moved_by_rule.bell"} <= ticked


def _ticked(page: str) -> set[str]:
    return set(re.findall(r'name="on" value="([\w.]+)"[^>]*checked', page))


def test_wishes_are_kept_and_shown(browser: FlaskClient, team: Team, write: Session) -> None:
    form = PLAIN_FORM | {
        "on": ["read.desktop", "answer.bell"], "quiet_from": "18:30", "quiet_until": "8:00", "digest": "daily",
        "pipeline": [],
    }  # fmt: skip
    assert browser.post("/bell/settings", data=form).headers["Location"] == "/bell/settings"
    page = browser.get("/bell/settings").text
    assert _ticked(page) == {"read.desktop", "answer.bell"}
    assert 'value="18:30"' in page
    assert '<option value="daily" selected>' in page
    kept = write.get_one(NotificationSettings, team.alice.id)
    assert (kept.quiet_from, kept.quiet_until) == (time(18, 30), time(8))
    assert kept.on(Kind.READ) == {Channel.DESKTOP}
    assert len(kept.quiet_pipelines) > 1
    assert kept.digest_at is not None


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"quiet_from": "25:00", "quiet_until": "8:00"}, "Give both times"),
        ({"quiet_from": "18:00"}, "Give both times"),
        ({"quiet_from": "8:00", "quiet_until": "08:00"}, "at the same time"),
    ],
)
def test_wrong_input_is_said_beside_the_form_and_what_was_typed_stays(
    browser: FlaskClient, write: Session, team: Team, typed: dict[str, str], words: str
) -> None:
    answer = browser.post("/bell/settings", data=PLAIN_FORM | typed | {"on": ["read.bell"]})
    assert answer.status_code == 422
    assert words in answer.text
    assert f'value="{typed["quiet_from"]}"' in answer.text
    assert _ticked(answer.text) == {"read.bell"}
    assert write.get(NotificationSettings, team.alice.id) is None


def test_a_digest_needs_a_mailbox(app: Flask, team: Team) -> None:
    ginas = browser_of(app, team.gina)
    answer = ginas.post("/bell/settings", data=PLAIN_FORM | {"digest": "hourly"})
    assert answer.status_code == 422
    assert "connect one first" in answer.text
    assert ginas.post("/bell/settings", data={"digest": "sometimes"}).status_code == 400


# -- browsers


@pytest.mark.usefixtures("private")
def test_a_browser_is_switched_on_tried_out_and_switched_off(
    browser: FlaskClient, write: Session, team: Team, ringing: Ringing, service: PushService
) -> None:
    chrome = service.browser()
    answer = browser.post("/bell/browsers", data=chrome.keys | {"label": "Chrome on Linux"}, headers=JSON)
    assert answer.status_code == 200
    assert "Chrome on Linux" in browser.get("/bell/settings").text
    assert browser.post("/bell/browsers/test").status_code == 303
    ringing.clock = write.scalars(select(PushSubscription.created_at)).one()
    ringing.later(seconds=5)
    ringing.work()
    assert [one["title"] for one in service.rang(chrome)] == ["Notifications work"]
    key = answer.json["key"]  # type: ignore[index]
    assert browser.post(f"/bell/browsers/{key}/remove").status_code == 303
    assert "Chrome on Linux" not in browser.get("/bell/settings").text
    assert browser.post("/bell/browsers/test").status_code == 422


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "http://push.example/x"}, {"endpoint": "javascript:alert(1)"}, {"endpoint": ""},
        {"endpoint": "https://push.example/" + "x" * 2000}, {"p256dh": ""}, {"p256dh": "AAAA"},
        {"p256dh": "B" * 87}, {"auth": "AAAA"}, {"auth": "é"},
    ],
)  # fmt: skip
def test_a_browser_with_an_address_or_keys_that_are_none_is_refused_in_words(
    browser: FlaskClient, write: Session, wrong: dict[str, str]
) -> None:
    given = Browser("https://push.example/one").keys | wrong
    answer = browser.post("/bell/browsers", data=given, headers=JSON)
    assert answer.status_code == 422
    assert "This browser" in answer.json["error"]  # type: ignore[index]
    assert write.scalars(select(PushSubscription)).all() == []


def test_nobody_switches_anothers_browser_off(
    app: Flask, browser: FlaskClient, write: Session, team: Team
) -> None:
    answer = browser.post("/bell/browsers", data=Browser("https://push.example/one").keys, headers=JSON)
    bobs = browser_of(app, team.bob)
    assert bobs.post(f"/bell/browsers/{answer.json['key']}/remove").status_code == 404  # type: ignore[index]
    old = Browser("https://push.example/two").keys
    assert bobs.post("/bell/browsers/changed", json={"old": "https://push.example/one", **old}).status_code == 200
    assert {one.user_id for one in write.scalars(select(PushSubscription))} == {team.alice.id, team.bob.id}


def test_a_person_has_twenty_browsers_at_most(browser: FlaskClient, write: Session) -> None:
    for number in range(22):
        browser.post("/bell/browsers", data=Browser(f"https://push.example/{number}").keys, headers=JSON)
    kept = {one.endpoint for one in write.scalars(select(PushSubscription))}
    assert kept == {f"https://push.example/{number}" for number in range(2, 22)}


def test_a_service_worker_subscribes_anew_without_a_forms_token_but_no_other_site_does(
    app: Flask, team: Team, write: Session
) -> None:
    app.config["WTF_CSRF_ENABLED"] = True
    browser = browser_of(app, team.alice)
    one, other = Browser("https://push.example/one").keys, Browser("https://push.example/other").keys
    assert browser.post("/bell/browsers", data=one).status_code == 400  # no token
    assert browser.post("/bell/browsers/changed", json={"old": "", **one}).status_code == 200
    assert browser.post("/bell/browsers/changed", json={"old": one["endpoint"], **other}).status_code == 200
    assert [row.endpoint for row in write.scalars(select(PushSubscription))] == [other["endpoint"]]
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert browser.post("/bell/browsers/changed", json=one, headers=foreign).status_code == 403
    assert browser.post("/bell/browsers/changed", data=one).status_code == 403
    for wrong in ([], "x", {"endpoint": 1}, {}):
        assert browser.post("/bell/browsers/changed", json=wrong).status_code in (400, 422)
    assert app.test_client().post("/bell/browsers/changed", json=one).status_code == 302


def test_the_key_is_made_once_kept_sealed_and_the_same_after_a_rotation(
    browser: FlaskClient, write: Session, engine: Engine, sessions: Sessions, team: Team
) -> None:
    first = browser.get("/bell/push-key").json
    kept = write.scalars(select(VapidKey)).one()
    assert first == {"key": kept.public}
    assert kept.private.startswith(b"gAAAA")  # a Fernet token
    url = engine.url.render_as_string(hide_password=False)
    settings = load(database_url=url, secret_key="n" * 40, old_secret_keys="k" * 40)  # type: ignore[arg-type]
    rotated = create_app(settings, Rooms(settings, engine, sessions))
    again = browser_of(rotated, team.alice).get("/bell/push-key").json
    assert again == first
    assert rotated.extensions[base.EXTENSION].cipher.open(kept.private)["d"]
    assert write.scalars(select(Notification)).all() == []
