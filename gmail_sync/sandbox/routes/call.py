"""One call of a REST method, ready for its handler, and the readers of its parameters."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from typing import TYPE_CHECKING, Any

from gmail_sync.sandbox.errors import ApiError, insufficient_scopes, invalid
from gmail_sync.sandbox.http import Request
from gmail_sync.sandbox.listing import DEFAULT_PAGE, MAX_PAGE, Wanted
from gmail_sync.sandbox.payload import decode

if TYPE_CHECKING:
    from gmail_sync.sandbox.mailbox import SandboxMailbox
    from gmail_sync.sandbox.sandbox import Sandbox

#: A message with its attachments may have that many bytes (25 MB sent; the API takes 35 MB).
MAX_SIZE = 36_700_160
FORMATS = ("minimal", "full", "raw", "metadata")


@dataclass
class Call:
    """A call: whose mailbox, the path's arguments, the query, the JSON body, an uploaded message."""

    sandbox: Sandbox
    mailbox: SandboxMailbox
    request: Request
    args: dict[str, str]
    scopes: frozenset[str]
    body: dict[str, Any] = field(default_factory=dict)
    media: bytes | None = None

    @property
    def id(self) -> str:
        """The `{id}` of the path."""
        return self.args["id"]

    @property
    def metadata_only(self) -> bool:
        """Whether the token's scopes show headers and labels but no content."""
        return bool(self.scopes) and not self.scopes & {"", "gmail.modify", "gmail.readonly"}

    def raw(self, message: dict[str, Any] | None = None) -> bytes:
        """The message's bytes, uploaded or in `raw`. Raises ApiError 400 when there are none."""
        if self.media is not None:
            return self.media
        text = (self.body if message is None else message).get("raw")
        if not isinstance(text, str) or not text:
            raise invalid("'raw' RFC822 payload message string or uploading message via /upload/* URL required")
        try:
            raw = decode(text)
        except ValueError:
            raise invalid("Invalid value at 'message.raw' (TYPE_BYTES), Base64 decoding failed") from None
        if len(raw) > MAX_SIZE:
            raise ApiError(413, "uploadTooLarge", "Message too large")
        return raw

    def strings(self, name: str, limit: int) -> list[str]:
        """A list of strings in the body. Raises ApiError 400 for anything else, or too many."""
        value = self.body.get(name) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise invalid(f"Invalid value at '{name}'")
        if len(value) > limit:
            raise invalid(f"Too many values in '{name}': {limit} is the limit")
        return value

    def number(self, name: str, default: int, most: int) -> int:
        """A query parameter that counts, cut to what is allowed."""
        text = self.request.one(name, str(default))
        if not re.fullmatch(r"\d{1,10}", text):
            raise invalid(f"Invalid value at '{name}' (TYPE_UINT32), \"{text}\"")
        return min(int(text) or default, most)

    def flag(self, name: str) -> bool:
        """A query parameter that is true or false."""
        return self.request.one(name, "false").lower() in ("true", "1")

    def format(self, *allowed: str) -> str:
        """The `format` parameter. Raises ApiError 400 for one that the method does not have."""
        fmt = self.request.one("format", "full").lower()
        if fmt not in (allowed or FORMATS):
            raise invalid(f"Invalid value at 'format' (TYPE_ENUM), \"{fmt}\"")
        if self.metadata_only and fmt in ("full", "raw"):
            if "format" in self.request.query:
                raise ApiError(403, "forbidden", f"Metadata scope doesn't allow format {fmt.upper()}")
            return "metadata"
        return fmt

    def wanted(self) -> Wanted:
        """What a listing asks for. Raises ApiError 403 for `q` under a scope for metadata only."""
        query = self.request.query
        if self.metadata_only and self.request.one("q"):
            raise ApiError(403, "forbidden", "Metadata scope does not support 'q' parameter")
        return Wanted(
            q=self.request.one("q"),
            label_ids=tuple(dict.fromkeys(query.get("labelIds", []))),
            include_spam_trash=self.flag("includeSpamTrash"),
            limit=self.number("maxResults", DEFAULT_PAGE, MAX_PAGE),
            token=self.request.one("pageToken") or None,
        )


Handler = Callable[[Call], dict[str, Any] | None]
_PARAMETER = re.compile(r"\{(\w+)\}")
_STANDARD_NAMES = """
    alt fields key prettyPrint quotaUser userIp access_token oauth_token callback uploadType
    upload_protocol $.xgafv $alt
"""
_STANDARD = frozenset(_STANDARD_NAMES.split())


@dataclass(frozen=True)
class Route:
    """A method of the API: its name, where it answers, who may call it, what parameters it takes."""

    method_id: str
    http_method: str
    template: str
    handler: Handler
    scopes: frozenset[str]
    parameters: frozenset[str] = frozenset()
    upload: bool = False

    @property
    def pattern(self) -> re.Pattern[str]:
        """The path that it answers to, with or without /upload for those that take a message."""
        prefix = "(?P<upload>/upload|/resumable/upload)?" if self.upload else ""
        inner = _PARAMETER.sub(r"(?P<\1>[^/]+)", self.template)
        return re.compile(f"{prefix}/gmail/v1/users/(?P<userId>[^/]+)/{inner}")

    def check(self, request: Request, scopes: frozenset[str]) -> None:
        """Refuse a token without a fitting scope (403) and parameters that don't exist (400)."""
        if not scopes & self.scopes:
            raise insufficient_scopes()
        for name in request.query:
            if name not in self.parameters and name not in _STANDARD:
                raise invalid(
                    f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter. '
                    f"Field '{name}' could not be found in request message."
                )


def read_body(request: Request, upload: bool) -> tuple[dict[str, Any], bytes | None]:
    """The JSON body, and the message that came with it by `uploadType` media or multipart."""
    if not upload:
        return _json(request.body), None
    if request.one("uploadType") == "media":
        return {}, request.body
    if request.one("uploadType") == "multipart":
        return _related(request)
    raise invalid("Invalid upload request")


def _related(request: Request) -> tuple[dict[str, Any], bytes]:
    head = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    boundary = BytesParser().parsebytes(head, headersonly=True).get_boundary()
    pieces = request.body.split(b"--" + (boundary or "").encode()) if boundary else []
    if len(pieces) < 4:
        raise invalid("Invalid multipart request: two parts are needed")
    bare = [piece.removeprefix(b"\r\n").removeprefix(b"\n") for piece in pieces]
    parts = [re.split(rb"\r?\n\r?\n", piece, maxsplit=1) for piece in bare]
    if len(parts[1]) < 2 or len(parts[2]) < 2:
        raise invalid("Invalid multipart request: a part has no content")
    return _json(parts[1][1]), parts[2][1].removesuffix(b"\n").removesuffix(b"\r")


def _json(data: bytes) -> dict[str, Any]:
    if not data.strip():
        return {}
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise ApiError(400, "parseError", "Invalid JSON payload received.") from None
    if not isinstance(value, dict):
        raise ApiError(400, "parseError", "Invalid JSON payload received. Root element must be a message.")
    return value
