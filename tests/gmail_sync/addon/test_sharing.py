"""Who may see the open thread: its state, sharing it, keeping it private, asking for what is withheld."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from tests.gmail_sync.addon.house import House, Mail
from tests.gmail_sync.addon.quick import house
from tests.gmail_sync.addon.test_box import box_of, filed
from tests.gmail_sync.syncing import ALICE, BOB
from tests.tracker.web.factories_web import browser_of
from tracker import access_requests, sharing
from tracker.access_requests import RequestState, Scope
from tracker.db import transaction, utc_now
from tracker.messages import Message
from tracker.sharing import Level
from tracker.sharing.tables import Grant, Rule

__all__ = ["house"]


def reads(house: House, sent: Mail, who: str = BOB) -> bool:
    """Whether they may read it, by the gate."""
    with house.sessions() as session:
        found = sharing.why(session, house.viewer(who), [sent.message_id])
        return sent.message_id in found and found[sent.message_id].level == Level.FULL


def test_a_thread_is_shared_with_a_teammate_and_made_private_again(house: House) -> None:
    sent = house.mail()
    panel = house.panel().open(sent.gmail_id)
    assert panel.chosen("share-level") == ["As your settings say"]
    assert not reads(house, sent)
    panel.press("Share")
    assert panel.says == "Choose a teammate first"
    panel.press("Share", {"share-with": [house.user(BOB).key]})
    assert panel.says == f"{house.user(BOB).name} may read this conversation"
    assert f"{house.user(BOB).name}\nMay read all of it" in panel.text
    assert reads(house, sent)
    browser = browser_of(house.app, house.user(BOB))
    with house.sessions() as session:
        key = house.conversation(session, sent).key
    assert "Good morning." in browser.get(f"/c/{key}").text
    panel.press("Who sees it?")
    assert f"{house.user(BOB).name} sees it because you share this conversation with them." in panel.text
    panel.open(sent.gmail_id).press("Take back")
    assert panel.says == f"Taken back from {house.user(BOB).name}"
    assert not reads(house, sent)
    panel.press("Who sees it?")
    assert "Only you: it is shared with nobody." in panel.text


def test_how_much_those_see_who_see_its_box(house: House) -> None:
    sent = filed(house)
    assert reads(house, sent)
    panel = house.panel().open(sent.gmail_id)
    panel.choose("share-level", "The subject")
    assert panel.says == "Saved for this conversation"
    assert panel.chosen("share-level") == ["The subject"]
    assert not reads(house, sent)
    panel.press("Share", {"share-with": [house.user(BOB).key]})
    panel.choose("share-level", "All of it")
    assert "except for" in panel.says
    panel.press("Keep private")
    assert panel.chosen("share-level") == ["Nothing"]
    assert "Keep private" not in panel.buttons
    assert not reads(house, sent)
    with house.sessions() as session:
        assert session.scalars(select(Grant)).all() == []
        rule = session.scalars(select(Rule)).one()
        assert (rule.outside, rule.inside) == (Level.NOTHING, Level.NOTHING)
    for odd in ("", "4", "-1", "x", "\x00"):
        panel.press("share.level", {"share-level": [odd]})
        assert panel.says == "Choose how much of it teammates see"
    panel.choose("share-level", "As your settings say")
    assert reads(house, sent)


def test_what_is_withheld_is_asked_for_once_and_answered_by_its_owner(house: House) -> None:
    """Bob's thread goes on in Alice's mailbox: of one mail there he knows, and may not read it."""
    first = house.mail(BOB, subject="Plan", message_id="one@outside.example")
    shared = house.mail(ALICE, to=BOB, subject="Plan", message_id="one@outside.example")
    hers = house.mail(ALICE, subject="Re: Plan", text="Between us", thread=shared.thread_id)
    assert hers.conversation_id == first.conversation_id
    filed(house, "Plan box", sent=first)
    with transaction(house.sessions) as session:
        conversation = house.conversation(session, first)
        sharing.set_rule(
            session, house.viewer(), conversation=conversation, outside=Level.EXISTENCE, inside=Level.NOTHING
        )
    panel = house.panel(BOB).open(first.gmail_id)
    assert "Withheld" in panel.text
    assert "Between us" not in panel.text
    panel.press("Ask to see")
    assert panel.says == "Asked. You hear when it is answered"
    assert "You asked; waiting for an answer" in panel.text
    assert "Ask to see" not in panel.buttons
    home = house.panel().home()
    assert "1 teammate asks to see mail of yours" in home.text
    with transaction(house.sessions) as session:
        ((request, _),) = access_requests.to_owner(session, house.viewer())
        assert request.state == RequestState.OPEN
        access_requests.answer(session, house.viewer(), request, Scope.CONVERSATION, utc_now())
    panel.open(first.gmail_id)
    assert "Withheld" not in panel.text
    assert "1 mail of this thread only in teammates’ mailboxes" in panel.text
    assert "shares this conversation with you" in panel.text


def test_what_one_does_not_know_of_can_not_be_asked_for(house: House) -> None:
    sent, hers = house.mail(BOB), house.mail(ALICE, subject="Hers")
    with house.sessions() as session:
        key = session.get_one(Message, hers.message_id).key
    panel = house.panel(BOB).open(sent.gmail_id)
    for given in (key, "nonsense", "", "\x00" * 10):
        panel.do("share.ask", message=given)
        assert panel.says == "There is nothing to ask for any more; open the mail again"
    with transaction(house.sessions) as session:
        conversation = house.conversation(session, hers)
        grant = sharing.grant(session, house.viewer(), house.user(BOB).id, conversation=conversation)
        grant_key = grant.key
    panel.do("share.withdraw", grant=grant_key)
    assert panel.says == "That was taken back already"
    with house.sessions() as session:
        assert session.scalars(select(Grant)).all()
        assert session.scalars(select(Rule)).all() == []


def test_a_subject_that_one_may_not_read_is_not_told(house: House) -> None:
    """The thread begins with a mail of Alice's alone; Bob has its answer."""
    then = utc_now() - timedelta(days=2)
    hers = house.mail(ALICE, subject="Whom we let go", at=then)
    house.mail(ALICE, to=BOB, subject="Re: Lunch", message_id="two@outside.example", thread=hers.thread_id)
    his = house.mail(BOB, subject="Re: Lunch", to=BOB, message_id="two@outside.example")
    assert his.conversation_id == hers.conversation_id
    panel = house.panel(BOB).open(his.gmail_id)
    assert "Re: Lunch" in panel.text
    assert "let go" not in str(panel.answer)
    panel.press("New box…")
    assert "let go" not in str(panel.answer)


def test_the_settings_internal_level_is_kept(house: House) -> None:
    sent = filed(house)
    with transaction(house.sessions) as session:
        viewer = house.viewer()
        mailbox = house.boxes[ALICE]
        sharing.set_rule(session, viewer, mailbox=mailbox, outside=Level.FULL, inside=Level.SUBJECT)
    house.panel().open(sent.gmail_id).choose("share-level", "That it is there")
    with house.sessions() as session:
        rule = session.scalars(select(Rule).where(Rule.conversation_id == sent.conversation_id)).one()
        assert (rule.outside, rule.inside) == (Level.EXISTENCE, Level.SUBJECT)
        assert box_of(session)
