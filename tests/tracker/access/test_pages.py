"""Through the browser: what somebody may not see is nowhere, whichever page they ask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, event, select
from sqlalchemy.orm import Session

from tests.tracker.access.conftest import House, furnish, viewer
from tests.tracker.domain import NOW
from tests.tracker.web.conftest import Team, app, team, write  # noqa: F401
from tests.tracker.web.factories_web import browser_of
from tracker import activities, contacts, links, tasks
from tracker.activities import ActivityKind
from tracker.addresses import Address
from tracker.boxes import Box
from tracker.people import User
from tracker.tasks import Task

HIDDEN = {
    "mia": ("closed", "inner", "theirs"),
    "ada": ("closed", "inner", "theirs"),
    "gina": ("plain", "closed", "inner", "open", "theirs"),
    "gus": ("plain", "closed", "ginas", "inner", "open"),
}
WORDS = {
    "plain": "willow", "closed": "quokka", "ginas": "heron", "inner": "badger", "open": "otter", "theirs": "lemur",
}  # fmt: skip


@dataclass
class Walk:
    """The house as pages show it, with something in each box."""

    house: House
    app: Flask
    session: Session
    ungated: list[str] = field(default_factory=list)

    def browser(self, name: str) -> FlaskClient:
        """Somebody's browser."""
        return browser_of(self.app, getattr(self.house, name))


@pytest.fixture
def walk(write: Session, team: Team, app: Flask) -> Walk:  # noqa: F811
    """Each box has a task, a note that names a colleague, a link, and contacts of its own."""
    alice = write.get_one(User, team.alice.id)
    house = furnish(write, alice)
    me = viewer(alice)
    for name, word in WORDS.items():
        box: Box = getattr(house, name)
        tasks.create(write, me, f"Call the {word}", box=box, due_on=NOW.date(), now=NOW)
        activities.add(write, me, box, ActivityKind.NOTE, f"The {word} said", now=NOW)
    links.link(write, me, house.plain, house.closed)
    links.link(write, me, house.plain, house.inner)
    links.link(write, me, house.plain, house.ginas)
    write.commit()
    return Walk(house, app, write)


def rooms(walk: Walk, name: str) -> tuple[list[str], list[str]]:
    """The keys of boxes that somebody may not see, and of all that hangs on them."""
    house, session = walk.house, walk.session
    hidden: list[Box] = [getattr(house, HIDDEN[name][0])]  # one of a kind: each address is asked with each
    more: list[str] = []
    for box in hidden:
        more += session.scalars(select(Task.key).where(Task.box_id == box.id))
        more += session.scalars(select(activities.Activity.key).where(activities.Activity.box_id == box.id))
        more += [one.key for one in box.contacts if name in ("gina", "gus")]  # to members contacts are the team's
    return [box.key for box in hidden], more


def words_in(text: str, name: str) -> list[str]:
    """Which hidden names stand in a page."""
    lower = text.lower()
    # Contacts are the team's: a member knows them, and not which boxes they are in. A guest knows neither.
    guest = name in ("gina", "gus")
    return [one for one in HIDDEN[name] if (WORDS[one] if guest else f"{one} {WORDS[one]}") in lower]


def addresses(walk: Walk, name: str) -> Iterator[tuple[str, bool]]:
    """Every GET of the URL map: with keys that they may not see (True), and plain."""
    keys, more = rooms(walk, name)
    for rule in walk.app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or rule.endpoint == "static":
            continue
        names = sorted(rule.arguments)
        adapter = walk.app.url_map.bind("localhost")
        if not names:
            yield adapter.build(rule.endpoint), False
        for key in [*keys, *more] if len(names) == 1 else []:
            yield _built(adapter, rule, {names[0]: key}), True
        for first in [*keys, walk.house.sales.key] if len(names) > 1 else []:
            yield _built(adapter, rule, dict.fromkeys(names, keys[0]) | {"key": first}), first in keys


def _built(adapter: Any, rule: Any, filled: dict[str, str]) -> str:
    values = {name: 1 if f"int:{name}" in rule.rule else one for name, one in filled.items()}
    return str(adapter.build(rule.endpoint, values, method="GET"))


@pytest.mark.parametrize("name", ["mia", "gus"])
def test_no_page_shows_or_knows_what_somebody_may_not_see(walk: Walk, name: str) -> None:
    browser = walk.browser(name)
    told, found = {}, {}
    for address, is_key in addresses(walk, name):
        answer = browser.get(address)
        if words := words_in(answer.text, name):
            told[address] = words
        if is_key and answer.status_code not in (404, 403, 401, 405):
            found[address] = answer.status_code
    assert not told
    unknown = {one: browser.get(one.replace(_key_in(walk, name, one), "x" * 16)).status_code for one in found}
    assert found == unknown  # a key that nobody ever had is answered the same


def _key_in(walk: Walk, name: str, address: str) -> str:
    return next(key for keys in rooms(walk, name) for key in keys if key in address)


