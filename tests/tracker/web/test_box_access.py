"""Who sees a box, by its page: guests are named in and invited to single boxes; tasks go to those who see it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import ALICE, browser_of
from tracker import access, invitations, leaving, people, tasks
from tracker.boxes import Box
from tracker.events import Event
from tracker.invitations import Invitation
from tracker.people import PeopleError, Role, User
from tracker.tasks import Task, TaskError

HX = {"HX-Request": "true"}


@pytest.fixture
def box(write: Session, team: Team) -> Box:
    """A box of the team's, as open as its pipeline is."""
    made = a_box(write, team.viewer, "Acme")
    a_box(write, team.viewer, "Other")
    write.commit()
    return made


def panel(browser: FlaskClient, box: Box) -> str:
    """What its page says of who sees it."""
    return browser.get(f"/b/{box.key}").text.split('id="access-title"')[1].split("</section>")[0]


def test_a_guest_is_named_for_one_box_and_nothing_narrows_for_members(
    write: Session, team: Team, app: Flask, browser: FlaskClient, box: Box
) -> None:
    guests = re.split("<legend>Guests</legend>", panel(browser, box))
    assert "Gina" not in guests[0]
    assert "Gina" in guests[1]
    assert "sees this box, and no other box of Sales by that" in guests[1]
    ginas, bobs = browser_of(app, team.gina), browser_of(app, team.bob)
    assert ginas.get(f"/b/{box.key}").status_code == 404
    browser.post(f"/b/{box.key}/access", data={"access": "pipeline", "person": team.gina.key, "_place": "access"})
    write.refresh(box)
    assert box.access is None
    assert "The team, as in Sales, and Gina" in panel(browser, box)
    assert ginas.get(f"/b/{box.key}").status_code == 200
    other = write.scalars(select(Box.key).where(Box.name == "Other")).one()
    assert ginas.get(f"/b/{other}").status_code == 404
    assert bobs.get(f"/b/{box.key}").status_code == 200
    browser.post(f"/b/{box.key}/access", data={"access": "pipeline", "_place": "access"})
    assert ginas.get(f"/b/{box.key}").status_code == 404
    assert bobs.get(f"/b/{box.key}").status_code == 200


def test_the_owner_of_a_box_names_guests_and_others_do_not(
    write: Session, team: Team, app: Flask, box: Box
) -> None:
    bobs, data = browser_of(app, team.bob), {"access": "pipeline", "person": team.gina.key, "_place": "access"}
    box.owner_id = None
    write.commit()
    assert bobs.post(f"/b/{box.key}/access", data=data).status_code == 422
    assert f"/b/{box.key}/access" not in panel(bobs, box)
    box.owner_id = team.bob.id
    write.commit()
    assert "Gina" in panel(bobs, box)
    assert bobs.post(f"/b/{box.key}/access", data=data).status_code == 303
    assert access.named(write, box) == {team.gina.id}
    assert f"/b/{box.key}/guests" not in panel(bobs, box)  # who joins the team is said by admins
    assert bobs.post(f"/b/{box.key}/guests", data={"address": "dora@else.test"}).status_code == 403


def test_an_admin_invites_a_guest_to_a_single_box(
    write: Session, team: Team, app: Flask, browser: FlaskClient, box: Box
) -> None:
    answer = browser.post(f"/b/{box.key}/guests", data={"address": "dora@else.test"}, headers=HX)
    assert "dora@else.test may join as a guest now; tell them" in answer.text
    assert "sees the box Acme" in browser.get("/team").text
    assert "dora@else.test" not in panel(browser_of(app, team.bob), box)
    found = write.scalars(select(Invitation)).one()
    assert (found.role, found.pipelines, found.boxes) == (Role.GUEST, [], [box.key])
    dora = invitations.accept(write, found, "dora@else.test", "Dora", NOW)
    write.commit()
    doras = browser_of(app, dora)
    assert doras.get(f"/b/{box.key}").status_code == 200
    other = write.scalars(select(Box).where(Box.name == "Other")).one()
    assert doras.get(f"/b/{other.key}").status_code == 404
    for one in (box, other, other):  # a second box comes beside the first
        browser.post(f"/b/{one.key}/guests", data={"address": "Emil <emil@else.test>"})
    browser.post(f"/b/{other.key}/guests", data={"address": "dora@else.test"})  # who is here is named
    waiting = write.scalars(select(Invitation).where(Invitation.accepted_at.is_(None))).one()
    assert (waiting.address, waiting.boxes) == ("emil@else.test", [box.key, other.key])
    assert access.named(write, other) == {dora.id}


def test_who_can_be_no_guest_is_refused_beside_the_form(
    write: Session, team: Team, browser: FlaskClient, box: Box
) -> None:
    later = datetime.now(UTC) + timedelta(days=1)  # the page has a clock of its own
    invitations.invite(write, team.viewer, "new@else.test", Role.MEMBER, now=later)
    write.commit()
    refusals = {
        "nonsense": "Give one e-mail address",
        ALICE: "Alice Archer is in the team already",
        "new@else.test": "new@else.test is invited as member already",
    }
    for address, words in refusals.items():
        data = {"address": address, "_place": "access-guest"}
        answer = browser.post(f"/b/{box.key}/guests", data=data, headers=HX)
        assert answer.status_code == 422
        assert words in answer.text
        assert f'value="{address}"' in answer.text
    data = {"access": "nonsense", "person": team.gina.key, "_place": "access"}
    answer = browser.post(f"/b/{box.key}/access", data=data, headers=HX)
    assert answer.status_code == 422
    assert f'value="{team.gina.key}" checked' in answer.text  # what was ticked is kept


