"""The four levels at which a teammate may know a mail that is in none of their own mailboxes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How much of a message somebody may see; more is more."""

    NOTHING = 0  # not even that there is such a mail
    EXISTENCE = 1  # that somebody wrote with whom, and when
    SUBJECT = 2  # and about what
    FULL = 3  # all of it, its attachments too


class SharingError(ValueError):
    """A word about sharing can't be taken as said; the text says why."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What a rule says: of mail with somebody outside the team, and of purely internal mail."""

    outside: Level
    inside: Level

    @property
    def packed(self) -> int:
        """Both in one number, as the gate's SQL carries them."""
        return self.outside * 4 + self.inside


#: Until its owner says otherwise: in a box that one may see, mail with outsiders is seen and internal mail is not.
DEFAULT = Pair(Level.FULL, Level.NOTHING)
#: What a grant to a person gives.
ALL = Pair(Level.FULL, Level.FULL)
