"""API keys: what opens and what does not, and that guessing leads nowhere."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_team
from tracker import api_keys, people
from tracker.api_keys import ApiKey, Scope, TooMany
from tracker.attempts import Attempts
from tracker.people import Role, User

HOUR = timedelta(hours=1)


def a_key(session: Session, user: User, *scopes: Scope, hours: int | None = None) -> tuple[ApiKey, str]:
    expires = NOW + hours * HOUR if hours else None
    return api_keys.make(session, user, "Report", scopes or (Scope.READ,), expires, now=NOW)


def test_a_key_opens_as_its_person_within_its_scopes(session: Session) -> None:
    alice = a_team(session)
    made, shown = a_key(session, alice, Scope.READ, Scope.SEND)
    found = api_keys.check(session, shown, NOW)
    assert found is not None
    viewer, scopes = found
    assert (viewer.user_id, viewer.team_id, viewer.role, viewer.door) == (alice.id, alice.team_id, "admin", "api")
    assert scopes == {Scope.READ, Scope.SEND}
    session.refresh(made)
    assert made.used_at == NOW
    assert shown.encode() not in made.secret_hash
    assert made.prefix.removesuffix("…") == shown[:15]


@pytest.mark.parametrize("why", ["revoked", "expired", "removed", "all revoked"])
def test_a_key_that_is_over_opens_nothing(session: Session, why: str) -> None:
    alice = a_team(session)
    bob = people.add_user(session, alice.team_id, "bob@team.example")
    made, shown = a_key(session, bob, hours=1)
    admin = people.viewer_of(alice, "test")
    at = NOW
    if why == "revoked":
        assert api_keys.revoke(session, people.viewer_of(bob, "test"), made.key, NOW) is not None
    elif why == "all revoked":
        assert api_keys.revoke_all(session, admin, bob, NOW) == 1
    elif why == "removed":
        people.remove(session, admin, bob, NOW)
    else:
        at = NOW + HOUR
    session.flush()
    session.expire_all()
    assert api_keys.check(session, shown, at) is None


def test_who_is_no_admin_any_more_administers_with_no_key(session: Session) -> None:
    alice = a_team(session)
    zoe = people.add_user(session, alice.team_id, "zoe@team.example", role=Role.ADMIN)
    _, shown = a_key(session, alice, Scope.READ, Scope.ADMIN)
    people.change_role(session, people.viewer_of(zoe, "test"), alice, Role.MEMBER)
    found = api_keys.check(session, shown, NOW)
    assert found is not None
    assert (found[0].role, found[1]) == (Role.MEMBER, {Scope.READ})


def test_what_only_resembles_a_key_opens_nothing(session: Session) -> None:
    alice = a_team(session)
    made, shown = a_key(session, alice)
    other = "A" if shown[-1] != "A" else "B"
    for presented in (
        "", "trk_", shown[:-1], shown[:-1] + other, shown + "A", shown.upper(), f" {shown}", f"{shown}\n",
        made.key, f"trk_{made.handle}_", f"trk_{made.handle}_{'A' * 43}", "trk_%_" + "A" * 43,
        shown.replace(made.handle, "x" * 10), "trk_" + "\x00" * 10 + "_" + "A" * 43, "x" * 100_000, "é" * 43,
    ):  # fmt: skip
        assert api_keys.check(session, presented, NOW) is None, presented[:80]


def test_the_secret_is_compared_whether_or_not_there_is_such_a_key(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guesser can't tell a known handle from an unknown one by the work it makes."""
    alice = a_team(session)
    made, shown = a_key(session, alice)
    compared: list[int] = []
    real = api_keys.hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(len(one))
        return bool(real(one, other))

    monkeypatch.setattr(api_keys.hmac, "compare_digest", counting)
    for presented in (shown, f"trk_{made.handle}_{'A' * 43}", f"trk_{'x' * 10}_{'A' * 43}", "nonsense"):
        api_keys.check(session, presented, NOW)
    assert compared == [32] * 4


def test_guesses_are_limited_by_where_they_come_from(session: Session) -> None:
    alice = a_team(session)
    _, shown = a_key(session, alice)
    guesses = Attempts(3, 60)
    for _ in range(3):
        assert api_keys.authenticate(session, "trk_wrong", "192.0.2.1", guesses, NOW) is None
    with pytest.raises(TooMany) as refused:
        api_keys.authenticate(session, shown, "192.0.2.1", guesses, NOW)
    assert 0 < refused.value.seconds <= 60
    assert api_keys.authenticate(session, shown, "192.0.2.2", guesses, NOW) is not None


def test_nobody_revokes_anothers_key(session: Session) -> None:
    alice = a_team(session)
    bob = people.add_user(session, alice.team_id, "bob@team.example")
    made, shown = a_key(session, alice)
    assert api_keys.revoke(session, people.viewer_of(bob, "test"), made.key, NOW) is None
    with pytest.raises(PermissionError):
        api_keys.revoke_all(session, people.viewer_of(bob, "test"), alice, NOW)
    assert api_keys.check(session, shown, NOW) is not None
