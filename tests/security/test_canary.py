"""What Alice keeps to herself is seen by nobody else, wherever they look. The walk reads the URL map."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from sqlalchemy import literal, select, true
from werkzeug.routing import Rule

from scheduler import digests
from tests.security import walk
from tests.security.canary import BOX, MAIL
from tests.security.conftest import Stage
from tests.security.walk import WORDS, Eyes, told
from tests.tracker.domain import NOW
from tracker import sight
from tracker.events import Event
from tracker.mailboxes import Mailbox
from tracker.people import User
from tracker.sharing import gate
from tracker.sharing.levels import Level
from webhooks import live
from webhooks.bells import telling, words
from webhooks.bells.notices import Notification

pytestmark = pytest.mark.usefixtures("quick")
#: Pages that Alice herself does not get with the things that there are; each with its reason.
UNREACHED = {
    "components.broken": "breaks on purpose",
    "duplicates.look": "asks for two contacts by name: the pages of each are walked",
    "duplicates.look_organizations": "asks for two organizations by name",
    "files.open_file": "asks Gmail",
    "gmail_sync.connected": "Google leads there",
    "imports.wrong": "what an import that ran could not read",
    "sign_in.back": "Google leads there",
}
#: Of the pages, so many tell Alice of what is hers alone; of the forms, so many do what she asks.
TELLING, DOING = 25, 60
#: What the stream tells of, and where its keys are.
STREAMED = {"box": "boxes", "contact": "contacts", "pipeline": "pipelines", "stage": "stages"}
#: Forms that say who sees what.
OF_SHARING = ("access.", "sharing", "answering.", "conversation.", "inbox.accept")


def soak(*names: str) -> list[object]:
    """Parameters for the long run only."""
    return [pytest.param(one, marks=[pytest.mark.soak, pytest.mark.timeout(900)]) for one in names]


@pytest.fixture(params=["short", *soak("wide")])
def wide(request: pytest.FixtureRequest) -> bool:
    """Whether the walk goes to all that there is, rather than to what is Alice's and one of each of the rest."""
    return bool(request.param == "wide")


def leaks_in_forms(stage: Stage, name: str, *, wide: bool = False, only: tuple[str, ...] = ("",)) -> list[str]:
    """What the answers to all forms tell somebody: about what is Alice's alone, and in what they may see."""
    eyes, found = stage.eyes(name), []
    ways = replace(stage.walk(name, wide=wide), most=9 if wide else 2)
    for rule in ways.rules("POST"):
        if rule.endpoint.startswith(only):
            for address in ways.filled(rule):
                for turn in range(2 if wide else 1):
                    found.append(eyes.leak(address, eyes.post(address, walk.form(ways, turn))))
    return [one for one in found if one]


def test_alice_gets_everywhere(stage: Stage, alices: tuple[list[str], set[str]]) -> None:
    """A new route that can't be filled in says so. And she sees her own, or the walk would find nothing for no
    reason."""
    telling, lost = alices
    assert lost == set(UNREACHED)
    assert len(telling) >= TELLING
    said = stage.eyes("alice").found(telling)
    assert any(MAIL in one for one in said)
    assert any(BOX in one for one in said)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_alices_forms_do_something(stage: Stage) -> None:
    """Else it would say nothing that others' forms tell them nothing."""
    alice, ways = stage.eyes("alice"), replace(stage.walk("alice"), most=2)

    def works(rule: Rule) -> bool:
        return any(alice.post(one, walk.form(ways, 0)).status_code < 400 for one in ways.filled(rule))

    with stage.undoing():
        done = [rule.endpoint for rule in ways.rules("POST") if works(rule)]
    assert len(done) >= DOING, done


