"""E-mail addresses: read from headers as people wrote them, compared by one normal form.

Pure. Header values may come raw or already decoded (Gmail's API has been seen doing either), so a decoded
name may hold an unquoted comma, and an encoded word may hide one. Every function takes any string, never
raises and takes time linear in its length.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources

import idna
from nameparser import HumanName
from publicsuffixlist import PublicSuffixList

from tracker.charsets import clean_line, decode_words

#: RFC 5321 4.5.3.1 allows 64 + 1 + 255; bounce addresses of mailing services go beyond it.
_LONGEST_ADDRESS = 512
_LONGEST_NAME = 256
_GMAIL = {"gmail.com", "googlemail.com"}

#: Stand-ins while a value is read: noncharacters, which no text may hold (Unicode 23.7).
_AT, _BLANK = "\ufdd0", "\ufdd1"

_ENCODED_WORD = re.compile(r"=\?[^?\s]{1,64}\?[bBqQ]\?[^?]*\?=")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ANGLE = re.compile(r"<([^<>]*)>")
_LITERAL = re.compile(r"\[[^\[\],;<>]*\]")
_PLAIN = re.compile(r"""[^"(<\[,;:=]+""")
_ESCAPED = re.compile(r"\\(.)")
_SIMPLE = re.compile(
    r'\s*(?:"([^"\\<>@=]*)"|([^"(),:;<>@\[\]\\=]*))\s*<([^\s"(),:;<>@\[\]\\]+@[A-Za-z0-9.-]+)>\s*'
)
_COMMON = re.compile(r"[A-Za-z0-9._+=-]+@[A-Za-z0-9.-]+")
_MAILTO = re.compile(r"^(?:[<> ]|mailto:)+", re.IGNORECASE)
_ATOM = re.compile(r"[^\s\"(),:;<>@\[\]\\]+")
_WORD_BREAK = re.compile(r"[._\-\s]+")
_TRAILING_DIGITS = re.compile(r"\d+$")
_VIA = re.compile(r"\s+(?:via|über|par)\s+\S.*$", re.IGNORECASE)
_EAST_ASIAN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_COMPANY = re.compile(
    r"(?:inc|incorporated|llc|llp|ltd|limited|corp|corporation|co|company|gmbh|ag|kg|se|sa|sas|sarl|srl|spa|bv|nv"
    r"|oy|ab|as|aps|plc|pty|pte|kk|ltda)",
    re.IGNORECASE,
)


_NOT_IN_A_NAME = re.compile(r"[,;:<>@()\[\]']|=\?")


@dataclass(frozen=True, slots=True)
class Address:
    """One person or list in a header.

    name: the display name, decoded, on one line; "" when there was none.
    address: as written, without brackets, comments and blanks.
    normalized: what addresses are compared by, see `normalize`.
    """

    name: str
    address: str
    normalized: str


def parse_addresses(header_values: Iterable[str]) -> tuple[Address, ...]:
    """The addresses of one or several values of From, To, Cc, Bcc or Reply-To (RFC 5322 3.4), in order.

    Groups are opened, comments become names where there is no other, and what holds no address is skipped.
    """
    found: list[Address] = []
    for value in header_values:
        found += _parse_value(value)
    return tuple(found)


def written(one: Address) -> str:
    """An address as it is kept and shown; read again, it is the same one, whatever its name says."""
    name = " ".join(one.name.replace('"', "'").replace("\\", "").split())
    if not name:
        return one.address
    return f'"{name}" <{one.address}>' if _NOT_IN_A_NAME.search(name) else f"{name} <{one.address}>"


def normalize(address: str) -> str:
    """The form that addresses compare by; `normalize(normalize(a)) == normalize(a)`.

    Blanks and comments stripped, everything lower-cased, the domain in IDNA's ASCII form without a final dot.
    At gmail.com, to which googlemail.com is the same, dots and "+tag" go too
    (https://support.google.com/mail/answer/7436150). Elsewhere "+tag" stays: only that server knows.
    What is no address comes back stripped and lower-cased.
    """
    local, at, domain = _bare(address).rpartition("@")
    if not at or not local or not domain:
        return (local + at + domain).lower()
    domain = _ascii_domain(domain)
    local = _plain_local(local).lower()
    if domain in _GMAIL:
        domain = "gmail.com"
        local = local.partition("+")[0].replace(".", "") or local
    return f"{local}@{domain}"


def domain_of(normalized: str) -> str:
    """The domain of a normalized address; "" when there is none."""
    return normalized.rpartition("@")[2] if "@" in normalized else ""


def organization_domain(normalized: str) -> str | None:
    """The registrable domain that stands for somebody's organization, by the Public Suffix List, offline.

    None for free-mail domains, IP addresses, public suffixes and names without a dot.
    """
    domain = domain_of(normalized)
    if "." not in domain or domain.endswith("]") or domain.replace(".", "").isdigit():
        return None
    registrable = _registrable(domain)
    if registrable is None or is_free_mail(domain) or is_free_mail(registrable):
        return None
    return registrable


