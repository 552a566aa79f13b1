"""What a hit was: ordered rules, pure, each with a reason in words (`rules`), and what hits say together."""

from webhooks.verdicts.facts import (
    MACHINES,
    RULES,
    Judged,
    Known,
    Network,
    RawHit,
    Reading,
    Seen,
    Sent,
    Verdict,
)
from webhooks.verdicts.judging import judge

__all__ = [
    "MACHINES",
    "RULES",
    "Judged",
    "Known",
    "Network",
    "RawHit",
    "Reading",
    "Seen",
    "Sent",
    "Verdict",
    "judge",
]
