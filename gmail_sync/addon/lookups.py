"""What the panel's rooms look up, with the rights of whoever looks: the open thread, its boxes, a box by its key.

Keys come from outside each time. What somebody may not see is answered as what does not exist.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import wraps
from typing import TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import joinedload

from tracker import access, people, sharing
from tracker.access_requests import RequestError
from tracker.boxes import Box, BoxError
from tracker.contacts import ContactError
from tracker.conversations import Conversation
from tracker.db import among
from tracker.fields import FieldError
from tracker.filing import FILED, SUGGESTED, Filing, FilingError
from tracker.messages import Message
from tracker.panel import Asked, Do, Outcome, Refused
from tracker.people import Role, User
from tracker.pipelines import PipelineError, Stage
from tracker.sharing import SharingError

MOST = 20  # boxes of a thread that are looked at
CHOICES = 100  #: a dropdown of Google's shows no more
KEY = 100  # characters that are read of a key

Kept = TypeVar("Kept")
_WORDS = (BoxError, FilingError, FieldError, ContactError, PipelineError, SharingError, RequestError)


def in_words(do: Do) -> Do:
    """An action whose rooms say what can't be done: their words are the refusal's."""

    @wraps(do)
    def wrapped(asked: Asked) -> Outcome:
        try:
            return do(asked)
        except _WORDS as error:
            raise Refused(str(error)) from None

    return wrapped


def actions(*all_: tuple[str, Callable[[Asked], Outcome]]) -> list[tuple[str, Do]]:
    """Actions by their names, each with its refusals in words."""
    return [(name, in_words(do)) for name, do in all_]


def key_of(asked: Asked, name: str) -> str:
    """A key that a button carried, or that was chosen in a form."""
    given = asked.params.get(name) or asked.text(name)
    return given.strip()[:KEY]


def thread(asked: Asked) -> Conversation:
    """The open thread. Raises `Refused` while it is not in Tracker."""
    if asked.conversation is None:
        raise Refused("This mail is not in Tracker yet; open it again in a minute")
    return asked.conversation


def _once(asked: Asked, name: str, make: Callable[[Asked], Kept]) -> Kept:
    """What several sections look up, once a request."""
    kept = asked.db().info.setdefault(f"panel {name}", [])
    if not kept or kept[0] is not asked:
        kept[:] = [asked, make(asked)]
    found: Kept = kept[1]
    return found


def everybody(asked: Asked) -> Sequence[User]:
    """The team's people by name, those too who were removed; once a request."""
    return _once(asked, "team", lambda _: people.of_team(asked.db(), asked.viewer.team_id, removed=True))


def team(asked: Asked) -> list[User]:
    """The team's people by name; once a request."""
    return [user for user in everybody(asked) if user.removed_at is None]


def subject(asked: Asked) -> str:
    """The subject of the open thread's first mail that the viewer may read; the thread's own may be another's."""
    if asked.conversation is None:
        return ""
    query = select(Message.subject).where(
        Message.conversation_id == asked.conversation.id, sharing.may_read(asked.viewer)
    )
    return asked.db().scalar(query.order_by(Message.sent_at, Message.id).limit(1)) or ""


def filings(asked: Asked) -> list[Filing]:
    """Where the open thread is filed, then what is suggested for it; of boxes that the viewer may see.

    Looked up once a request: ask before anything is changed.
    """
    return _once(asked, "filings", _filings)


def _filings(asked: Asked) -> list[Filing]:
    if asked.conversation is None:
        return []
    query = (
        select(Filing)
        .outerjoin(Box, Box.id == Filing.box_id)
        .where(
            Filing.conversation_id == asked.conversation.id,
            Filing.state.in_((FILED, SUGGESTED)),
            Box.deleted_at.is_(None),
            (Filing.state == FILED) | Box.archived_at.is_(None),
        )
        .options(
            joinedload(Filing.box).options(joinedload(Box.stage), joinedload(Box.pipeline), joinedload(Box.owner)),
            joinedload(Filing.pipeline),
        )
        .order_by(Filing.state, Filing.id)
        .limit(MOST)
    )
    found = asked.db().scalars(query).all()
    return [one for one in found if one.box is not None or (one.box_id is None and not one.pipeline.archived_at)]


def boxes_of(asked: Asked) -> list[Box]:
    """The boxes that the open thread is filed in, those that were put away left out."""
    found = [one.box for one in filings(asked) if one.state == FILED]
    return [one for one in found if one is not None and not is_away(one)]


def is_away(box: Box) -> bool:
    """Whether a box was put away, or its pipeline and the box with it: it is looked at, not changed."""
    return box.archived_at is not None or box.pipeline.archived_at is not None


def box(asked: Asked, key: str) -> Box:
    """A box to be changed; one that was merged away leads to what it became. Raises `Refused`."""
    found = asked.db().scalar(_boxes(asked).where(Box.key == key))
    while found is not None and found.merged_into_id is not None:
        found = asked.db().scalar(_boxes(asked).where(Box.id == found.merged_into_id))
    if found is None:
        raise Refused("There is no such box any more; open the mail again")
    if found.deleted_at is not None:
        raise Refused(f"{found.name} was deleted meanwhile; bring it back in Tracker to change it")
    if is_away(found):
        raise Refused(f"{found.name} was put away; bring it back in Tracker to change it")
    return found


def _boxes(asked: Asked) -> Select[Box]:
    return (
        select(Box)
        .where(Box.team_id == asked.viewer.team_id)
        .options(joinedload(Box.stage), joinedload(Box.pipeline), joinedload(Box.owner))
    )


def stages_of(asked: Asked, pipeline_ids: Iterable[int]) -> dict[int, list[Stage]]:
    """The stages of several pipelines in one query."""
    found: dict[int, list[Stage]] = defaultdict(list)
    query = select(Stage).where(among(Stage.pipeline_id, set(pipeline_ids)))
    for stage in asked.db().scalars(query.order_by(Stage.pipeline_id, Stage.position)):
        found[stage.pipeline_id].append(stage)
    return found


def seers(asked: Asked, boxes_: Collection[Box]) -> dict[int, list[User]]:
    """Those of the team who may see each of these boxes; in at most four queries, in none where nothing is closed.

    As `access.seers`, for several boxes; of a box that is open to the team only its guests are asked about.
    """
    users = team(asked)
    members = [user for user in users if user.role != Role.GUEST]
    guests = [user for user in users if user.role == Role.GUEST]
    closed = [one.id for one in boxes_ if not (one.access is None and one.pipeline.access == access.TEAM)]
    seen = access.watchers(asked.db(), closed, members) if closed and members else set()
    if guests and boxes_:
        seen |= access.watchers(asked.db(), [one.id for one in boxes_], guests)
    return {
        one.id: [
            user
            for user in users
            if (user.id, one.id) in seen or (user.role != Role.GUEST and one.id not in closed)
        ]
        for one in boxes_
    }
