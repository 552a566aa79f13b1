"""The vault: credentials encrypted at rest, with a key from settings that can be rotated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracker.secrets import Cipher, SecretsError

PURPOSE = b"tracker credentials"


class VaultError(Exception):
    """What was stored can't be read with the keys at hand."""


class Vault:
    """Encrypts with the present secret key, decrypts with it or a former one."""

    def __init__(self, secret_key: str, old_secret_keys: Sequence[str] = ()) -> None:
        self._cipher = Cipher(PURPOSE, secret_key, old_secret_keys)

    def seal(self, content: Mapping[str, Any]) -> bytes:
        """Encrypt a JSON object."""
        return self._cipher.seal(content)

    def open(self, sealed: bytes) -> dict[str, Any]:
        """Decrypt a JSON object. Raises `VaultError`."""
        try:
            return self._cipher.open(sealed)
        except SecretsError:
            raise VaultError("The stored credentials were encrypted with another secret key") from None

    def with_key(self, secret_key: str) -> Cipher:
        """What opens what only this key has encrypted."""
        return self._cipher.with_key(secret_key)

    def reseal(self, sealed: bytes) -> bytes:
        """The same content, encrypted with the present key. Raises `SecretsError`."""
        return self._cipher.reseal(sealed)
