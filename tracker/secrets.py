"""Secrets at rest: JSON encrypted with a key from settings that can be rotated. One key for each purpose."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class SecretsError(Exception):
    """What was stored can't be read with the keys at hand."""


class Cipher:
    """Encrypts with the present secret key, decrypts with it or a former one."""

    def __init__(self, purpose: bytes, secret_key: str, old_secret_keys: Sequence[str] = ()) -> None:
        self._purpose = purpose
        self._fernet = MultiFernet([_derived(purpose, key) for key in (secret_key, *old_secret_keys)])

    def seal(self, content: Mapping[str, Any]) -> bytes:
        """Encrypt a JSON object."""
        return self._fernet.encrypt(json.dumps(content, sort_keys=True).encode())

    def open(self, sealed: bytes) -> dict[str, Any]:
        """Decrypt a JSON object. Raises `SecretsError`."""
        try:
            content = json.loads(self._fernet.decrypt(sealed))
        except InvalidToken:
            raise SecretsError("It was encrypted with another TRACKER_SECRET_KEY") from None
        assert isinstance(content, dict)
        return content

    def with_key(self, secret_key: str) -> Cipher:
        """A cipher for the same purpose that knows this key and no other."""
        return Cipher(self._purpose, secret_key)

    def opens(self, sealed: bytes | None) -> bool:
        """Whether our keys open what was encrypted."""
        try:
            self._fernet.decrypt(sealed or b"")
        except InvalidToken:
            return False
        return True

    def reseal(self, sealed: bytes) -> bytes:
        """The same content, encrypted with the present key. Raises `SecretsError`."""
        try:
            return self._fernet.rotate(sealed)
        except InvalidToken:
            raise SecretsError("It was encrypted with another TRACKER_SECRET_KEY") from None


def _derived(purpose: bytes, secret: str) -> Fernet:
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(secret.encode())
    return Fernet(base64.urlsafe_b64encode(key))
