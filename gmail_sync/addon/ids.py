"""Gmail's two forms of an id: the page's `msg-f:1793…`, decimal, and the API's, the same number in hex. Pure.

Drafts that only the page knows (`msg-a:r-12…`) have no id in the API.
"""

from __future__ import annotations

import re

_PAGE = re.compile(r"#?(?:msg|thread)-f:([0-9]{1,20})", re.ASCII)
_API = re.compile(r"[0-9a-f]{1,16}", re.ASCII)
_LIMIT = 1 << 64


def to_api(given: str) -> str | None:
    """The API's form of a message's or thread's id; None for what is none, and for a draft's."""
    if found := _PAGE.fullmatch(given):
        number = int(found[1])
    elif _API.fullmatch(given):
        number = int(given, 16)
    else:
        return None
    return f"{number:x}" if 0 < number < _LIMIT else None


def to_page(kind: str, gmail_id: str) -> str:
    """The page's form of an id of the API; `kind` is "msg" or "thread"."""
    return f"{kind}-f:{int(gmail_id, 16)}"
