"""The preview of the side panel: Gmail's window around our real endpoints, for the demo alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from gmail_sync.addon import preview_host as host
from gmail_sync.sandbox import Sandbox
from tests.gmail_sync.syncing import ALICE, BOB, CHARLIE, Team, mail
from tracker import people, sessions
from tracker.db import transaction, utc_now
from tracker.messages import Message
from tracker.panel import (
    Action,
    Asked,
    Button,
    Buttons,
    Card,
    Choice,
    Choosing,
    Done,
    Input,
    Inserted,
    Line,
    Moment,
    Opened,
    Option,
    Outcome,
    Paragraph,
    Place,
    Refused,
    Section,
    Shown,
)
from tracker.web import frame

MakeApp = Callable[..., Flask]
SUBJECT, HIDDEN = "Eleven rooms", "For Bob alone"


@pytest.fixture
def app(make_app: MakeApp, sandbox: Sandbox, team: Team) -> Flask:
    """The demo's application: Alice and Bob with a mail each."""
    sandbox.mailbox(ALICE).insert(mail(subject=SUBJECT, text="How much are <b>eleven</b> rooms?"))
    sandbox.mailbox(BOB).insert(mail(to=BOB, subject=HIDDEN))
    for address in (ALICE, BOB):
        team.sync(team.connect(address))
    return make_app(addon_preview=True)


@pytest.fixture
def asked(app: Flask) -> list[Asked]:
    """What the panel's actions were asked; the panel has a form with all there is."""
    found: list[Asked] = []
    panel = frame.of(app).panel
    panel.sections.clear()

    def note(one: Asked) -> Outcome:
        found.append(one)
        if one.text("name") == "nobody":
            raise Refused("There is nobody of that name")
        return Done(f"Hello {one.text('name')}")

    def whom(one: Asked) -> list[Section]:
        assert one.writing is not None
        return [Section("For", [Paragraph(", ".join(one.writing.to)), PUT])]

    def push(_: Asked) -> Outcome:
        return Shown(Card("The second card", [Section("", [Paragraph("Further up")])]), push=True)

    panel.register_section(Place.THREAD, lambda _: FORM)
    panel.register_section(Place.COMPOSE, whom)
    panel.register_action("test.note", note)
    panel.register_action("test.push", push)
    panel.register_action("test.open", lambda one: Opened(f"{one.url}/inbox"))
    panel.register_action(
        "test.insert", lambda _: Inserted('<p onclick="x()">Our <b>offer</b></p><img src="http://x/1.gif">')
    )
    return found


PUT = Buttons([Button("Put it in", Action("test.insert"))])
BY_CHOICE = Action("test.note", {"by": "choice"})
TAGS = [Option("x", "X", True), Option("y", "Y", True), Option("z", "Z")]
NOTE = Button("Note it", Action("test.note", {"by": "button"}), filled=True)
WHY = "because <i>they</i> wrote"
FORM = [
    Section(
        "<script>alert(1)</script>",
        [
            Line("Blue Kestrel", label="Box", below=WHY, icon="inventory_2", url="https://tracker.example/b/1"),
            Input("name", "Name", "Wendy", "as she signs", suggestions=["Wendy", "Will"]),
            Input("text", "Text", lines=True),
            Choice("stage", "Stage", [Option("a", "Lead", True), Option("b", "Won")], changed=BY_CHOICE),
            Choice("tags", "Tags", TAGS, Choosing.BOXES),
            Moment("day", "Day", "2026-03-29"),
            Moment("at", "At", "2026-03-29T09:00", with_time=True),
            Buttons([NOTE, Button("Off", disabled=True)]),
            Buttons([Button("More", Action("test.push")), Button("Go there", Action("test.open"))]),
        ],
    ),
    Section("Folded", [Paragraph("Seen"), Paragraph("Under the fold")], folded=1),
]


def browser(app: Flask, team: Team, address: str = ALICE) -> FlaskClient:
    """Somebody's browser, signed in."""
    with transaction(team.sessions) as session:
        user = people.by_address(session, address)
        assert user is not None
        token = sessions.begin(session, user, address="127.0.0.1", agent="", now=utc_now())
        key = user.key
    client = app.test_client()
    with client.session_transaction() as cookie:
        cookie["user"], cookie["token"] = key, token
    return client


def key_of(team: Team, subject: str) -> str:
    """A mail's key."""
    with team.sessions() as session:
        return session.scalars(select(Message.key).where(Message.subject == subject)).one()


def opened(client: FlaskClient, team: Team) -> str:
    """The page with Alice's mail open."""
    answer = client.get(f"/addon/preview?message={key_of(team, SUBJECT)}")
    assert answer.status_code == 200
    return answer.text


