"""CSV files (RFC 4180) as people have them: several encodings and delimiters; and cells that are no formulas."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MOST_BYTES = 5_000_000
MOST_ROWS = 20_000
MOST_COLUMNS = 200
MOST_CELL = 100_000  # characters
DELIMITERS = (",", ";", "\t", "|")
NUMBER = re.compile(r"-?\d+([.,]\d+)?")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")


class CsvError(ValueError):
    """A file can't be read as CSV; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class CsvFile:
    """What a file holds: its header, and each row with the number of the line that it begins in."""

    header: list[str]
    rows: list[tuple[int, list[str]]]


def guard(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe before it. A number is none."""
    return "'" + cell if _FORMULA.match(cell) and not NUMBER.fullmatch(cell) else cell


def unguard(cell: str) -> str:
    """What `guard` was given."""
    return cell[1:] if _GUARDED.match(cell) else cell


def written(rows: Iterable[Sequence[str]]) -> str:
    """Rows as text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def read(data: bytes) -> CsvFile:
    """Read a file. Raises `CsvError`."""
    if len(data) > MOST_BYTES:
        raise CsvError("The file has more than 5 MB; split it and import the parts one after the other")
    text = _decoded(data)
    if not text.strip():
        raise CsvError("The file is empty; export it again, as CSV with a line of headings")
    rows = _rows(text, _delimiter(text))
    if not rows:
        raise CsvError("The file is empty; export it again, as CSV with a line of headings")
    header = [" ".join(cell.split()) for cell in rows[0][1]]
    del header[max(_width(header), *(_width(cells) for _, cells in rows[1:]), 0) :]  # a sheet's empty columns
    if len(header) > MOST_COLUMNS:
        raise CsvError(
            f"The file has {len(header):,} columns; take out those that you don't need, down to {MOST_COLUMNS}"
        )
    if len(rows) - 1 > MOST_ROWS:
        raise CsvError(f"The file has {len(rows) - 1:,} rows; split it into files of at most {MOST_ROWS:,}")
    if len(rows) == 1:
        raise CsvError("The file has headings and no rows; there is nothing to import")
    return CsvFile(header, rows[1:])


def _width(cells: Sequence[str]) -> int:
    """How many cells there are up to the last that holds anything."""
    return next((number for number in range(len(cells), 0, -1) if cells[number - 1]), 0)


def _decoded(data: bytes) -> str:
    """UTF-16 by its mark or its zeros, UTF-8 if it is that, else what Windows writes."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _tried(data, "utf-16")
    sample = data[:4000]
    if sample[1::2].count(0) > len(sample) // 5:
        return _tried(data, "utf-16-le")
    if sample[0::2].count(0) > len(sample) // 5:
        return _tried(data, "utf-16-be")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"%PDF")):
        raise CsvError("This is a workbook or a document, not CSV; save it as “CSV UTF-8” and upload that")
    return text.replace("\x00", "")


def _tried(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding).removeprefix("\ufeff").replace("\x00", "")
    except UnicodeDecodeError:
        raise CsvError("The file's letters can't be read; save it as “CSV UTF-8” and upload that") from None


def _delimiter(text: str) -> str:
    """Whichever mark gives the first rows the same number of cells, the most of them."""
    sample = "\n".join(text[:50_000].splitlines()[:30])

    def score(mark: str) -> tuple[float, int]:
        try:
            found = [row for row in csv.reader(io.StringIO(sample, newline=""), delimiter=mark) if row][:20]
        except csv.Error:
            return (0, 0)
        if not found:
            return (0, 0)
        width, often = Counter(map(len, found)).most_common(1)[0]
        return (0, 0) if width < 2 else (often / len(found), width)

    best = max(DELIMITERS, key=score)
    return best if score(best)[1] else ","


def _rows(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    csv.field_size_limit(MOST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    found: list[tuple[int, list[str]]] = []
    begins = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                found.append((begins, [cell.replace("\r\n", "\n") for cell in row]))
            begins = reader.line_num + 1
            if len(found) > 10 * MOST_ROWS:
                break
    except csv.Error as error:
        raise CsvError(f"Line {begins}: it can't be read ({error}); is a quotation mark missing?") from None
    return found
