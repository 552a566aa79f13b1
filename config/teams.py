"""Founding a team: its first admin and the pipelines that it starts with."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from sqlalchemy.orm import Session

from tracker import people, pipelines
from tracker.people import PeopleError, Role, User
from tracker.pipelines import FieldTemplate, StageTemplate, Template

SHIPPED = Path(__file__).parent / "pipelines"


@cache
def templates() -> tuple[Template, ...]:
    """The shipped pipelines; those that a new team starts with come first."""
    found = [_template(path) for path in sorted(SHIPPED.glob("*.toml"))]
    return tuple(sorted(found, key=lambda template: (not template.starts, template.name)))


def _template(path: Path) -> Template:
    told = tomllib.loads(path.read_text("utf-8"))
    return Template(
        slug=path.stem,
        name=told["name"],
        description=told["description"],
        new_conversation=told["new_conversation"],
        starts=told["starts"],
        stages=tuple(StageTemplate(**stage) for stage in told["stages"]),
        fields=tuple(
            FieldTemplate(field["name"], field["type"], tuple(field.get("options", ())))
            for field in told["fields"]
        ),
    )


def found_another(session: Session, team_name: str, address: str) -> User:
    """Found a team beside those that there are. Raises `PeopleError`: a person belongs to one team."""
    name = " ".join(team_name.split())
    if not name:
        raise PeopleError("Give the team a name")
    if people.by_address(session, address) is not None:
        raise PeopleError(f"{address} is in a team already, and a person belongs to one")
    return found(session, name, address, "")


def found(session: Session, team_name: str, address: str, name: str) -> User:
    """Found a team with its first admin and its first pipelines; the admin."""
    team = people.create_team(session, team_name)
    admin = people.add_user(session, team.id, address, name=name, role=Role.ADMIN)
    viewer = people.viewer_of(admin, "founding")
    for template in templates():
        if template.starts:
            pipelines.add(session, viewer, template)
    return admin
