"""The vault: credentials encrypted at rest, with a key from settings that can be rotated."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PURPOSE = b"tracker credentials"


class VaultError(Exception):
    """What was stored can't be read with the keys at hand."""


class Vault:
    """Encrypts with the present secret key, decrypts with it or a former one."""

    def __init__(self, secret_key: str, old_secret_keys: Sequence[str] = ()) -> None:
        self._fernet = MultiFernet([_derived(key) for key in (secret_key, *old_secret_keys)])

    def seal(self, content: Mapping[str, Any]) -> bytes:
        """Encrypt a JSON object."""
        return self._fernet.encrypt(json.dumps(content, sort_keys=True).encode())

    def open(self, sealed: bytes) -> dict[str, Any]:
        """Decrypt a JSON object. Raises `VaultError`."""
        try:
            content = json.loads(self._fernet.decrypt(sealed))
        except InvalidToken:
            raise VaultError(
                "The stored credentials were encrypted with another TRACKER_SECRET_KEY; set the former one in "
                "TRACKER_OLD_SECRET_KEYS, or connect the mailbox again"
            ) from None
        assert isinstance(content, dict)
        return content


def _derived(secret: str) -> Fernet:
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret.encode())
    return Fernet(base64.urlsafe_b64encode(key))