def test_an_invitation_that_ran_out_is_not_revived_with_what_it_was_for(
    write: Session, team: Team, box: Box
) -> None:
    invitations.invite(write, team.viewer, "dora@else.test", Role.GUEST, now=NOW, pipelines=[box.pipeline.key])
    later = NOW + invitations.LASTS
    made = invitations.invite_to_box(write, team.viewer, "dora@else.test", box, now=later)
    assert made is not None
    assert (made.pipelines, made.boxes) == ([], [box.key])
    with pytest.raises(PermissionError):
        invitations.invite_to_box(write, people.viewer_of(team.bob, "web"), "x@else.test", box, now=NOW)
    with pytest.raises(PeopleError):
        invitations.invite_to_box(write, team.viewer, "a@b.test, c@d.test", box, now=NOW)


# -- tasks go to those who see their box


@pytest.fixture
def closed(write: Session, team: Team, box: Box) -> Box:
    """The box, for Alice alone."""
    access.arrange(write, team.viewer, box, access.PEOPLE, {team.alice.id})
    write.commit()
    return box


def test_a_task_is_given_to_nobody_who_does_not_see_its_box(
    write: Session, team: Team, browser: FlaskClient, closed: Box
) -> None:
    page = browser.get(f"/b/{closed.key}").text
    assert f'value="{team.bob.key}"' not in page.split('id="task-owner"')[1].split("</select>")[0]
    form = {"title": "Call Zoe", "owner": team.bob.key, "_place": "newtask"}
    answer = browser.post(f"/b/{closed.key}/tasks", data=form)
    assert answer.status_code == 422
    assert "Bob Baker doesn’t see this box: choose somebody who does" in answer.text
    assert 'value="Call Zoe"' in answer.text
    assert not write.scalars(select(Task)).all()
    task = tasks.create(write, team.viewer, "Call Zoe", box=closed, now=NOW)
    write.commit()
    place = f"task-{task.key}"
    form = {"title": "Call Zoe", "owner": team.gina.key, "_place": place}
    answer = browser.post(f"/b/{closed.key}/tasks/{task.key}", data=form, headers=HX)
    assert answer.status_code == 422
    assert "Gina doesn’t see this box" in answer.text
    write.refresh(task)
    assert task.assignee_id == team.alice.id
    access.name(write, team.viewer, closed, team.gina)
    write.commit()
    assert browser.post(f"/b/{closed.key}/tasks/{task.key}", data=form).status_code == 303


def test_by_no_verb(write: Session, team: Team, closed: Box) -> None:
    with pytest.raises(TaskError, match="doesn’t see"):
        tasks.create(write, team.viewer, "Call", box=closed, assignee_id=team.bob.id, now=NOW)
    loose = tasks.create(write, team.viewer, "Call", assignee_id=team.bob.id, now=NOW)  # on no box: anybody
    assert loose.assignee_id == team.bob.id
    task = tasks.create(write, team.viewer, "Call", box=closed, now=NOW)
    with pytest.raises(TaskError, match="doesn’t see"):
        tasks.change(write, team.viewer, task, assignee_id=team.bob.id)
    with pytest.raises(TaskError, match="no such person"):
        tasks.change(write, team.viewer, task, assignee_id=0)
    assert task.assignee_id == team.alice.id
    tasks.change(write, team.viewer, task, assignee_id=None)  # nobody's
    assert [one.data["task"] for one in write.scalars(select(Event).where(Event.kind == "task.changed"))] == [
        task.key
    ]


def test_what_is_brought_back_is_nobodys_if_its_owner_sees_the_box_no_more(
    write: Session, team: Team, box: Box
) -> None:
    task = tasks.create(write, team.viewer, "Call", box=box, assignee_id=team.bob.id, now=NOW)
    tasks.change(write, team.viewer, task, title="Call Zoe")  # who has it keeps it
    tasks.remove(write, team.viewer, task)
    access.arrange(write, team.viewer, box, access.PEOPLE, {team.alice.id})
    assert tasks.restore(write, team.viewer, task.key, box).assignee_id is None


def test_who_inherits_a_leavers_work_gets_no_task_of_a_box_that_they_do_not_see(
    write: Session, team: Team, box: Box
) -> None:
    carol = people.add_user(write, team.alice.team_id, "carol@team.example", name="Carol Cole")
    hidden = a_box(write, team.viewer, "Hidden")
    bobs: dict[str, Any] = {"assignee_id": team.bob.id, "now": NOW}
    given = [tasks.create(write, team.viewer, "Call", box=one, **bobs) for one in (box, hidden)]
    access.arrange(write, team.viewer, hidden, access.PEOPLE, {team.alice.id, team.bob.id})
    write.commit()
    bob = write.get_one(User, team.bob.id)
    leaving.leave(write, team.viewer, bob, leaving.Choice(heir=carol), NOW)
    assert [one.assignee_id for one in given] == [carol.id, None]
