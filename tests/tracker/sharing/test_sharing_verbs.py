"""What people say about their mail, told and kept; what lists show of a box keeps to it."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.tracker.sharing.test_laws import Law
from tracker import sharing
from tracker.events import Event
from tracker.facts import BoxFacts
from tracker.sharing import private


@pytest.fixture
def law(session: Session) -> Law:
    """A team in which Bob's mail with Zoe is filed in a deal."""
    made = Law(session)
    made.mail("one", "zoe@acme.test", ("bob",), "", {"bob": ("INBOX",)})
    made.file("one", "deal", True)
    return made


def count(law: Law) -> int:
    """How many mails a list says the deal has."""
    law.session.expire_all()
    return law.session.scalars(select(BoxFacts.message_count).where(BoxFacts.box_id == law.boxes["deal"].id)).one()


def test_lists_count_only_what_all_who_see_the_box_may_read(law: Law) -> None:
    assert count(law) == 1
    law.rule("bob", "pipeline", "Sales", 1, 0)
    assert count(law) == 0
    law.rule("bob", "conversation", "one", 3, 0)
    assert count(law) == 1
    law.hold_back("bob", "acme.test")
    assert count(law) == 0


def test_the_log_tells_that_and_not_about_whom(law: Law) -> None:
    law.hold_back("bob", "clinic.test")
    law.grant("bob", "carol", "address", "one")
    told = law.session.scalars(select(Event).where(Event.kind.startswith("sharing."))).all()
    assert [one.kind for one in told] == ["sharing.private", "sharing.grant"]
    assert "test" not in "".join(str(one.data) for one in told)


@pytest.mark.parametrize(
    ("typed", "entry"),
    [
        (" @Bank.example ", "bank.example"),
        ("*.bank.example", "bank.example"),
        ("Doc@Clinic.example", "doc@clinic.example"),
    ],
)
def test_entries_of_the_private_list_are_kept_in_one_form(typed: str, entry: str) -> None:
    assert private.entry(typed) == entry


@pytest.mark.parametrize("typed", ["", "bank", "@", "a b.example", "team.example"])
def test_what_is_no_entry_is_refused(law: Law, typed: str) -> None:
    with pytest.raises(sharing.SharingError):
        sharing.private_add(law.session, law.viewer("bob"), typed)


def test_two_conversations_that_become_one_open_nothing(law: Law) -> None:
    """Carol was given one conversation; whoever makes it one with another does not give her that, too."""
    law.mail("two", "bob", ("alice",), "", {"bob": ("SENT",)})
    law.grant("bob", "carol", "conversation", "one")
    from tracker import conversations

    one, two = law.threads["one"], law.threads["two"]
    conversations._merge(law.session, two, one)
    assert sharing.grants_by(law.session, law.users["bob"].id) == []
