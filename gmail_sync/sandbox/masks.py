"""Partial answers: the `fields` parameter.

Source: https://developers.google.com/workspace/gmail/api/guides/performance#partial
Grammar: names separated by commas, `a/b` for a nested field, `a(b,c)` for several, `*` for all.
"""

from __future__ import annotations

import re
from typing import Any

from gmail_sync.sandbox.errors import ApiError

#: A parsed mask: field to mask, where an empty mask means the whole field.
Mask = dict[str, "Mask"]

_TOKEN = re.compile(r"[A-Za-z_][\w-]*|[*/(),]")

#: Every field of the API's answers; anything else is an "Invalid field selection".
_NAMES = """
    attachmentId backgroundColor body color data drafts emailAddress expiration filename headers history
    historyId id internalDate labelIds labelListVisibility labels labelsAdded labelsRemoved message
    messageListVisibility messages messagesAdded messagesDeleted messagesTotal messagesUnread mimeType
    name nextPageToken partId parts payload raw resultSizeEstimate size sizeEstimate snippet textColor
    threadId threads threadsTotal threadsUnread type value classificationLabelValues error code
"""
FIELDS = frozenset(_NAMES.split())


def parse(text: str) -> Mask:
    """A `fields` value as a mask. Raises ApiError 400 when it can't be read."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != re.sub(r"\s", "", text) or not tokens:
        raise _refused(text)
    mask = _several(tokens, text)
    if tokens:
        raise _refused(text)
    return mask


def _refused(text: str) -> ApiError:
    return ApiError(400, "invalidParameter", f"Invalid field selection {text}")


def _several(tokens: list[str], text: str) -> Mask:
    mask: Mask = {}
    while True:
        name, inner = _one(tokens, text)
        mask[name] = _merged(mask[name], inner) if name in mask else inner
        if not tokens or tokens[0] != ",":
            return mask
        tokens.pop(0)


def _one(tokens: list[str], text: str) -> tuple[str, Mask]:
    name = tokens.pop(0) if tokens else ""
    if name != "*" and name not in FIELDS:
        raise _refused(name or text)
    if tokens and tokens[0] == "/":
        tokens.pop(0)
        return name, dict([_one(tokens, text)])
    if tokens and tokens[0] == "(":
        tokens.pop(0)
        inner = _several(tokens, text)
        if not tokens or tokens.pop(0) != ")":
            raise _refused(text)
        return name, inner
    return name, {}


def _merged(one: Mask, other: Mask) -> Mask:
    if not one or not other:
        return {}
    both = dict(one)
    for name, inner in other.items():
        both[name] = _merged(both[name], inner) if name in both else inner
    return both


def apply(mask: Mask, value: Any) -> Any:
    """What a mask leaves of an answer."""
    if not mask:
        return value
    if isinstance(value, list):
        return [apply(mask, item) for item in value]
    if not isinstance(value, dict):
        return value
    star = mask.get("*")
    picked = {}
    for name, inner in value.items():
        if name in mask or star is not None:
            kept = mask.get(name, star)
            picked[name] = apply(kept or {}, inner)
    return picked
