"""One's own mail is told of whether or not its box is shown to one: then without the box."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box, conversation_of
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import CHARLIE, browser_of
from tests.webhooks.bells.ringing import Ringing, tracked_mail
from tests.webhooks.bells.test_telling import _message_id, answer_to, connected
from tracker import access, boxes, filing, people
from tracker.boxes import Box
from tracker.db import transaction
from tracker.people import User
from webhooks.bells import notices, words
from webhooks.bells.kinds import Kind
from webhooks.bells.notices import Notification
from webhooks.bells.words import Said


def said(ringing: Ringing, user: User) -> list[Said]:
    """What the list behind the bell says."""
    with transaction(ringing.sessions) as session:
        found = session.get_one(User, user.id)
        return words.say(session, notices.page(session, found), {user.id: found})


def close(write: Session, team: Team, box: Box) -> None:
    """Alice closes a box to everybody else."""
    access.arrange(write, team.viewer, box, access.PEOPLE, {team.alice.id})
    write.commit()


def test_a_read_of_ones_own_mail_is_told_without_the_box_that_is_closed(
    write: Session, team: Team, ringing: Ringing, app: object
) -> None:
    box = a_box(write, team.viewer, "Acme deal", CHARLIE)
    mail = tracked_mail(write, team.bob, team.bobs, box=box)
    write.commit()
    ringing.read(mail)
    ringing.work()
    assert "Acme deal" in said(ringing, team.bob)[0].body
    close(write, team, box)
    (one,) = said(ringing, team.bob)  # what was told stays, without the box's name
    assert "“Your proposal”" in one.title
    assert "Acme deal" not in one.title + one.body
    assert one.at == ""
    ringing.later(days=2)
    ringing.read(mail, first=False, again_after_days=2)
    ringing.work()
    told = {one.notification.kind: one.notification.box_id for one in said(ringing, team.bob)}
    assert told[Kind.READ_AGAIN] is None
    assert all(one.notification.box_id == box.id for one in said(ringing, team.alice))


def test_the_bells_page_leads_to_the_mail_where_the_box_is_closed(
    write: Session, team: Team, ringing: Ringing, app: object
) -> None:
    box = a_box(write, team.viewer, "Acme deal", CHARLIE)
    mail = tracked_mail(write, team.bob, team.bobs, box=box)
    write.commit()
    ringing.read(mail)
    ringing.work()
    close(write, team, box)
    browser = browser_of(app, team.bob)  # type: ignore[arg-type]
    page = browser.get("/bell").text
    assert "Your proposal" in page
    assert "Acme deal" not in page
    (one,) = said(ringing, team.bob)
    there = browser.get(one.path, headers={"Accept": "text/html"}).headers["Location"]
    assert box.key not in there
    assert browser.get(there).status_code == 200


def test_an_answer_names_the_first_box_that_its_reader_sees(write: Session, team: Team, ringing: Ringing) -> None:
    connected(write, NOW - timedelta(days=30))
    asked = tracked_mail(write, team.bob, team.bobs, subject="Our offer")
    hidden = a_box(write, team.viewer, "Hidden deal", CHARLIE)
    shown = a_box(write, team.viewer, "Shown deal", CHARLIE)
    conversation = conversation_of(write, _message_id(write, asked.message_id))
    for box in (hidden, shown):
        filing.file(write, team.viewer, conversation, box)
    close(write, team, hidden)
    ringing.work()
    answer_to(write, team.bobs, conversation.id, "Re: Our offer", sender_name="Charlie")
    ringing.work()
    (one,) = [one for one in ringing.told(team.bob) if one.kind == Kind.ANSWER]
    assert one.box_id == shown.id
    close(write, team, shown)
    answer_to(write, team.bobs, conversation.id, "Re: Our offer", sender_name="Charlie")
    ringing.later(hours=2)
    answer_to(write, team.bobs, conversation.id, "Re: Our offer", sender_name="Charlie")
    ringing.work()
    assert said(ringing, team.bob)
    assert all("deal" not in one.title + one.body for one in said(ringing, team.bob))


def test_what_is_about_a_box_alone_is_not_told_to_whom_it_is_closed(
    write: Session, team: Team, ringing: Ringing
) -> None:
    box = a_box(write, team.viewer, "Acme deal", CHARLIE)
    boxes.assign(write, people.system_viewer(team.alice.team_id, "test"), box, write.merge(team.bob))
    write.commit()
    ringing.work()
    assert [one.notification.kind for one in said(ringing, team.bob)] == [Kind.ASSIGNED]
    boxes.assign(write, team.viewer, box, write.merge(team.alice))
    close(write, team, box)
    assert said(ringing, team.bob) == []
    with transaction(ringing.sessions) as session:
        row = session.query(Notification).filter_by(user_id=team.bob.id).one()
        assert notices.by_key(session, session.get_one(User, team.bob.id), row.key) is None
