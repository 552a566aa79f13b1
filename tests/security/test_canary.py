"""What Alice keeps to herself is seen by nobody else, wherever they look. The walk reads the URL map."""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.routing import Rule

from scheduler import digests
from tests.security import canary
from tests.security.canary import BOX, MAIL, TYPED, House, Walk
from tests.tracker.domain import NOW
from tests.tracker.web.factories_web import browser_of
from tracker.db import Sessions, transaction
from tracker.events import Event
from tracker.people import User
from webhooks.bells import telling, words
from webhooks.bells.notices import Notification

#: Routes that Alice herself gets no page from, with the things that a test has; each with its reason.
UNREACHED = {
    "calendar.feed": "Bob's: it is walked by its secret",
    "gmail_drafts.index": "asks Gmail",
    "gmail_drafts.show": "asks Gmail",
    "files.open_file": "asks Gmail",
    "imports.wrong": "what an import that ran could not read",
}
#: Not asked: they would wait for Google, or for ever.
NOT_ASKED = {"gmail_drafts.index", "gmail_drafts.show", "gmail_drafts.queue", "live.stream"}
#: What the stream tells of, and where its keys are.
STREAMED = {"box": "boxes", "contact": "contacts", "pipeline": "pipelines", "stage": "stages"}
WORDS = re.compile(f"{MAIL}|{BOX}", re.IGNORECASE)


@pytest.fixture
def house(sessions: Sessions) -> House:
    """Alice, her secrets, and the others."""
    with sessions() as session:
        return canary.settle(session)


@pytest.fixture(params=["some", pytest.param("all", marks=pytest.mark.soak)])
def walk(request: pytest.FixtureRequest, app: Flask, house: House, sessions: Sessions) -> Walk:
    """What the URL map knows, filled in with the keys of what there is: of all of it, or of what is Alice's."""
    with sessions() as session:
        keys = canary.all_keys(session, house.alice.team_id)
    few = {} if request.param == "all" else {"most": 1, "asks": 1}
    return Walk(app, keys, house.secret, **few)


def found_in(browser: FlaskClient, addresses: Iterable[str]) -> list[str]:
    """The addresses whose answers hold a word of Alice's, with what stands around it."""
    leaks = []
    for address in addresses:
        answer = browser.get(address)
        if answer.status_code >= 500:
            leaks.append(f"{address.split('?')[0]}: {answer.status}")
        if found := told_at(address.split("?")[0], f"{answer.headers}\n{answer.get_data(as_text=True)}"):
            leaks.append(found)
    return leaks


def told_at(address: str, said: str) -> str:
    """Where a word of Alice's stands in an answer, if it does."""
    found = WORDS.search(said)
    return f"{address}: …{said[max(0, found.start() - 90) : found.end() + 30]!r}" if found else ""


def addresses(walk: Walk, *, asking: bool = True) -> list[str]:
    """Every GET there is: bare, filled in, and with questions."""
    questions = list(walk.questions()) if asking else [""]
    found = []
    for rule in walk.rules("GET"):
        if rule.endpoint not in NOT_ASKED:
            for address in walk.filled(rule):
                found += [address] if rule.arguments else [address + one for one in questions]
    return found


def told(leaks: Iterable[str]) -> str:
    """A leak of each place, and how many there are."""
    by_place: dict[str, list[str]] = defaultdict(list)
    for one in leaks:
        by_place[re.sub(r"/[\w-]{16}\b", "/…", one.split(":")[0])].append(one)
    return "\n".join(f"{place} ({len(some)}): {some[0]}" for place, some in by_place.items())


def test_the_walk_can_go_everywhere(walk: Walk, app: Flask, house: House) -> None:
    """Each route that takes keys is given some that lead somewhere; a new one that can't be filled in says so.
    And Alice sees her own everywhere, or the walk would find nothing for no reason."""
    browser, lost = browser_of(app, house.alice), []
    seen = told(found_in(browser, [*addresses(walk, asking=False), f"/search?q={TYPED}"]))
    every = replace(walk, most=9)
    for rule in walk.rules("GET"):
        if rule.endpoint not in UNREACHED and rule.arguments and not _leads_somewhere(browser, every, rule):
            lost.append(f"{rule.endpoint} ({rule.rule})")
    assert not lost, "\n".join(lost)
    for place in ("/c/…", "/b/…", "/search", "/inbox", "/m/…/frame", "/p/…"):
        assert f"{place} (" in seen, place
    assert MAIL in seen
    assert BOX in seen


