"""`tracker team` and `tracker apikey`, as an operator types them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy.orm import Session

from config.cli import main
from tests.config.running import environment
from tracker import api_keys, people
from tracker.db import utc_now


@pytest.fixture
def env(tmp_path: Path, database_url: str) -> dict[str, str]:
    """Commands work on the test's database."""
    return environment(tmp_path / "var", database_url=database_url)


def run(env: dict[str, str], *words: str) -> Result:
    return CliRunner().invoke(main, list(words), env=env)


def test_teams_are_founded_and_listed_and_a_person_belongs_to_one(env: dict[str, str], session: Session) -> None:
    assert run(env, "team", "add", "North", "--admin", "anna@north.example").exit_code == 0
    assert run(env, "team", "add", "South", "--admin", "sam@south.example").exit_code == 0
    assert run(env, "team", "list").output.splitlines() == [
        "North: 1 people, admin anna@north.example", "South: 1 people, admin sam@south.example",
    ]  # fmt: skip
    again = run(env, "team", "add", "West", "--admin", "Anna@north.example")
    assert again.exit_code == 1
    assert "belongs to one" in again.output
    anna, sam = (people.by_address(session, one) for one in ("anna@north.example", "sam@south.example"))
    assert anna is not None
    assert sam is not None
    assert anna.team_id != sam.team_id
    assert run(env, "team", "add", "East", "--admin", "nobody").exit_code == 1


def test_a_key_is_made_listed_and_revoked(env: dict[str, str], session: Session) -> None:
    run(env, "team", "add", "North", "--admin", "anna@north.example")
    made = run(env, "apikey", "make", "anna@north.example", "--name", "Report", "--scope", "read")
    shown = made.output.strip()
    assert api_keys.check(session, shown, utc_now()) is not None
    session.rollback()
    line = run(env, "apikey", "list", "anna@north.example").output
    assert "Report" in line
    assert shown not in line
    assert run(env, "apikey", "revoke", "anna@north.example", line.split()[0]).exit_code == 0
    session.expire_all()
    assert api_keys.check(session, shown, utc_now()) is None
    assert run(env, "apikey", "make", "eve@x.test", "--name", "x").exit_code == 1


def test_a_team_whose_only_admin_is_gone_gets_another(env: dict[str, str], session: Session) -> None:
    run(env, "team", "add", "North", "--admin", "anna@north.example")
    anna = people.by_address(session, "anna@north.example")
    assert anna is not None
    people.add_user(session, anna.team_id, "ben@north.example")
    anna.google_subject = "an account that was deleted"
    session.commit()
    assert run(env, "team", "admin", "ben@north.example").exit_code == 0
    assert run(env, "team", "forget-google", "anna@north.example").exit_code == 0
    assert "ben@north.example" in run(env, "team", "list").output
    session.refresh(anna)
    assert anna.google_subject is None
    for verb in ("admin", "forget-google"):
        assert run(env, "team", verb, "eve@x.test").exit_code == 1