def pressed(client: FlaskClient, page: str, button: str, form: Mapping[str, Any] | None = None) -> str:
    """The page after a button of the card, with what a browser sends of its form."""
    number = re.search(
        rf'<button[^>]*name="press" value="(\w+)"[^>]*>(?:(?!</button>).)*{re.escape(button)}', page, re.DOTALL
    )
    assert number, button
    return posted(client, page, number[1], form or {})


def posted(client: FlaskClient, page: str, number: str, form: Mapping[str, Any]) -> str:
    """The page after the thing with this number is pressed."""
    state = re.search(r'name="state" value="([^"]+)"', page)
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert state
    assert token
    sent = {"state": unescape(state[1]), "csrf_token": token[1], "press": number, **form}
    answer = client.post("/addon/preview/press", data=sent)
    assert answer.status_code == 200, answer.text
    return answer.text


# -- whose it is


def test_outside_the_demo_there_is_no_preview(make_app: MakeApp, team: Team) -> None:
    team.connect(ALICE)
    app = make_app()
    assert browser(app, team).get("/addon/preview").status_code == 404
    assert "the panel in Gmail" not in browser(app, team).get("/mailboxes").text


def test_google_itself_is_never_asked_to_sign(make_app: MakeApp, team: Team) -> None:
    team.connect(ALICE)
    app = make_app(addon_preview=True, gmail_api_url="https://gmail.googleapis.com")
    assert browser(app, team).get("/addon/preview").status_code == 404


def test_the_demo_leads_to_it(app: Flask, team: Team) -> None:
    assert 'href="/addon/preview"' in browser(app, team).get("/mailboxes").text


def test_who_is_not_signed_in_is_asked_to(app: Flask) -> None:
    assert "/sign-in" in app.test_client().get("/addon/preview").headers["Location"]


def test_only_ones_own_mail_is_listed_and_opens(app: Flask, team: Team) -> None:
    client = browser(app, team)
    page = client.get("/addon/preview").text
    assert SUBJECT in page
    assert HIDDEN not in page
    assert client.get(f"/addon/preview?message={key_of(team, HIDDEN)}").status_code == 404
    assert client.get("/addon/preview?message=%00no").status_code == 404
    assert HIDDEN in browser(app, team, BOB).get("/addon/preview").text


def test_the_panel_of_another_person_is_not_taken_over(app: Flask, team: Team, asked: list[Asked]) -> None:
    page = opened(browser(app, team), team)
    state = unescape(re.search(r'name="state" value="([^"]+)"', page)[1])  # type: ignore[index]
    bob = browser(app, team, BOB)
    token = re.search(r'name="csrf_token" value="([^"]+)"', bob.get("/addon/preview").text)[1]  # type: ignore[index]
    for wrong in (state, state[:-1] + "x", ""):
        answer = bob.post("/addon/preview/press", data={"state": wrong, "csrf_token": token, "press": "1"})
        assert answer.status_code == 400
    assert not asked


# -- what it shows


def test_the_event_and_the_answer_are_shown_without_tokens(app: Flask, team: Team, asked: list[Asked]) -> None:
    page = unescape(opened(browser(app, team), team))
    assert "/addon/open</code>" in page
    assert '"messageId": "msg-f:' in page
    assert '"userIdToken": "eyJ' in page
    assert '"pushCard"' in page
    assert "eyJhbGciOi" not in page  # how each token begins, but for its first letters
    assert "a-token" not in page


def test_nothing_of_a_card_runs(app: Flask, team: Team, asked: list[Asked]) -> None:
    page = opened(browser(app, team), team)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "because &lt;i&gt;they&lt;/i&gt; wrote" in page
    assert "How much are &lt;b&gt;eleven&lt;/b&gt; rooms?" in page  # the mail beside it
    assert " style=" not in page


def test_a_form_comes_back_as_gmail_sends_it(app: Flask, team: Team, asked: list[Asked]) -> None:
    client = browser(app, team)
    page = opened(client, team)
    for drawn in (
        'value="2026-03-29"',
        'value="2026-03-29T09:00"',
        "Under the fold",
        "1 more",
        '<option value="Will">',
    ):
        assert drawn in page
    form = {
        "in.name": "Wendy", "in.text": "", "in.stage": "b", "in.tags": ["x", "z"], "in.day": "2026-07-01",
        "in.at": "2026-07-01T14:30", "in.unknown": "not of this card",
    }  # fmt: skip
    page = pressed(client, page, "Note it", form)
    assert "Hello Wendy" in page
    assert asked[-1].given == {
        "name": ("Wendy",), "text": ("",), "stage": ("b",), "tags": ("x", "z"), "day": ("2026-07-01",),
        "at": ("2026-07-01T14:30",),
    }  # fmt: skip
    assert asked[-1].params["by"] == "button"
    assert asked[-1].user.address == ALICE
    assert asked[-1].conversation is not None
    page = pressed(client, page, "Note it", {"in.name": "nobody"})
    assert "There is nobody of that name" in page
    assert "Note it" in page  # the card stays


