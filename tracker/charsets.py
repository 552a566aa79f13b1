"""Bytes and encoded words to text that can be stored: charset names, RFC 2047, and what PostgreSQL refuses.

Pure: imports nothing from the project. Nothing in here raises, whatever it is given, and everything is
linear in the size of what it is given.
"""

from __future__ import annotations

import binascii
import re
from encodings.aliases import aliases
from functools import lru_cache

from charset_normalizer import from_bytes

#: How much of a text is shown to charset-normalizer, in bytes: it tries dozens of charsets over all it gets.
_SAMPLE = 8_192

#: Codecs that Python has but no alias names, so that they are missing from its table of aliases.
_UNALIASED = ("cp720", "cp737", "cp856", "cp874", "cp875", "cp1006", "koi8_t", "koi8_u", "utf_8_sig")
_NOT_TEXT = {"base64_codec", "bz2_codec", "hex_codec", "mbcs", "quopri_codec", "rot_13", "uu_codec", "zlib_codec"}
#: What the labels mean in real mail, after the WHATWG Encoding Standard (section 4.2): the wider relative.
_MEANT = {
    "ascii": "cp1252",
    "latin_1": "cp1252",
    "iso8859_9": "cp1254",
    "iso8859_11": "cp874",
    "tis_620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "utf_8": "utf-8",
    "utf_8_sig": "utf-8",
}
_EXTRA_NAMES = {
    "ansi": "cp1252",
    "dos_874": "cp874",
    "iso_2022_jp_ms": "iso2022_jp_ext",
    "iso_8859_6_e": "iso8859_6",
    "iso_8859_6_i": "iso8859_6",
    "iso_8859_8_e": "iso8859_8",
    "iso_8859_8_i": "iso8859_8",
    "ks_c_5601": "cp949",
    "ks_c_5601_1987": "cp949",
    "unicode_1_1_utf_7": "utf_7",
    "unicode_1_1_utf_8": "utf-8",
    "utf8mb4": "utf-8",
    "windows_31j": "cp932",
    "windows_874": "cp874",
    "x_gbk": "gb18030",
    "x_mac_cyrillic": "mac_cyrillic",
    "x_sjis": "cp932",
    "x_user_defined": "cp1252",
}
_CODECS = (
    {name: codec for name, codec in aliases.items() if codec not in _NOT_TEXT}
    | {codec: codec for codec in aliases.values() if codec not in _NOT_TEXT}
    | {codec: codec for codec in _UNALIASED}
    | _EXTRA_NAMES
)
_EBCDIC = {"cp037", "cp1026", "cp1140", "cp273", "cp424", "cp500", "cp875"}
_WESTERN = {"cp1252", "cp1254", "iso8859_15"}

_NAME_JUNK = re.compile(r"[^a-z0-9]+")
_WORD = r"=\?([^?\s]{1,64})\?([bBqQ])\?([^?]*)\?="
_ENCODED_WORD = re.compile(_WORD)
_QUOTED = re.compile(rb"=([0-9A-Fa-f]{2})")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
_BLANK_LINE = re.compile(r"[ \t]*\r?\n[ \t]*")
_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")


@lru_cache(maxsize=512)
def codec_for(name: str) -> str | None:
    """The Python codec that a charset's name means, or None for a name that nobody knows.

    Looked up in a table rather than through `codecs.lookup`, which imports modules by the name that a
    stranger wrote and remembers every miss.
    """
    key = _NAME_JUNK.sub("_", name[:64].lower()).strip("_")
    codec = _CODECS.get(key) or _CODECS.get(key.replace("_", "")) or _CODECS.get(key.removeprefix("x_"))
    return _MEANT.get(codec, codec) if codec else None


def decode_bytes(data: bytes, declared: str | None) -> tuple[str, str | None]:
    """Text of `data`, and what was wrong with it in words (None when nothing was).

    In order: the declared charset, UTF-8, what charset-normalizer makes of it, and windows-1252 with
    replacement marks. UTF-8 goes first where the bytes can hardly be anything else: some gateways (Gmail's
    API among them, by many reports) hand out text that is UTF-8 already under its old declaration.
    """
    codec = codec_for(declared) if declared else None
    unknown = f"unknown charset {clean_line(declared)[:40]!r}" if declared and codec is None else None
    if data.isascii() and (codec is None or not _is_stateful(codec)):
        return data.decode("ascii"), unknown
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        codec = "utf-16"
    unicode_text = _strictly(data, "utf-8")
    if unicode_text is not None and (codec is None or _is_surely_utf8(unicode_text, codec)):
        return unicode_text.removeprefix("\ufeff"), unknown
    declared_text = _strictly(data, codec) if codec else None
    if declared_text is not None:
        return declared_text, None
    if unicode_text is not None:
        return unicode_text, f"not in its declared charset {codec}"
    return _guessed(data), unknown or (f"not in its declared charset {codec}" if codec else "no charset declared")


