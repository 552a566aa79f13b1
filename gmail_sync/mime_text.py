"""The text and the HTML of a message, put together from its parts.

Pure. A message is a row of units: a multipart/alternative is one, told in several ways, and so is each text
that stands alone (such as the footer that a mailing list adds). The text takes the plain way of each unit and
the HTML the rich one, so that neither loses what only the other has.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

from gmail_sync.mime_tree import TextPart
from tracker.html_text import text_from_html

MAX_TEXT = 1024 * 1024
MAX_HTML = 2 * 1024 * 1024


def compose(parts: Iterable[TextPart], defects: list[str]) -> tuple[str, str | None]:
    """The whole text and the whole HTML (None when no part is HTML), each at most so many bytes of UTF-8."""
    units = _units(parts)
    has_html = any(part.is_html for unit in units for part in unit)
    text = "\n".join(filter(str.strip, (_plain(unit, defects) for unit in units)))
    rich = "\n".join(map(_rich, units)) if has_html else None
    text = _cut(text.strip("\n"), MAX_TEXT, "text", defects)
    return text, None if rich is None else _cut(rich, MAX_HTML, "HTML", defects)


def _units(parts: Iterable[TextPart]) -> list[list[TextPart]]:
    units: list[list[TextPart]] = []
    for part in parts:
        if part.unit is not None and units and units[-1][0].unit == part.unit:
            units[-1].append(part)
        else:
            units.append([part])
    return units


def _plain(unit: list[TextPart], defects: list[str]) -> str:
    """The plain text of a unit, made from its HTML when there is nothing else."""
    branch = _best_branch(unit, html=False)
    if branch is not None:
        return "\n".join(part.text for part in unit if part.branch == branch and not part.is_html)
    branch = _best_branch(unit, html=True)
    rich = "\n".join(part.text for part in unit if part.branch == branch)
    return text_from_html(_cut(rich, MAX_HTML, "HTML", defects))


def _rich(unit: list[TextPart]) -> str:
    """The HTML of a unit; plain text as it stands when that is all there is."""
    branch = _best_branch(unit, html=True)
    if branch is not None:
        return "\n".join(part.text for part in unit if part.branch == branch and part.is_html)
    branch = _best_branch(unit, html=False)
    plain = "\n".join(part.text for part in unit if part.branch == branch)
    return f'<div style="white-space: pre-wrap">{html.escape(plain)}</div>'


def _best_branch(unit: list[TextPart], *, html: bool) -> int | None:
    """The branch that tells it best in that way: the last (RFC 2046 5.1.4), best one that has only that."""
    fitting = [part.branch for part in unit if part.is_html == html and part.text.strip()]
    mixed = {part.branch for part in unit if part.is_html != html}
    return max(fitting, key=lambda branch: (branch not in mixed, branch), default=None)


def _cut(text: str, limit: int, what: str, defects: list[str]) -> str:
    """`text` up to `limit` bytes of UTF-8."""
    if len(text) * 4 <= limit or len(data := text.encode()) <= limit:
        return text
    defect = f"the {what} was cut at {limit} bytes"
    if defect not in defects:
        defects.append(defect)
    return data[:limit].decode("utf-8", "ignore")
