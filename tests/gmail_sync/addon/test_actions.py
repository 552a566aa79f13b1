"""What is pressed in the panel: done and kept, or refused and nothing of it stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gmail_sync.addon import web
from gmail_sync.addon.pace import EVERY, Pace
from tests.gmail_sync.addon.house import URL, House
from tests.gmail_sync.addon.room import names
from tests.gmail_sync.syncing import ALICE, BOB
from tracker.panel import Asked, Place
from tracker.web import frame


class TestActions:
    def test_done_is_kept_and_shown(self, house: House, asked: list[Asked]) -> None:
        panel = house.panel().home().press("add", {"note": "dora"})
        assert panel.says == "Added"
        assert "Known: dora" in panel.text
        assert names(house) == {"dora"}
        assert len(panel.cards) == 1

    def test_hear_the_form_and_what_the_button_carried(self, house: House, asked: list[Asked]) -> None:
        sent = house.mail()
        house.panel().open(sent.gmail_id, sent.thread_id).press("add", {"note": " dora ", "more": ["1", "2"]})
        _, pressed, again = asked
        assert (pressed.text("note"), list(pressed.given["more"]), dict(pressed.params)) == (
            "dora", ["1", "2"], {"key": "k1"},
        )  # fmt: skip
        assert pressed.message_id == again.message_id == sent.message_id
        assert (dict(again.given), dict(again.params)) == ({}, {})

    def test_refused_is_told_and_nothing_of_it_stays(self, house: House, asked: list[Asked]) -> None:
        panel = house.panel().home().press("refuse", {"note": "dora"})
        assert panel.says == "That can't be done: try another one"
        assert "navigations" not in panel.answer["renderActions"]["action"]
        assert names(house) == set()

    def test_that_break_are_told_calmly(
        self, house: House, asked: list[Asked], caplog: pytest.LogCaptureFixture
    ) -> None:
        panel = house.panel().home().press("break", {"note": "dora"})
        assert panel.status == 200
        assert "nothing was changed" in panel.says
        assert "secret words" not in str(panel.answer)
        assert "secret words" in caplog.text
        assert names(house) == set()

    def test_what_is_done_stays_even_if_it_can_t_be_shown(self, house: House, asked: list[Asked]) -> None:
        panel = house.panel().home()
        frame.of(house.app).panel.register_section(Place.HOME, lambda _: 1 / 0)  # type: ignore[arg-type, return-value]
        panel.press("add", {"note": "dora"})
        assert panel.says.startswith("Added It is done")
        assert names(house) == {"dora"}

    def test_unknown_ones_are_told(self, house: House) -> None:
        for name in ("test.nothing", "", "x" * 4000):
            assert "does not know this button" in house.panel().home().do(name).says

    def test_cards_are_put_on_top_or_in_the_place_of_others(self, house: House, asked: list[Asked]) -> None:
        panel = house.panel().home().press("push")
        assert (len(panel.cards), panel.text) == (2, "Two\nAnother card")
        panel = house.panel().home().press("swap")
        assert (len(panel.cards), panel.says, panel.text) == (1, "Look", "Three\nIn its place")

    def test_pages_are_opened(self, house: House, asked: list[Asked]) -> None:
        assert house.panel().home().press("leave").opened == f"{URL}/boxes"

    def test_things_are_put_into_the_draft(self, house: House, asked: list[Asked]) -> None:
        panel = house.panel().compose(["dora@acme.test"])
        (one,) = panel.press("insert").inserted
        assert one == {"content": "<p>Hello</p>", "contentType": "MUTABLE_HTML"}
        assert panel.press("pixel").inserted[0]["contentType"] == "IMMUTABLE_HTML"

    def test_know_the_draft_that_the_panel_was_opened_beside(self, house: House, asked: list[Asked]) -> None:
        panel = house.panel().compose(["dora@acme.test", "eva@acme.test"], cc=["f@x.test"], subject="Chairs")
        panel.press("insert")
        shown, pressed = asked
        assert shown.writing == pressed.writing
        assert shown.writing is not None
        assert list(shown.writing.to) == ["dora@acme.test", "eva@acme.test"]
        assert (list(shown.writing.cc), list(shown.writing.bcc), shown.writing.subject) == (
            ["f@x.test"], [], "Chairs",
        )  # fmt: skip

    def test_a_draft_to_very_many_still_has_buttons(self, house: House, asked: list[Asked]) -> None:
        many = [f"person-{number}@a-rather-long-domain.example" for number in range(500)]
        assert house.panel().compose(many).press("insert").inserted

    def test_carry_no_rights(self, house: House, asked: list[Asked]) -> None:
        """What a button carries can be anything: the door's own parameters say where it looks, never at what."""
        panel = house.panel().home()
        for at in ("thread", "compose", "nowhere", "\0"):
            panel.do("test.swap", _at=at, mailbox_id="1", message_id="1", user="2", team_id="9")
            assert panel.status == 200
        assert {one.user.address for one in asked} == {ALICE}
        assert all(one.conversation is None and one.message_id is None for one in asked)

    def test_whoever_presses_too_much_is_slowed_down(self, house: House, asked: list[Asked]) -> None:
        door = house.app.extensions[web.EXTENSION]
        house.app.extensions[web.EXTENSION] = replace(door, pace=Pace(lambda: 0.0, burst=3))
        panel = house.panel()
        assert [panel.do("test.swap").says for _ in range(4)] == ["Look"] * 3 + [web.TOO_MANY]
        assert web.TOO_MANY in panel.home().text
        assert house.panel(BOB).do("test.swap").says == "Look"

    def test_and_goes_on_soon(self) -> None:
        now = 0.0
        pace = Pace(lambda: now, burst=2)
        assert [pace.admits("a") for _ in range(3)] == [True, True, False]
        now = EVERY
        assert [pace.admits("a") for _ in range(2)] == [True, False]
        now = 1000.0
        assert [pace.admits("a") for _ in range(3)] == [True, True, False]
