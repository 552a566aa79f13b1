"""The sandbox's signing key: RS256 tokens, and the two forms in which Google publishes its keys.

Sources: RFC 7515 (JWS), RFC 7517 (JWK), https://www.googleapis.com/oauth2/v1/certs (PEM by key id).
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from gmail_sync.sandbox.store import Store


def b64(data: bytes) -> str:
    """URL-safe base64 without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Keys:
    """One RSA key, made when first needed and kept with the data."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._key: rsa.RSAPrivateKey | None = None

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A JWT over these claims, signed with RS256."""
        header = {"alg": "RS256", "kid": self.key_id, "typ": "JWT"}
        signed = ".".join(b64(json.dumps(part).encode()) for part in (header, dict(claims)))
        signature = self._private().sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{b64(signature)}"

    @property
    def key_id(self) -> str:
        """The `kid` of the key: a digest of its modulus."""
        return hashlib.sha256(_bytes(self._private().public_key().public_numbers().n)).hexdigest()[:40]

    def jwks(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set (Google's /oauth2/v3/certs)."""
        numbers = self._private().public_key().public_numbers()
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.key_id}
        return {"keys": [key | {"n": b64(_bytes(numbers.n)), "e": b64(_bytes(numbers.e))}]}

    def certificates(self) -> dict[str, str]:
        """Key id to a self-signed X.509 certificate in PEM (Google's /oauth2/v1/certs)."""
        key, now = self._private(), datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gmail-sandbox")])
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365))
            .sign(key, hashes.SHA256())
        )
        return {self.key_id: certificate.public_bytes(serialization.Encoding.PEM).decode()}

    def _private(self) -> rsa.RSAPrivateKey:
        with self._lock:
            if self._key is None:
                loaded = serialization.load_pem_private_key(self._store.meta("key", _make), None)
                assert isinstance(loaded, rsa.RSAPrivateKey)
                self._key = loaded
            return self._key


def _make() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
