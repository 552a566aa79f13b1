"""What once let the gate be passed by: rules that act on mail, addresses of ours, leaving twice, grants, sums."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW
from tests.tracker.sharing.test_laws import Law, wrong
from tracker import access, autobox, facts, invitations, matching, moving, offers, ours, people, sharing
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.facts import Audit, BoxFacts
from tracker.filing import Filing
from tracker.messages import Message
from tracker.people import Role
from tracker.pipelines import NewConversation
from tracker.sharing import reasons


@pytest.fixture
def law(session: Session) -> Law:
    """A team with boxes and no mail."""
    return Law(session)


def sees(law: Law, who: str, name: str) -> int:
    """The level at which somebody sees a mail."""
    level = sharing.level(law.viewer(who))
    return law.session.scalars(select(level).where(Message.rfc822_message_id == name)).one()


def considered(law: Law, thread: str) -> None:
    """The rules look at a thread."""
    own = people.own_addresses(law.session, law.team_id)
    autobox.consider(
        law.session, law.team_id, own, [law.threads[thread]], connected_at=NOW.replace(year=2000), now=NOW
    )


@pytest.mark.parametrize(("said", "boxes"), [("nothing", 1), ("private", 0), ("rule", 0), ("pipeline", 0)])
def test_a_box_is_made_only_of_mail_that_all_may_read(law: Law, said: str, boxes: int) -> None:
    law.pipelines["Sales"].new_conversation = NewConversation.CREATE.value
    if said == "private":
        law.hold_back("alice", "clinic.test")
    if said == "rule":
        law.rule("alice", "mailbox", "alice", 2, 0)
    if said == "pipeline":
        law.rule("alice", "pipeline", "Sales", 0, 0)
    law.mail("one", "alice", ("doc@clinic.test",), "", {"alice": ("SENT",)})
    before = law.session.scalar(select(func.count(Box.id))) or 0
    considered(law, "one")
    assert (law.session.scalar(select(func.count(Box.id))) or 0) - before == boxes


def test_the_stage_of_a_box_follows_only_mail_that_all_may_read(law: Law) -> None:
    found = law.pipelines["Sales"]
    found.moves_itself, found.stages[1].enters_on = True, "answer"
    law.mail("one", "zoe@acme.test", ("bob",), "", {"bob": ("INBOX",)})
    conversation = law.session.get_one(Conversation, law.threads["one"])
    assert moving.stage_by_mail(law.session, found, conversation) is found.stages[1]
    law.rule("bob", "mailbox", "bob", 1, 0)
    assert moving.stage_by_mail(law.session, found, conversation) is None


def test_private_mail_is_matched_with_no_box_and_a_draft_names_only_whom_one_reads(law: Law) -> None:
    law.mail("one", "zoe@acme.test", ("bob",), "", {"bob": ("INBOX",)})
    law.mail("one", "ned@eu.acme.test", ("carol",), "", {"carol": ("INBOX",)})
    own, id_ = ours.of_team(law.session, law.team_id), law.threads["one"]
    assert set(matching.gather(law.session, own, [id_], sharing.not_private()).outside[id_]) == {
        "zoe@acme.test",
        "ned@eu.acme.test",
    }
    law.hold_back("carol", "eu.acme.test")
    assert set(matching.gather(law.session, own, [id_], sharing.not_private()).outside[id_]) == {"zoe@acme.test"}
    conversation = law.session.get_one(Conversation, id_)
    _, made = offers.draft_box(law.session, law.viewer("bob"), conversation)
    assert [one.addresses[0].normalized for one in made] == ["zoe@acme.test"]


def test_a_reason_names_nobody_whose_mail_one_may_not_read(law: Law) -> None:
    law.mail("one", "zoe@acme.test", ("bob",), "", {"bob": ("INBOX",)})
    law.file("one", "deal", True)
    filed = law.session.scalars(select(Filing)).one()
    filed.reason = told = "because zoe@acme.test is a contact of this box"
    law.session.flush()
    reasons.tell(law.session, law.viewer("carol"), [filed])
    assert filed.reason == told
    law.rule("bob", "pipeline", "Sales", 2, 0)
    reasons.tell(law.session, law.viewer("carol"), [filed])
    assert filed.reason == reasons.UNTOLD
    law.session.flush()
    law.session.refresh(filed)
    assert filed.reason == told  # what is stored is not touched


def test_mail_with_an_address_at_our_domain_is_internal(law: Law) -> None:
    law.mail("one", "bob", ("cfo@ours.test",), "", {"bob": ("SENT",)})
    law.file("one", "deal", True)
    assert sees(law, "carol", "mail1") == 3
    invitations.allow(law.session, people.system_viewer(law.team_id, "test"), "ours.test")
    law.session.flush()
    assert (sees(law, "carol", "mail1"), wrong(law.session)) == (0, [])
    law.mail("two", "cfo@ours.test", ("bob",), "", {"bob": ("INBOX",)})
    law.file("two", "deal", True)
    assert (sees(law, "carol", "mail2"), wrong(law.session)) == (0, [])
    invitations.disallow(law.session, people.system_viewer(law.team_id, "test"), "ours.test")
    assert wrong(law.session) == []


def test_a_workspace_is_ours_and_a_guest_is_not(law: Law) -> None:
    law.mail("one", "bob", ("gus@team.example",), "", {"bob": ("SENT",)})
    law.file("one", "deal", True)
    assert sees(law, "carol", "mail1") == 3
    people.change_role(law.session, law.viewer("alice"), law.users["gus"], Role.MEMBER)
    people.own_address(law.session, law.team_id, "gus@team.example", law.users["gus"].id)
    assert (sees(law, "carol", "mail1"), wrong(law.session)) == (0, [])
    people.change_role(law.session, law.viewer("alice"), law.users["gus"], Role.GUEST)
    assert wrong(law.session) == []
    law.users["bob"].workspace = "team.example"
    assert (wrong(law.session), sees(law, "carol", "mail1")) == ([], 0)


def test_a_contact_who_joins_makes_internal_mail_of_no_grant(law: Law) -> None:
    law.mail("one", "bob", ("zoe@acme.test",), "", {"bob": ("SENT",)})
    sharing.grant(law.session, law.viewer("bob"), law.users["carol"].id, address="zoe@acme.test")
    assert sees(law, "carol", "mail1") == 3
    people.add_user(law.session, law.team_id, "zoe@acme.test", name="Zoe")
    assert sees(law, "carol", "mail1") == 0


def test_somebody_leaves_twice(law: Law) -> None:
    law.rule("bob", "pipeline", "Sales", 1, 0)
    law.mail("one", "zoe@acme.test", ("bob",), "", {"bob": ("INBOX",)})
    law.file("one", "deal", True)
    mail = law.world.mails["mail1"]
    law.leave("bob")
    law.come_back("bob")
    law._arrive(mail, "bob", "INBOX", (), "")  # their mailbox is read again
    law.leave("bob")
    assert set(law.session.execute(select(Message.text, Message.subject)).tuples()) == {("", "")}
    law.session.expire_all()
    assert law.session.scalars(select(Conversation.subject)).one() == ""


def test_what_nobody_holds_any_more_is_stripped_when_the_last_copy_goes(law: Law) -> None:
    law.rule("bob", "pipeline", "Sales", 1, 0)
    law.mail("one", "zoe@acme.test", ("bob", "carol"), "", {"bob": ("INBOX",), "carol": ("INBOX",)})
    law.file("one", "deal", True)
    law.leave("bob")
    assert law.session.scalars(select(Message.text)).one() == "planted words"
    from tracker import conversations

    conversations.drop_copies(law.session, law.mailboxes["carol"].id, ["mail1"])
    law.session.expire_all()
    found = law.session.scalars(select(Message)).one()
    assert (found.text, found.subject) == ("", "")


def test_a_rule_is_taken_back_though_the_pipeline_is_closed_now(law: Law) -> None:
    law.rule("bob", "pipeline", "Support", 2, 1)
    found = law.pipelines["Support"]
    access.open_to(law.session, law.viewer("alice"), found, access.PEOPLE)
    bob = law.viewer("bob")
    for outside, inside in ((3, 1), (2, 2)):
        with pytest.raises(sharing.SharingError):
            sharing.set_rule(law.session, bob, pipeline=found, outside=outside, inside=inside)
    assert sharing.set_rule(law.session, bob, pipeline=found, outside=1, inside=0)
    assert sharing.set_rule(law.session, bob, pipeline=found, outside=None, inside=None) is None
    with pytest.raises(sharing.SharingError):
        sharing.set_rule(law.session, bob, pipeline=found, outside=0, inside=0)


def test_many_boxes_are_closed_at_once_and_worked_out_later(law: Law, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "AT_ONCE", 0)
    law.mail("one", "zoe@acme.test", ("bob",), "", {"bob": ("INBOX",)})
    law.file("one", "deal", True)
    shown = select(BoxFacts.message_count, BoxFacts.stale).where(BoxFacts.box_id == law.boxes["deal"].id)
    law.rule("bob", "pipeline", "Support", 0, 0)
    assert law.session.execute(shown).one() == (1, False)  # another pipeline
    law.hold_back("bob", "clinic.test")
    assert law.session.execute(shown).one() == (1, False)  # nobody of there
    law.rule("bob", "mailbox", "bob2", 2, 0)
    assert law.session.execute(shown).one() == (0, True)
    assert Audit().step(law.session)
    assert law.session.execute(shown).one() == (1, False)
