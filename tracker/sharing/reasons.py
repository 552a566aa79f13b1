"""Why a conversation is where it is, told to whom it may be: a rule's reason names addresses of its mail."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import select, union_all
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from tracker.addresses import normalize
from tracker.db import among
from tracker.filing import Filing
from tracker.messages import Message, Recipient
from tracker.people import Viewer
from tracker.sharing.gate import may_read

UNTOLD = "because of its contacts"
_ADDRESS = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+")


def tell(session: Session, viewer: Viewer, filings: Iterable[Filing]) -> None:
    """Make reasons speak only of addresses that take part in mail which the viewer may read.

    What is stored stays as it is: the words are put into what was read, and never written.
    """
    named = {one: set(map(_plain, _ADDRESS.findall(one.reason))) for one in filings if "@" in one.reason}
    if viewer.is_system or not named:
        return
    seen = _taking_part(session, viewer, {one.conversation_id for one in named})
    for one, addresses in named.items():
        if not addresses <= seen[one.conversation_id]:
            set_committed_value(one, "reason", UNTOLD)


def _plain(address: str) -> str:
    return normalize(address.rstrip(".)'\""))


def _taking_part(session: Session, viewer: Viewer, ids: set[int]) -> dict[int, set[str]]:
    there = (among(Message.conversation_id, ids), may_read(viewer))
    senders = select(Message.conversation_id, Message.sender_normalized).where(*there)
    recipients = (
        select(Message.conversation_id, Recipient.normalized)
        .join(Recipient, Recipient.message_id == Message.id)
        .where(*there)
    )
    found: dict[int, set[str]] = defaultdict(set)
    for conversation_id, address in session.execute(union_all(senders, recipients)):
        found[conversation_id].add(address)
    return found
