"""A team in which something is narrowed, and its people."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from sqlalchemy.orm import Session

from tests.tracker.domain import a_box, a_team, pipeline
from tracker import access, people
from tracker.boxes import Box
from tracker.people import Role, User, Viewer
from tracker.pipelines import Pipeline


@dataclass(slots=True)
class House:
    """Alice is an admin, as is Ada; Bob and Mia are members, Gina and Gus guests.

    Sales is open to the team: in it `plain`, `closed` (Alice and Bob are named), `ginas` (Gina is named, and it is
    open). Connections is for Alice and Bob: in it `inner`, `open` (to the team), `theirs` (Alice and Gus).
    """

    alice: User
    ada: User
    bob: User
    mia: User
    gina: User
    gus: User
    sales: Pipeline
    connections: Pipeline
    plain: Box
    closed: Box
    ginas: Box
    inner: Box
    open: Box
    theirs: Box


def viewer(user: User) -> Viewer:
    """A person by the web's door."""
    return people.viewer_of(user, "web")


def furnish(session: Session, alice: User, into: str = "Connections") -> House:
    """Arrange the house in Alice's team."""
    me = viewer(alice)

    def person(name: str, role: Role) -> User:
        return people.add_user(session, alice.team_id, f"{name.lower()}@house.example", name=name, role=role)

    ada, bob, mia = person("Ada", Role.ADMIN), person("Bo", Role.MEMBER), person("Mia", Role.MEMBER)
    gina, gus = person("Gina", Role.GUEST), person("Gus", Role.GUEST)
    sales, connections = pipeline(session, alice.team_id), pipeline(session, alice.team_id, into)
    plain = a_box(session, me, "Plain willow", "pia@plain.example")
    closed = a_box(session, me, "Closed quokka", "quentin@quokka.example")
    ginas = a_box(session, me, "Ginas heron", "hal@heron.example")
    inner = a_box(session, me, "Inner badger", "ben@badger.example", into=into)
    opened = a_box(session, me, "Open otter", "olga@otter.example", into=into)
    theirs = a_box(session, me, "Theirs lemur", "leo@lemur.example", into=into)
    access.arrange(session, me, closed, access.PEOPLE, {alice.id, bob.id})
    access.name(session, me, ginas, gina)
    access.arrange(session, me, connections, access.PEOPLE, {alice.id, bob.id})
    access.open_to(session, me, opened, access.TEAM)
    access.arrange(session, me, theirs, access.PEOPLE, {alice.id, gus.id})
    session.flush()
    return House(
        alice, ada, bob, mia, gina, gus, sales, connections, plain, closed, ginas, inner, opened, theirs
    )  # fmt: skip


@pytest.fixture
def house(session: Session) -> House:
    """The house, in the test's session."""
    return furnish(session, a_team(session))