def decode_words(value: str) -> str:
    """`value` with its encoded words (RFC 2047) decoded; what is not one is left as it is.

    Lenient where mailers are not strict: words split within a character are joined before they are decoded,
    Base64 may lack its padding, blanks may stand inside, and an unknown charset falls back as in
    `decode_bytes`. A value that holds none comes back unchanged.
    """
    if "=?" not in value:
        return value
    pieces: list[str] = []
    run = bytearray()
    run_charset = ""
    end = 0
    for word in _ENCODED_WORD.finditer(value):
        between = value[end : word.start()]
        charset = word[1].partition("*")[0].lower()  # RFC 2231 5: a language may follow the charset
        if run_charset and (between.strip() or charset != run_charset):
            pieces.append(decode_bytes(bytes(run), run_charset)[0])
            run.clear()
        if between.strip() or not run_charset:
            pieces.append(between)
        run_charset = charset
        run += _word_bytes(word[2], word[3])
        end = word.end()
    if run_charset:
        pieces.append(decode_bytes(bytes(run), run_charset)[0])
    pieces.append(value[end:])
    return "".join(pieces)


def clean(text: str) -> str:
    """`text` without NUL and lone surrogates, which PostgreSQL refuses; split surrogate pairs are joined."""
    if "\0" in text:
        text = text.replace("\0", "")
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return text


def clean_line(text: str) -> str:
    """`text` as one line: blanks run together, control and text-direction characters removed."""
    if text.isprintable():  # by far the most common; saves a third of the time over a message
        return " ".join(text.split())
    return " ".join(_INVISIBLE.sub(" ", clean(_BLANK_LINE.sub(" ", text))).split())


def _is_stateful(codec: str) -> bool:
    """Whether ASCII bytes may mean something other than ASCII in this codec."""
    return codec.startswith(("iso2022", "utf_7", "utf_16", "utf_32", "hz")) or codec in _EBCDIC


def _is_surely_utf8(text: str, codec: str) -> bool:
    """Whether `text`, which was valid UTF-8, can hardly be meant as `codec`.

    A pair such as "Ã¤" hardly occurs in Western text; in other scripts two or three letters can look like
    UTF-8 by accident, four hardly do.
    """
    if codec == "utf-8":
        return True
    needed = 1 if codec in _WESTERN else 4
    return sum(char > "\x7f" for char in text[:2_000]) >= needed and not codec.startswith(("utf_16", "utf-16"))


def _strictly(data: bytes, codec: str) -> str | None:
    """The text, or None when the bytes are not in this codec."""
    try:
        return data.decode(codec)
    except (UnicodeError, LookupError, ValueError):
        return _latin(data) if codec == "cp1252" else None


def _latin(data: bytes) -> str | None:
    """Latin-1 for the five bytes that windows-1252 leaves open, unless it is surely something else."""
    return data.decode("latin-1") if len(data) > 0 and _strictly(data, "utf-8") is None else None


def _guessed(data: bytes) -> str:
    """What charset-normalizer makes of a sample, applied to the whole; windows-1252 for a few lone accents."""
    runs = [len(run) for run in _HIGH_RUN.findall(data[:_SAMPLE])]
    if sum(runs) < 16 and max(runs, default=0) <= 2:  # too little to guess by: charset-normalizer sees Arabic
        return data.decode("cp1252", "replace")
    try:
        best = from_bytes(data[:_SAMPLE], steps=3, chunk_size=256).best()
        return data.decode(best.encoding if best else "cp1252", "replace")
    except Exception:  # a guess must not cost us the message
        return data.decode("cp1252", "replace")


def _word_bytes(encoding: str, payload: str) -> bytes:
    """The bytes of one encoded word's payload."""
    raw = payload.encode("utf-8", "ignore")
    if encoding in "qQ":
        return _QUOTED.sub(lambda match: bytes((int(match[1], 16),)), raw.replace(b"_", b" "))
    return decode_base64(raw)


def decode_base64(data: bytes) -> bytes:
    """The bytes of a Base64 or base64url string that may hold junk and lack its padding. Never raises."""
    kept = _NOT_BASE64.sub(b"", data.replace(b"-", b"+").replace(b"_", b"/"))
    usable = kept[: len(kept) - 1] if len(kept) % 4 == 1 else kept
    return binascii.a2b_base64(usable + b"=" * (-len(usable) % 4))
