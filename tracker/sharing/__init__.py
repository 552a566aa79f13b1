"""Sharing: who may see which message, and why. The one gate that every list, search and page asks."""

from tracker.sharing import upkeep as _upkeep  # noqa: F401 - it listens
from tracker.sharing.gate import holds, lends, level, may_know, may_read, not_private, shared_level, whole_in
from tracker.sharing.grants import grant, grants_by, withdraw_grant
from tracker.sharing.leaving import keep_what_was_shared, mailbox_connected, unshared, welcome_back
from tracker.sharing.levels import ALL, DEFAULT, Level, Pair, SharingError
from tracker.sharing.many import allowed
from tracker.sharing.private import private_add, private_list, private_remove
from tracker.sharing.rules import inside_of, rule_for, rules_of, set_rule
from tracker.sharing.tables import Grant, Private, Rule
from tracker.sharing.why import Seer, Why, Withheld, who_sees, why, withheld, withheld_where

__all__ = [
    "ALL",
    "DEFAULT",
    "Grant",
    "Level",
    "Pair",
    "Private",
    "Rule",
    "Seer",
    "SharingError",
    "Why",
    "Withheld",
    "allowed",
    "grant",
    "grants_by",
    "holds",
    "inside_of",
    "keep_what_was_shared",
    "lends",
    "level",
    "mailbox_connected",
    "may_know",
    "may_read",
    "not_private",
    "private_add",
    "private_list",
    "private_remove",
    "rule_for",
    "rules_of",
    "set_rule",
    "shared_level",
    "unshared",
    "welcome_back",
    "who_sees",
    "whole_in",
    "why",
    "withdraw_grant",
    "withheld",
    "withheld_where",
]
