"""The law of who sees which box, against a small model; and that each way to ask says the same."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.tracker.access.conftest import viewer
from tests.tracker.domain import a_box, a_team, pipeline
from tracker import access, people, sight
from tracker.access import BoxMember, PipelineMember
from tracker.boxes import Box
from tracker.people import Role, User
from tracker.pipelines import Pipeline


@dataclass
class World:
    users: list[User]
    pipelines: list[Pipeline]
    boxes: list[Box]


@pytest.fixture
def world(session: Session) -> World:
    """Four people and an admin, two pipelines with three boxes each; what is said of them is drawn."""
    alice = a_team(session)
    roles = (Role.ADMIN, Role.MEMBER, Role.MEMBER, Role.GUEST)
    others = [
        people.add_user(session, alice.team_id, f"u{n}@law.example", role=role) for n, role in enumerate(roles)
    ]
    there = [pipeline(session, alice.team_id, name) for name in ("Sales", "Connections")]
    made = [a_box(session, viewer(alice), f"Box {n}", into=there[n % 2].name) for n in range(6)]
    session.flush()
    return World([alice, *others], there, made)


def model(user: User, box: Box, pipe: Pipeline, in_box: set[int], in_pipe: set[int]) -> bool:
    """What was promised, in words."""
    if user.id in in_box:
        return True
    if box.access == "people":
        return user.role != "guest" and box.owner_id == user.id
    if user.role == "guest":
        return user.id in in_pipe
    if box.owner_id == user.id or box.access == "team":
        return True
    return pipe.access == "team" or user.id in in_pipe


drawn = st.fixed_dictionaries(
    {
        "pipes": st.lists(st.sampled_from(["team", "people"]), min_size=2, max_size=2),
        "boxes": st.lists(st.sampled_from([None, "team", "people"]), min_size=6, max_size=6),
        "owners": st.lists(st.integers(-1, 4), min_size=6, max_size=6),
        "in_pipes": st.sets(st.tuples(st.integers(0, 1), st.integers(0, 4))),
        "in_boxes": st.sets(st.tuples(st.integers(0, 5), st.integers(0, 4))),
    }
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=drawn)
def test_a_person_sees_what_the_model_says_whichever_way_is_asked(
    session: Session, world: World, said: dict[str, list]
) -> None:
    with session.begin_nested() as undone:
        team_id = world.users[0].team_id
        for one, value in zip(world.pipelines, said["pipes"], strict=True):
            one.access = value
        for one, value, owner in zip(world.boxes, said["boxes"], said["owners"], strict=True):
            one.access, one.owner_id = value, None if owner < 0 else world.users[owner].id
        for at, who in said["in_pipes"]:
            row = {"pipeline_id": world.pipelines[at].id, "user_id": world.users[who].id}
            session.add(PipelineMember(team_id=team_id, **row))
        for at, who in said["in_boxes"]:
            session.add(BoxMember(team_id=team_id, box_id=world.boxes[at].id, user_id=world.users[who].id))
        session.flush()
        ids = {box.id for box in world.boxes}
        watchers = access.watchers(session, ids, world.users)
        for user in world.users:
            expected = {
                box.id
                for n, box in enumerate(world.boxes)
                if model(
                    user, box, world.pipelines[n % 2],
                    {world.users[who].id for at, who in said["in_boxes"] if at == n},
                    {world.users[who].id for at, who in said["in_pipes"] if at == n % 2},
                )
            }  # fmt: skip
            asked = set(session.scalars(select(Box.id).where(access.may_see(viewer(user)))))
            known = set(session.scalars(select(Pipeline.name).where(access.may_see_pipeline(viewer(user)))))
            with sight.seen_by(session, viewer(user)):
                found = set(session.scalars(select(Box.id)))
                pipes = set(session.scalars(select(Pipeline.name)))
                whole = {one.name for one in world.pipelines if sight.is_whole(session, one.id)}
                full = {one.id for one in world.pipelines if sight.sees_all(session, one.id)}
            assert asked == found == expected == {box for who, box in watchers if who == user.id}
            assert known == pipes, user.role
            assert whole <= pipes | ({one.name for one in world.pipelines if one.archived_at})
            for n, one in enumerate(world.pipelines):
                if one.id in full:
                    assert {box.id for box in world.boxes[n::2]} <= expected
        undone.rollback()
    session.expire_all()
