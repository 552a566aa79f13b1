"""The states of a scheduled email, and the explicit table of arrows between them."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a scheduled email is."""

    PREPARING = "preparing"  #: Gmail's draft has to be made, or made anew
    QUEUED = "queued"  #: the draft is there; only `drafts.send` remains
    SENDING = "sending"  #: claimed; from here on Gmail is asked before anything is tried again
    SENT = "sent"
    FAILED = "failed"  #: Gmail refuses it, and trying again changes nothing
    UNCERTAIN = "uncertain"  #: nobody can know whether it went; a person decides, it is never sent again
    HELD = "held"  #: by a person or a guard
    CANCELLED = "cancelled"  #: by a person here, or by deleting the draft in Gmail


#: A change is one conditional UPDATE that must touch exactly one row; no other arrow goes.
ARROWS: dict[State, frozenset[State]] = {
    # Sent without us: the rep pressed *Send* in Gmail before it was time.
    State.PREPARING: frozenset({State.QUEUED, State.HELD, State.FAILED, State.CANCELLED, State.SENT}),
    State.QUEUED: frozenset({State.PREPARING, State.SENDING, State.HELD, State.CANCELLED, State.SENT}),
    # Back to queued only when Gmail said that the draft is still there, or when Gmail was never asked to send.
    State.SENDING: frozenset({State.SENT, State.QUEUED, State.FAILED, State.UNCERTAIN, State.CANCELLED}),
    State.HELD: frozenset({State.PREPARING, State.QUEUED, State.FAILED, State.CANCELLED, State.SENT}),
    State.FAILED: frozenset({State.PREPARING, State.CANCELLED}),
    State.UNCERTAIN: frozenset({State.PREPARING, State.SENT, State.CANCELLED}),
    # Sent: the rep had sent it in Gmail by hand when it was cancelled here.
    State.CANCELLED: frozenset({State.PREPARING, State.SENT}),
    State.SENT: frozenset(),
}
#: What may still go out; a draft of Gmail's belongs to one of these at most.
OPEN = (State.PREPARING, State.QUEUED, State.SENDING, State.HELD)
#: What a person may still change.
EDITABLE = (State.PREPARING, State.QUEUED, State.HELD)