@pytest.mark.parametrize("name", ["carol", "dora", "nobody", *soak("bob", "zoe")])
def test_nobody_else_sees_it_anywhere(
    stage: Stage, name: str, wide: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    eyes = stage.eyes(name)
    assert eyes.get("/me").status_code == (302 if name == "nobody" else 200)
    leaks = eyes.everywhere(stage.walk(name, wide=wide))
    assert not leaks, told(leaks)
    assert not WORDS.search(caplog.text)
    assert not any(one in caplog.text for one in stage.house.secrets.values())


@pytest.mark.parametrize("name", ["carol", "dora", "nobody", *soak("bob", "zoe")])
def test_no_form_answers_with_it(stage: Stage, name: str, wide: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with stage.undoing():
        leaks = leaks_in_forms(stage, name, wide=wide)
    assert not leaks, told(leaks)
    assert not WORDS.search(caplog.text)


@pytest.mark.parametrize("forms", ["of sharing", *soak("all")])
@pytest.mark.parametrize("name", ["carol", *soak("bob", "dora", "zoe")])
def test_no_form_opens_it(
    stage: Stage, alices: tuple[list[str], set[str]], name: str, forms: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever somebody has sent, and it was done: no page tells them more."""
    with stage.restored():
        leaks = leaks_in_forms(stage, name, only=("",) if forms == "all" else OF_SHARING)
        monkeypatch.undo()  # nothing of what was made once
        leaks += stage.eyes_anew(name).found(alices[0])
        assert not leaks, told(leaks)


def _gate_open(one: gate._Gate) -> object:
    return literal(int(Level.FULL)) if one.is_level else true()


@pytest.mark.parametrize(("fault", "least"), [("gate", 9), ("sight", 6)])
def test_the_walk_finds_what_is_open(
    stage: Stage, alices: tuple[list[str], set[str]], fault: str, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of mail, were there no gate; of boxes, were everybody's eyes all eyes."""
    monkeypatch.setattr(stage.engine, "_compiled_cache", {})  # what was compiled has the gate in it
    if fault == "gate":
        monkeypatch.setattr(gate._Gate, "answer", _gate_open)
    else:
        monkeypatch.setattr(sight, "_options", lambda *_: ())
        monkeypatch.setattr("tracker.access.seen", lambda *_: true())
    places = {one.split(":")[0] for one in stage.eyes("bob").found(alices[0])}
    assert len(places) >= least, places


def test_nobody_is_told_of_it(stage: Stage) -> None:
    """Notifications, what is pushed to desktops, digests: not even of what was put there by mistake."""
    with stage.sessions() as session:
        while telling.read_some(session, NOW):
            pass
        for one in stage.house.people.values():
            user = session.get_one(User, one.id)
            rows = session.scalars(select(Notification).where(Notification.user_id == user.id)).all()
            said = words.say(session, rows, {user.id: user})
            rung = json.dumps([*(one.ring() for one in said), words.summary(said) if said else ""])
            letter = digests.letter(user, Mailbox(address=user.address), said, "https://tracker.example")
            assert not WORDS.search(rung), rung
            assert not WORDS.search(repr(letter)), letter
        session.rollback()


def test_the_log_of_what_happened_holds_no_mail(stage: Stage) -> None:
    """Every other room reads it, and outbound doors will. What somebody queued names its mail, and is told through
    `scheduler.web.rights.may_be_told` alone: the pages that show it are walked above."""
    with stage.sessions() as session:
        for one in session.scalars(select(Event).where(Event.kind.not_like("email.%"))):
            assert MAIL not in json.dumps(one.data), one.kind


@pytest.mark.parametrize("name", ["bob", "carol", "dora", "zoe", "nobody"])
def test_the_stream_of_changes_tells_nobody_that_it_changed(stage: Stage, name: str) -> None:
    """Not of her box, nor of mail that is in none, whatever is asked for; and to Alice it does."""
    names = ",".join(f"{kind}:{key}" for kind, table in STREAMED.items() for key in stage.keys[table])
    hidden = f"box:{stage.keys['boxes'][0]}"

    def since(eyes: Eyes) -> str:
        return eyes.get("/live/since?" + urlencode({"cursor": "0.0", "topics": names})).text

    def streamed(eyes: Eyes) -> str:
        seen = live.signed_in(stage.app)(eyes.headers.get("Cookie", ""), names)
        return (
            seen.topics if seen and seen.team_id == stage.house.alice.team_id else ""
        )  # the hub's first question

    ways: list[Callable[[Eyes], str]] = [since, streamed]
    for way in ways:
        assert hidden in way(stage.eyes("alice"))
        said = way(stage.eyes(name))
        assert hidden not in said
        assert not WORDS.search(said)
        assert ("pipeline:" in said or "box:" in said) == (name in ("bob", "carol"))
