"""A mail as its recipient's mailbox has it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage

from gmail_sync.sandbox import Sandbox

URL = "https://tracker.example.com"
PIXEL = re.compile(rf'<img src="{URL}/t/([A-Za-z0-9_-]{{32}})\.gif"')
LINK = re.compile(rf'href="{URL}/l/([A-Za-z0-9_-]{{32}})"')


@dataclass(frozen=True)
class Got:
    """Its bytes, and what is in them."""

    raw: bytes

    @property
    def message(self) -> EmailMessage:
        """Parsed."""
        found = message_from_bytes(self.raw, policy=policy.default)
        assert isinstance(found, EmailMessage)
        return found

    def body(self, kind: str) -> str:
        """Its HTML, or its plain text."""
        part = self.message.get_body((kind,))
        return str(part.get_content()) if part is not None else ""

    @property
    def pixels(self) -> list[str]:
        """Tokens of pixels."""
        return PIXEL.findall(self.body("html"))

    @property
    def links(self) -> list[str]:
        """Tokens of links."""
        return LINK.findall(self.body("html"))


def newest(sandbox: Sandbox, address: str, label: str = "INBOX") -> Got:
    """The newest mail with a label in somebody's mailbox."""
    box = sandbox.mailbox(address)
    return Got(box.raw(next(id_ for id_ in box.message_ids() if label in box.label_ids(id_))))