def _leads_somewhere(browser: FlaskClient, walk: Walk, rule: Rule) -> bool:
    return any(browser.get(one).status_code != 404 for one in walk.filled(rule))


def test_nobody_else_sees_it_anywhere(
    walk: Walk, app: Flask, house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    leaks: list[str] = []
    for name, user in house.people.items():
        everywhere = addresses(walk, asking=name == "bob" or walk.most > 1)
        if walk.most == 1 and name in ("carol", "zoe"):  # of the roles walked in whole, a sample is enough
            everywhere = everywhere[len(name) % 2 :: 4]
        leaks += [f"{name} {one}" for one in found_in(browser_of(app, user), everywhere)]
    leaks += [f"nobody {one}" for one in found_in(app.test_client(), addresses(walk))]
    assert not leaks, f"\n{told(leaks)}"
    assert not WORDS.search(caplog.text)
    assert house.secret not in caplog.text


@pytest.mark.parametrize("who", ["bob", "dora"])
def test_no_form_answers_with_it(
    walk: Walk, app: Flask, house: House, who: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    browser, leaks = browser_of(app, house.people[who]), []
    for turn, rule in enumerate(one for one in walk.rules("POST") if one.endpoint not in NOT_ASKED):
        for address in walk.filled(rule)[:2]:
            answer = browser.post(address, data=canary.form(walk, turn), headers={"HX-Request": "true"})
            if answer.status_code >= 500:
                leaks.append(f"{address}: {answer.status}")
            if found := told_at(address, f"{answer.headers}\n{answer.get_data(as_text=True)}"):
                leaks.append(found)
        if rule.rule.startswith("/sign-"):
            browser = browser_of(app, house.people[who])
    assert not leaks, f"\n{told(leaks)}"
    assert not WORDS.search(caplog.text)


def test_nobody_is_told_of_it(house: House, sessions: Sessions) -> None:
    """Notifications, what is pushed to desktops, digests, and the stream to open pages."""
    with transaction(sessions) as session:
        while telling.read_some(session, NOW):
            pass
    with transaction(sessions) as session:
        digests.write_due(session, "https://tracker.example", NOW)
        for one in house.people.values():
            user = session.get_one(User, one.id)
            rows = session.scalars(select(Notification).where(Notification.user_id == user.id)).all()
            rung = json.dumps([said.ring() for said in words.say(session, rows, {user.id: user})])
            assert not WORDS.search(rung), rung


def test_the_log_of_what_happened_holds_no_mail(house: House, sessions: Sessions) -> None:
    """Every other room reads it, and outbound doors will. What somebody queued names its mail, and is told through
    `scheduler.web.rights.may_be_told` alone: the pages that show it are walked above."""
    with sessions() as session:
        for one in session.scalars(select(Event).where(Event.kind.not_like("email.%"))):
            assert MAIL not in json.dumps(one.data), one.kind


@pytest.mark.parametrize("who", ["bob", "carol", "dora", "zoe"])
def test_the_stream_of_changes_tells_nobody_that_it_changed(
    app: Flask, house: House, sessions: Sessions, who: str
) -> None:
    """Not of her box, nor of mail that is in none, whatever is asked for; and to Alice it does."""
    with sessions() as session:
        keys = canary.all_keys(session, house.alice.team_id)
    names = [f"{kind}:{key}" for kind, table in STREAMED.items() for key in keys[table]]
    asked = "/live/since?" + urlencode({"cursor": "0.0", "topics": ",".join(names)})
    hidden = f"box:{keys['boxes'][0]}"
    assert hidden in browser_of(app, house.alice).get(asked).json["topics"]  # type: ignore[index]
    said = browser_of(app, house.people[who]).get(asked)
    assert hidden not in said.text
    assert not WORDS.search(said.text)
    assert bool(said.json["topics"]) == (who in ("bob", "carol"))  # type: ignore[index]