def test_cards_lie_on_each_other(app: Flask, team: Team, asked: list[Asked]) -> None:
    client = browser(app, team)
    second = pressed(client, opened(client, team), "More")
    assert "The second card" in second
    assert "Note it" not in second
    first = posted(client, second, "back", {})
    assert "Note it" in first
    assert 'value="back"' not in first
    assert 'href="https://tracker.example/inbox"' in pressed(client, first, "Go there")


def test_what_is_put_into_a_mail_is_shown_and_kept_in_its_draft(
    app: Flask, team: Team, sandbox: Sandbox, asked: list[Asked]
) -> None:
    client = browser(app, team)
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/addon/preview?write=1").text)
    assert token
    written = {"to": f"Charlie <{CHARLIE}>", "subject": "Our offer", "csrf_token": token[1]}
    page = client.post("/addon/preview/write", data=written).text
    assert CHARLIE in page.split("gp-card", 1)[1]  # the panel knows whom it goes to
    state = re.search(r'name="state" value="([^"]+)"', page)
    assert state
    page = client.post("/addon/preview/write", data={**written, "state": unescape(state[1])}).text  # the same mail
    page = pressed(client, page, "Put it in")
    assert "<p>Our <b>offer</b></p>" in page
    assert "onclick" not in page.split("gm-wire", 1)[0]
    assert "a picture of one pixel" in page
    box = sandbox.mailbox(ALICE)
    drafts = [box.raw(one) for one in box.message_ids() if "DRAFT" in box.label_ids(one)]
    assert len(drafts) == 1
    assert b"1.gif" in drafts[0]
    assert b"Subject: Our offer" in drafts[0]


def test_whatever_is_typed_is_no_error(app: Flask, team: Team) -> None:
    client = browser(app, team)
    page = opened(client, team)
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert token
    typed = {
        "to": "x@y.test\r\nBcc: z@y.test, ü@y.test, <a b@y.test>, " * 9,
        "subject": "a\r\nX-Y: b\x00\U0001f600",
    }
    answer = client.post("/addon/preview/write", data={**typed, "csrf_token": token[1]})
    assert answer.status_code == 200
    state = re.search(r'name="state" value="([^"]+)"', page)
    assert state
    for number in ("9" * 5_000, "-1", "٣", "", "999"):
        sent = {"state": unescape(state[1]), "csrf_token": token[1], "press": number}
        assert client.post("/addon/preview/press", data=sent).status_code in (200, 400)


def test_without_a_mailbox_it_says_what_to_do(app: Flask, team: Team) -> None:
    with transaction(team.sessions) as session:
        first = people.first_team(session)
        assert first is not None
        people.add_user(session, first.id, CHARLIE)
    page = browser(app, team, CHARLIE).get("/addon/preview").text
    assert "Connect your mailbox first" in page


# -- Gmail's part, alone


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ([], ["a", "b", "c"]),
        ([{"pop": True}], ["a", "b"]),
        ([{"pop": True}] * 5, ["a"]),
        ([{"popToRoot": True}], ["a"]),
        ([{"popToCard": "b"}], ["a", "b"]),
        ([{"popToCard": "nowhere"}], ["a", "b", "c"]),
        ([{"popToRoot": True}, {"updateCard": {"name": "d"}}], ["d"]),
        ([{"updateCard": {"name": "d"}}], ["a", "b", "d"]),
        ([{"pushCard": {"name": str(number)}} for number in range(20)], ["a", *map(str, range(11, 20))]),
    ],
)
def test_the_pile(steps: list[host.Json], left: list[str]) -> None:
    pile = [{"name": name} for name in "abc"]
    assert [card["name"] for card in host.navigated(pile, steps)] == left
    assert [card["name"] for card in pile] == ["a", "b", "c"]


def test_addresses_that_are_no_pages_lead_nowhere() -> None:
    assert host.web_address("javascript:alert(1)") == ""
    assert host.web_address("https://tracker.example/b/1") == "https://tracker.example/b/1"
    assert "javascript" not in host.words('<a href="javascript:alert(1)">x</a><img src=x onerror=y>')
