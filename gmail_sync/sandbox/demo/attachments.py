"""Small files to attach: a one-page PDF, and a PNG with the curve of a week's temperatures."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence

_WIDTH, _HEIGHT = 360, 120
_WHITE, _GRID, _INK = b"\xff\xff\xff", b"\xe2\xe6\xe3", b"\x2f\x6f\x4e"


def pdf(lines: Sequence[str]) -> bytes:
    """A one-page A4 PDF 1.4 with *lines* (Windows-1252 characters) in Helvetica, the first one large."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        _page(lines),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    body, offsets = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return body + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (len(objects) + 1, table, len(objects) + 1, len(body))
    )


def _page(lines: Sequence[str]) -> bytes:
    """The content stream that writes *lines* from the top of the page."""
    shown = [b"BT /F1 18 Tf 60 770 Td 20 TL"]
    for number, line in enumerate(lines):
        text = line.encode("cp1252", "replace")
        for character in (b"\\", b"(", b")"):
            text = text.replace(character, b"\\" + character)
        shown.append(b"(%s) Tj T*" % text + (b" T* /F1 11 Tf" if number == 0 else b""))
    stream = b"\n".join([*shown, b"ET"])
    return b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream)


def png(seed: int) -> bytes:
    """A PNG (360 by 120, RGB) of a temperature curve; another *seed*, another week."""
    rows = [bytearray((_GRID if y % 24 == 0 else _WHITE) * _WIDTH) for y in range(_HEIGHT)]
    for x in range(_WIDTH):
        swing = math.sin(x / 8.2 + seed) * 18 + math.sin(x / 47 + seed * 2) * 26
        for y in range(int(60 - swing), int(60 - swing) + 3):
            rows[y][x * 3 : x * 3 + 3] = _INK
    pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows), 9)
    header = struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    """One PNG chunk with its length and checksum (PNG specification, section 5.3)."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