def is_free_mail(domain: str) -> bool:
    """Whether anybody can have a mailbox at `domain`, so that it says nothing about an employer."""
    return _ascii_domain(domain.strip()) in _free_mail_domains()


def person_name(address: Address) -> str:
    """What to call the person: "Doe, Jane" becomes "Jane Doe"; without a name, "jane.doe7@" does too."""
    name = _VIA.sub("", _unwrapped(address.name))
    if not name or "@" in name or not any(char.isalpha() for char in name):
        return _name_from_local(address)
    _, comma, after = name.partition(",")
    if comma and not _COMPANY.fullmatch(after.replace(".", "").strip()):
        name = _reordered(name)
    if " " in name and (name.isupper() or name.islower()):
        name = _capitalized(name)
    return name


@dataclass(slots=True)
class _Scan:
    """The state of reading one header value: the piece since the last separator, and what was found."""

    words: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    angle: str | None = None
    has_address: bool = False
    found: list[Address] = field(default_factory=list)

    def add(self, text: str) -> None:
        self.words.append(text)
        self.has_address = self.has_address or "@" in text

    def flush(self) -> None:
        """Take the address out of the piece read so far, and begin a new one."""
        text = "".join(self.words).strip()
        before = len(self.found)
        if self.angle is not None:
            _keep(self.found, text or " ".join(self.comments), self.angle)
        if len(self.found) == before and "@" in text:
            self.found += _bare_addresses(text, " ".join(self.comments))
        self.words.clear()
        self.comments.clear()
        self.angle = None
        self.has_address = False


def _parse_value(value: str) -> list[Address]:
    simple = _SIMPLE.fullmatch(value) if len(value) < 1_000 else None
    if simple:
        found: list[Address] = []
        _keep(found, simple[1] or simple[2] or "", simple[3])
        return found
    found = _scan(value)
    if not found and "=?" in value:  # the whole of it, brackets and all, was put into an encoded word
        found = _scan(decode_words(value))
    return found


def _scan(value: str) -> list[Address]:
    """Read one value token by token.

    A quote or bracket that is never closed is a character like others, and so are all later ones of its kind:
    looking for their ends again and again would take quadratic time.
    """
    state = _Scan()
    open_ended: set[str] = set()
    position = 0
    while position < len(value):
        char = value[position]
        end = position if char in open_ended else _token(state, value, position)
        if end == position:
            if char in '"(<':
                open_ended.add(char)
            state.add(" " if char in '"(<' else char)
            end += 1
        position = end
    state.flush()
    return state.found


def _token(state: _Scan, value: str, position: int) -> int:
    """Take the token at `position` into `state`; where it ends, or `position` itself if it isn't one."""
    char = value[position]
    if char in ",;:":
        _separate(state, char)
        return position + 1
    if char == '"':
        return _take_quoted(state, value, position)
    if char == "(":
        return _take_comment(state, value, position)
    if char == "<":
        return _take_angle(state, value, position)
    match = (_ENCODED_WORD if char == "=" else _LITERAL if char == "[" else _PLAIN).match(value, position)
    if match:
        state.add(match[0])
    return match.end() if match else position


def _separate(state: _Scan, char: str) -> None:
    """A comma without an address before it belongs to a name; what stands before a colon names a group."""
    if state.has_address:
        state.flush()
    elif char == ",":
        state.add(",")
    else:
        state.words.clear()
        state.comments.clear()


def _take_quoted(state: _Scan, value: str, position: int) -> int:
    match = _QUOTED.match(value, position)
    if match is None:
        return position
    is_local_part = value.startswith("@", match.end())
    state.add(match[0].replace(" ", _BLANK) if is_local_part else _hidden(_ESCAPED.sub(r"\1", match[1])))
    return match.end()


def _take_comment(state: _Scan, value: str, position: int) -> int:
    depth = 0
    for index in range(position, len(value)):
        char = value[index]
        if char == "(" and value[index - 1 : index] != "\\":
            depth += 1
        elif char == ")" and value[index - 1] != "\\":
            depth -= 1
            if depth == 0:
                state.comments.append(_hidden(value[position + 1 : index]))
                return index + 1
    return position


def _take_angle(state: _Scan, value: str, position: int) -> int:
    match = _ANGLE.match(value, position)
    if match is None:
        return position
    if state.angle is not None:
        state.flush()
    state.angle = match[1]
    state.has_address = True
    return match.end()


def _hidden(text: str) -> str:
    """Quoted text with its "@" disguised, so that a name in quotes is never taken for an address."""
    return text.replace("@", _AT)


def _shown(text: str) -> str:
    return clean_line(decode_words(text.replace(_AT, "@")))


