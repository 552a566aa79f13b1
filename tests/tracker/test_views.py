"""Saved views: private ones, shared ones, and who may change them."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from tests.tracker.domain import a_team, pipeline
from tracker import people, views
from tracker.people import Role, Viewer
from tracker.pipelines import Pipeline
from tracker.views import ViewError


@pytest.fixture
def alice(session: Session) -> Viewer:
    return people.viewer_of(a_team(session), "test")


@pytest.fixture
def sales(session: Session, alice: Viewer) -> Pipeline:
    return pipeline(session, alice.team_id)


def a_teammate(session: Session, alice: Viewer, name: str, role: Role = Role.MEMBER) -> Viewer:
    return people.viewer_of(people.add_user(session, alice.team_id, f"{name}@t.example", role=role), "test")


def test_a_private_view_is_its_owners_alone(session: Session, alice: Viewer, sales: Pipeline) -> None:
    bob = a_teammate(session, alice, "bob")
    view = views.save(session, bob, sales, "Mine", {"sort": "name"}, shared=False)
    assert views.of_pipeline(session, bob, sales.id) == [view]
    assert views.of_pipeline(session, alice, sales.id) == []
    assert views.by_key(session, alice, view.key) is None  # an admin neither
    with pytest.raises(ViewError):
        views.delete(session, alice, view)


def test_a_shared_view_is_changed_by_its_owner_or_an_admin(
    session: Session, alice: Viewer, sales: Pipeline
) -> None:
    bob, carol = a_teammate(session, alice, "bob"), a_teammate(session, alice, "carol")
    view = views.save(session, bob, sales, "Ours", {}, shared=True)
    assert views.by_key(session, carol, view.key) is view
    with pytest.raises(ViewError, match="only they or an admin"):
        views.change(session, carol, view, name="Carol's")
    views.change(session, alice, view, name="Tidied", query={"sort": "-value"})
    assert (view.name, view.query) == ("Tidied", {"sort": "-value"})
    views.change(session, bob, view, shared=False)
    assert views.by_key(session, carol, view.key) is None
    views.delete(session, bob, view)
    assert views.of_pipeline(session, bob, sales.id) == []


def test_only_what_says_how_a_table_looks_is_kept(session: Session, alice: Viewer, sales: Pipeline) -> None:
    given = {"sort": "name", "f.Ab_-1.from": "1", "owner": ["me"], "after": "x", "csrf_token": "x", "q": ""}
    view = views.save(session, alice, sales, " A\x00  view ", given, shared=False)
    assert view.query == {"sort": "name", "f.Ab_-1.from": "1", "owner": ["me"]}
    assert view.name == "A view"


def test_two_views_that_one_sees_have_two_names(session: Session, alice: Viewer, sales: Pipeline) -> None:
    bob = a_teammate(session, alice, "bob")
    views.save(session, bob, sales, "Hot", {}, shared=False)
    mine = views.save(session, alice, sales, "Hot", {}, shared=False)
    with pytest.raises(ViewError, match="already"):
        views.save(session, alice, sales, "HOT", {}, shared=True)
    views.change(session, alice, mine, name="hot")  # its own name is free for it
