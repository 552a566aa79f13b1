"""Who of many people may read which of many messages: for notifications, which are told to all at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.db import among
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message
from tracker.people import User, viewer_of
from tracker.sharing import gate, said


def allowed(session: Session, asked: Mapping[User, Collection[int]]) -> set[tuple[int, int]]:
    """Which of these messages these people may read, as (person, message).

    Most of what people are told is about mail of their own: one question finds that out for all. Of what is left
    the gate is asked, person by person.
    """
    wanted = {(user.id, id_) for user, ids in asked.items() for id_ in ids}
    if not wanted:
        return set()
    found = wanted & _own(session, wanted)
    letters: dict[int, str] = {}
    for user, ids in asked.items():
        rest = [id_ for id_ in ids if (user.id, id_) not in found]
        if rest:
            if user.team_id not in letters:
                letters[user.team_id] = said.in_team(session, user.team_id)
            viewer = replace(viewer_of(user, "many"), said=partial(str, letters[user.team_id]))
            query = select(Message.id).where(among(Message.id, rest), gate.may_read(viewer))
            found.update((user.id, id_) for id_ in session.scalars(query))
    return found


def _own(session: Session, wanted: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
    """What their own mailboxes hold, outside trash, spam and drafts: as `gate.holds`, for many people."""
    query = (
        select(Mailbox.user_id, Copy.message_id)
        .join(Copy, Copy.mailbox_id == Mailbox.id)
        .where(
            among(Copy.message_id, {id_ for _, id_ in wanted}),
            among(Mailbox.user_id, {user_id for user_id, _ in wanted}),
            ~Copy.hidden,
            Mailbox.left_at.is_(None),
        )
    )
    return {(user_id, id_) for user_id, id_ in session.execute(query)}