def _keep(found: list[Address], name: str, raw: str) -> None:
    """Append the address if it is one. A route before it is dropped (RFC 5322 4.4)."""
    if raw.startswith("@"):
        raw = raw.rpartition(":")[2]
    address = _bare(raw)
    if _is_address(address):
        found.append(Address(_unwrapped(_shown(name))[:_LONGEST_NAME], address, normalize(address)))


def _bare_addresses(text: str, comment: str) -> list[Address]:
    """The addresses of a piece without brackets; with a single one, the other words are its name."""
    found: list[Address] = []
    names: list[str] = []
    for word in " ".join(text.split()).replace(" @", "@").replace("@ ", "@").split():
        before = len(found)
        if "@" in word:
            _keep(found, "", word.strip("<>'`,").replace(_BLANK, " "))
        if len(found) == before:
            names.append(word)
    if len(found) == 1:
        one = found.pop()
        _keep(found, " ".join(names) or comment, one.address)
    return found


def _is_address(address: str) -> bool:
    local, at, domain = address.rpartition("@")
    if not at or not local or not domain or len(address) > _LONGEST_ADDRESS:
        return False
    is_quoted = len(local) > 2 and local.startswith('"') and local.endswith('"')
    is_literal = domain.startswith("[") and domain.endswith("]")
    return bool((is_quoted or _ATOM.fullmatch(local)) and (is_literal or _ATOM.fullmatch(domain)))


def _bare(address: str) -> str:
    """`address` without comments, blanks, brackets and "mailto:"."""
    if _COMMON.fullmatch(address):
        return address
    address = clean_line(_without_comments(address) if "(" in address else address)
    if not address.startswith('"'):
        address = "".join(address.split())
    return _MAILTO.sub("", address).rstrip("<> .")


def _without_comments(address: str) -> str:
    kept: list[str] = []
    depth = 0
    for char in address:
        depth += char == "("
        if depth == 0:
            kept.append(char)
        depth -= char == ")" and depth > 0
    return "".join(kept)


def _plain_local(local: str) -> str:
    """A quoted local part without quotes that it doesn't need: "jane"@ is jane@ (RFC 5321 4.1.2)."""
    inner = local[1:-1]
    is_quoted = len(local) > 2 and local[0] == local[-1] == '"'
    return unicodedata.normalize("NFC", inner if is_quoted and _ATOM.fullmatch(inner) else local)


@lru_cache(maxsize=4_096)
def _ascii_domain(domain: str) -> str:
    """The domain in lower case, in IDNA's ASCII form where there is one (UTS 46)."""
    domain = domain.lower().rstrip(".") or domain
    if domain.isascii() or len(domain) > 255:
        return domain
    try:
        return idna.encode(domain, uts46=True).decode("ascii").lower().rstrip(".")
    except (idna.IDNAError, UnicodeError):
        return domain


@lru_cache(maxsize=4_096)
def _registrable(domain: str) -> str | None:
    """One label below the public suffix. Who writes from a private suffix (uk.com) itself owns it."""
    found = _suffixes(only_icann=False).privatesuffix(domain) or _suffixes(only_icann=True).privatesuffix(domain)
    return str(found) if found else None


@lru_cache(maxsize=2)
def _suffixes(*, only_icann: bool) -> PublicSuffixList:
    return PublicSuffixList(only_icann=only_icann)


@lru_cache(maxsize=1)
def _free_mail_domains() -> frozenset[str]:
    text = resources.files("tracker.data").joinpath("free_mail_domains.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.split("\n") if line and not line.startswith("#"))


def _unwrapped(name: str) -> str:
    """`name` without quotes or brackets around the whole of it, as Outlook likes to put them."""
    name = name.strip(" ,;")
    while len(name) > 1 and name[0] + name[-1] in {'""', "''", "‘’", "“”", "()", "<>", "`'"}:
        name = name[1:-1].strip()
    return name


def _name_from_local(address: Address) -> str:
    local = address.address.rpartition("@")[0].strip('"').partition("+")[0]
    words = [_TRAILING_DIGITS.sub("", word) for word in _WORD_BREAK.split(local)]
    return " ".join(word[:1].upper() + word[1:].lower() for word in words if word) or local or address.address


def _reordered(name: str) -> str:
    """Turn "Doe, Jane (Sales)" into "Jane Doe"; a name without a first and a last stays as it was.

    East Asian names keep the family name first, and lose only the comma.
    """
    if _EAST_ASIAN.search(name):
        return " ".join(name.replace(",", " ").split())
    parsed = HumanName(name[:_LONGEST_NAME])
    if not parsed.first or not parsed.last:
        return name
    parts = (parsed.title, parsed.first, parsed.middle, parsed.last, parsed.suffix)
    return " ".join(part for part in parts if part)


def _capitalized(name: str) -> str:
    parsed = HumanName(name[:_LONGEST_NAME])
    parsed.capitalize(force=True)
    return clean_line(str(parsed)) or name