PLAIN = (
    "/p/{sales}", "/p/{sales}/table", "/p/{sales}/table.csv", "/p/{sales}/table/rows", "/p/{sales}/deleted",
    "/p/{sales}/settings/stages", "/p/{sales}/settings/pipeline", "/b/{seen}", "/b/{seen}/links/choices?name=e",
    "/b/{seen}/merge", "/search?q=Call", "/search?q=said", "/contacts", "/contacts?q=e", "/organizations",
    "/duplicates",
    "/followups", "/inbox", "/places", "/pipelines/new", "/pipelines/closed", "/bell", "/p/{connections}",
    "/p/{connections}/table", "/p/{connections}/table.csv",
)  # fmt: skip


@pytest.mark.parametrize("name", list(HIDDEN))
def test_lists_counts_and_exports_leave_out_what_is_hidden(walk: Walk, name: str) -> None:
    house, browser = walk.house, walk.browser(name)
    seen = {"mia": house.plain, "ada": house.plain, "gina": house.ginas, "gus": house.theirs}[name]
    keys = {"sales": house.sales.key, "connections": house.connections.key, "seen": seen.key}
    shown = {one: browser.get(one.format(**keys)) for one in PLAIN}
    assert {one: words for one, page in shown.items() if (words := words_in(page.text, name))} == {}
    assert WORDS[next(one for one in WORDS if getattr(house, one) is seen)] in shown["/b/{seen}"].text
    if name == "mia":
        assert "otter" in shown["/p/{connections}"].text
        assert "willow" in shown["/p/{sales}/table.csv"].text


@pytest.mark.parametrize("name", ["ada", "gina"])
def test_searching_for_a_hidden_name_is_searching_for_nonsense(walk: Walk, name: str) -> None:
    browser = walk.browser(name)
    for hidden in HIDDEN[name]:
        guest = name in ("gina", "gus")
        for word in (WORDS[hidden], f"{WORDS[hidden]}.example") if guest else (hidden,):
            nonsense = word.translate(str.maketrans("abcdefghijklmnopqrstuvwxyz", "zqxjzqxjzqxjzqxjzqxjzqxjzq"))
            for address in ("/search?q={}", "/search/suggest?q={}", "/contacts?q={}", "/organizations?q={}"):
                one, other = (browser.get(address.format(asked)) for asked in (word, nonsense))
                assert one.status_code == other.status_code
                assert plain(one.text, word) == plain(other.text, nonsense), address


def plain(text: str, word: str) -> str:
    """A page without what differs between any two."""
    return re.sub(r'csrf[^>]*|data-made="[^"]*"', "", text.replace(word, "…"))


def test_every_statement_that_reads_boxes_asks_the_gate(walk: Walk, engine: Engine) -> None:
    """Whoever writes a query in a way that the gate can't see is told here."""
    keys = {"sales": walk.house.sales.key, "connections": walk.house.connections.key, "seen": walk.house.plain.key}
    browser, ungated = walk.browser("mia"), []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        reads = re.search(r"\b(from|join) boxes\b", statement.lower())
        law = (
            "box_members" in statement or "boxes AS watched" in statement
        )  # whose eyes to look with is asked there
        if reads and not law and "sight" not in statement:
            ungated.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        for address in PLAIN:
            browser.get(address.format(**keys))
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert [one for one in ungated if "EXISTS (SELECT * \nFROM boxes" not in one] == []


def test_guests_are_not_shown_who_may_be_one_person(walk: Walk) -> None:
    me = viewer(walk.house.alice)
    for name in ("q", "quentin"):
        there = Address("Quentin Quokka", f"{name}@{name}.test", f"{name}@{name}.test")
        contacts.ensure(walk.session, me, there, phone="+49 30 1234567")
    walk.session.commit()
    assert "Quentin Quokka" in walk.browser("mia").get("/contacts/duplicates").text
    answer = walk.browser("gina").get("/contacts/duplicates")
    assert answer.status_code == 403
    assert "duplicates" not in walk.browser("gina").get("/contacts").text


def test_guests_work_off_no_tasks_of_the_teams(walk: Walk) -> None:
    me, house = viewer(walk.house.alice), walk.house
    loose = tasks.create(walk.session, me, "Water the figs", due_on=NOW.date(), now=NOW)
    given = tasks.create(walk.session, me, "Call Hal", assignee_id=house.gina.id, due_on=NOW.date(), now=NOW)
    walk.session.commit()
    gina = walk.browser("gina")
    for whose in ("team", "me"):
        page = gina.get(f"/followups?whose={whose}").text
        assert "Water the figs" not in page
        assert "Call Hal" in page
    told = [gina.post("/followups/done", data={"item": f"task {one.key}"}).status_code for one in (loose, given)]
    assert told == [404, 303]
    assert "Water the figs" in walk.browser("mia").get("/followups?whose=team").text


def test_colleagues_are_offered_where_they_see_the_box(walk: Walk) -> None:
    house, alice = walk.house, walk.browser("alice")
    page = alice.get(f"/b/{house.closed.key}").text
    owners = page.split('id="owner"')[1].split("</select>")[0]
    assert owners.index("Bo<") < owners.index("See it once they own it") < owners.index("Mia<")
    assert "Gina" not in owners
    assert "Mia" not in page.split('id="task-owner"')[1].split("</select>")[0]
    alice.post(f"/b/{house.closed.key}/activities/note", data={"text": "@Mia and @Bo, look"})
    note = walk.session.scalars(select(activities.Activity).order_by(activities.Activity.id.desc())).first()
    assert note is not None
    assert note.mentions == [house.bob.key]
