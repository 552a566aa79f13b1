"""Which mail is open in the panel: one of the user's own mailbox, or none that there is."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from gmail_sync.addon import web
from gmail_sync.sandbox.addon import AddOn, Seen
from tests.gmail_sync.addon.client import Panel
from tests.gmail_sync.addon.house import URL, House
from tests.gmail_sync.addon.room import names
from tests.gmail_sync.syncing import ALICE, BOB, mail
from tracker.mailboxes import Backfill, Mailbox, State
from tracker.panel import Asked


class TestTheOpenMail:
    def test_is_found_in_ones_own_mailbox(self, house: House, asked: list[Asked]) -> None:
        sent = house.mail(subject="Fifty chairs & tables")
        panel = house.panel().open(sent.gmail_id, sent.thread_id)
        assert "Fifty chairs & tables" in panel.text
        (one,) = asked
        assert (one.conversation.id, one.message_id) == (sent.conversation_id, sent.message_id)  # type: ignore[union-attr]
        assert (one.mailbox.address, one.user.address, one.viewer.door) == (ALICE, ALICE, "panel")  # type: ignore[union-attr]
        assert (one.url, one.zone, one.writing) == (URL, "Europe/London", None)

    def test_the_api_s_own_form_of_the_id_will_do(self, house: House, asked: list[Asked]) -> None:
        sent = house.mail()
        _named(house.panel(), sent.gmail_id).open(sent.gmail_id)
        assert asked[0].message_id == sent.message_id

    def test_of_somebody_else_is_as_one_that_is_nowhere(self, house: House, asked: list[Asked]) -> None:
        sent = house.mail(BOB, subject="Salaries")
        seen = house.panel(ALICE).open(sent.gmail_id, sent.thread_id)
        nowhere = house.panel(ALICE).open("1a0000000000ffff")
        assert "Salaries" not in json.dumps(seen.answer)
        assert seen.answer == nowhere.answer
        assert "not in Tracker yet" in seen.text
        assert asked == []
        assert house.panel(ALICE).do("test.add", {"note": "eve"}).says  # on the home
        panel = house.panel(ALICE)
        panel.seen = Seen(sent.gmail_id, sent.thread_id)
        panel.do("test.add", {"note": "mallory"}, _at="thread")
        assert "not in Tracker yet" in panel.says
        assert names(house).isdisjoint({"mallory"})

    def test_in_a_known_thread_shows_the_thread_before_it_is_synced(
        self, house: House, asked: list[Asked]
    ) -> None:
        sent = house.mail(subject="Chairs")
        box = house.sandbox.mailbox(ALICE)
        new = box.insert(mail(subject="Re: Chairs"), label_ids=["INBOX"], thread_id=sent.thread_id)
        house.panel().open(new, sent.thread_id)
        assert (asked[0].conversation.id, asked[0].message_id) == (sent.conversation_id, None)  # type: ignore[union-attr]

    def test_in_the_trash_is_not_shown(self, house: House) -> None:
        sent = house.mail(subject="Chairs")
        house.sandbox.mailbox(ALICE).trash(sent.gmail_id)
        house.team.sync(house.boxes[ALICE])
        panel = house.panel().open(sent.gmail_id, sent.thread_id)
        assert "trash" in panel.text
        assert "Chairs" not in panel.text

    def test_that_has_no_id_in_gmails_api_is_not_there(self, house: House) -> None:
        for message_id in ("msg-a:r-123", "msg-f:0", "msg-f:99999999999999999999", "' OR 1=1", ""):
            assert "not in Tracker yet" in _named(house.panel(), message_id).open("19000000000a0003").text

    def test_the_sync_is_woken_now_and_then(self, house: House) -> None:
        woken: list[int] = []
        self._waking(house, woken)
        house.team.sync(house.boxes[ALICE])
        now = house.team.services.now() + timedelta(hours=1)
        house.at(now)
        sent = house.mail(synced=False)
        for _ in range(3):
            house.panel().open(sent.gmail_id, sent.thread_id)
        assert woken == [house.boxes[ALICE].id]
        assert house.team.read(house.boxes[ALICE]).wanted_by == "panel"
        house.team.sync(house.boxes[ALICE])  # nothing found, say
        house.at(house.team.services.now() + timedelta(seconds=5))
        house.panel().open("1a0000000000ffff")
        assert len(woken) == 1
        house.at(house.team.services.now() + timedelta(seconds=30))
        house.panel().open("1a0000000000ffff")
        assert len(woken) == 2

    @staticmethod
    def _waking(house: House, woken: list[int]) -> None:
        door = house.app.extensions[web.EXTENSION]
        house.app.extensions[web.EXTENSION] = replace(door, wake=woken.append)

    def test_while_the_mailbox_is_first_read_it_says_so(self, house: House) -> None:
        assert house.team.read(house.boxes[ALICE]).backfill == Backfill.WANTED
        assert "still being read" in house.panel().open("1a0000000000ffff").text

    def test_of_a_mailbox_that_gmail_closed_says_what_to_do(self, house: House) -> None:
        with house.sessions() as session, session.begin():
            mailbox = session.get_one(Mailbox, house.boxes[ALICE].id)
            mailbox.state, mailbox.attention = State.ATTENTION.value, "Access was withdrawn"
        panel = house.panel().open("1a0000000000ffff")
        assert "Access was withdrawn" in panel.text
        assert panel.link("Connect this mailbox again") == f"{URL}/mailboxes"


def _named(panel: Panel, message_id: str) -> Panel:
    """A Gmail that calls the open mail so."""
    send = panel.send

    def named(url: str, event: Any) -> tuple[int, Any]:
        return send(url, event | {"gmail": {"messageId": message_id, "threadId": message_id}})

    panel.google = AddOn(panel.google._sandbox, post=named)
    return panel
