"""Who sees a pipeline or a box, as a page says it and asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from tracker import access
from tracker.access import PEOPLE, TEAM
from tracker.boxes import Box
from tracker.people import Role, User, Viewer
from tracker.pipelines import Pipeline


@dataclass(frozen=True, slots=True)
class Said:
    """Who sees something, and whether the reader may change it."""

    access: str  #: `team`, `people`, or "" for a box that is as its pipeline
    named: Sequence[User]  #: those of now and those who left
    people: Sequence[User]  #: to choose from
    may_change: bool
    words: str
    inherited: str = ""  #: what a box's pipeline says

    @classmethod
    def of(cls, session: Session, viewer: Viewer, thing: Pipeline | Box, everybody: Sequence[User]) -> Said:
        """What is said of this pipeline or box."""
        ids = access.named(session, thing)
        named = [one for one in everybody if one.id in ids]
        above = ""
        if isinstance(thing, Box):
            above = "The team" if thing.pipeline.access == TEAM else "The people of the pipeline"
        return cls(
            thing.access or "",
            named,
            [one for one in everybody if one.removed_at is None],
            access.may_change(viewer, thing),
            _words(thing, named, above),
            above,
        )

    @property
    def guests(self) -> Sequence[User]:
        """Those to choose from who see only where they are named."""
        return [one for one in self.people if one.role == Role.GUEST]

    @property
    def is_narrow(self) -> bool:
        """Only named people see it."""
        return self.access == PEOPLE


def _words(thing: Pipeline | Box, named: Sequence[User], above: str) -> str:
    told = _names(named)
    owner = thing.owner if isinstance(thing, Box) else None
    if thing.access == PEOPLE:
        others = f"{owner.name}, who owns it, and " if owner is not None and owner not in named else ""
        return f"Only {others}{told or 'nobody'}"
    first, more = "The team", [one for one in named if one.role == Role.GUEST]
    if isinstance(thing, Box) and thing.access is None:
        first = f"{above}, as in {thing.pipeline.name}"
        more = list(named) if thing.pipeline.access == PEOPLE else more
    return f"{first}, and {_names(more)}" if more else first


def _names(named: Sequence[User]) -> str:
    names = [one.name for one in named]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
