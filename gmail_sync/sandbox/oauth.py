"""OAuth 2.0 and OpenID Connect, as Google's accounts and token servers speak them.

Sources: RFC 6749, RFC 7636 (PKCE), https://developers.google.com/identity/openid-connect/openid-connect
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import html
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from gmail_sync.sandbox.http import Request, Response, html_response, json_response
from gmail_sync.sandbox.keys import b64
from gmail_sync.sandbox.tokens import ACCESS_LIFETIME, Grant

if TYPE_CHECKING:
    from gmail_sync.sandbox.sandbox import Sandbox

#: Who Google's id tokens say that they are from.
ISSUER = "https://accounts.google.com"
#: Seconds that an authorization code lasts.
CODE_LIFETIME = 60
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_LONG_NAMES = {
    "email": "https://www.googleapis.com/auth/userinfo.email",
    "profile": "https://www.googleapis.com/auth/userinfo.profile",
}


@dataclass(frozen=True)
class Code:
    """An authorization code that waits to be exchanged."""

    user_id: int
    redirect_uri: str
    scopes: frozenset[str]
    nonce: str
    challenge: str
    challenge_method: str
    offline: bool
    expires_at: float


@dataclass
class Refusal(Exception):
    """An error of RFC 6749 §5.2."""

    error: str
    description: str
    status: int = 400

    def response(self) -> Response:
        """The refusal as the token endpoint answers it."""
        headers = {"WWW-Authenticate": "Basic"} if self.status == 401 else {}
        return json_response({"error": self.error, "error_description": self.description}, self.status, headers)


class OAuth:
    """The accounts server of one sandbox. Codes live in memory: they last a minute."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._codes: dict[str, Code] = {}
        self._used: dict[str, str] = {}

    # -- the consent page

    def authorize(self, request: Request) -> Response:
        """/o/oauth2/v2/auth: choose an account, or with `as=` be signed in as it at once."""
        redirect_uri = request.one("redirect_uri")
        if request.one("client_id") != self._sandbox.client_id:
            return _error_page("The OAuth client was not found.", "invalid_client", 401)
        if not self._is_allowed(redirect_uri):
            return _error_page("The redirect URI is not registered.", "redirect_uri_mismatch", 400)
        problem = _problem(request)
        if request.one("as") and not problem:
            return self._signed_in(request, redirect_uri)
        if request.one("prompt") == "none" and not problem:
            problem = "interaction_required"
        if problem:
            return _redirect(redirect_uri, {"error": problem, "state": request.one("state")})
        return self._chooser(request, redirect_uri)

    def _is_allowed(self, redirect_uri: str) -> bool:
        parts = urlsplit(redirect_uri)
        if redirect_uri in self._sandbox.redirect_uris:
            return True
        return parts.scheme == "http" and parts.hostname in _LOOPBACK and not parts.fragment

    def _chooser(self, request: Request, redirect_uri: str) -> Response:
        hint = request.one("login_hint").lower()
        mailboxes = sorted(self._sandbox.mailboxes(), key=lambda box: (box.address.lower() != hint, box.address))
        given = [(name, value) for name, values in request.query.items() for value in values]
        items = "".join(
            f'<li><a class="choice" href="?{html.escape(urlencode([*given, ("as", box.address)]))}">'
            f"{html.escape(box.name or box.address)}<br><small>{html.escape(box.address)}</small></a></li>"
            for box in mailboxes
        )
        denied = _target(redirect_uri, {"error": "access_denied", "state": request.one("state")})
        scopes = "".join(f"<li>{html.escape(scope)}</li>" for scope in request.one("scope").split())
        return html_response(
            "Choose an account",
            "<p>This is the Gmail sandbox: nobody’s real account is asked for.</p>"
            + (f"<ul>{items}</ul>" if items else "<p>There is no user yet. Add one, then reload this page.</p>")
            + f"<p>The application asks for:</p><ul>{scopes}</ul>"
            + f"<p><a href='{html.escape(denied)}'>Cancel</a></p>",
        )

    def _signed_in(self, request: Request, redirect_uri: str) -> Response:
        try:
            mailbox = self._sandbox.mailbox(request.one("as"))
        except KeyError:
            return _error_page("The sandbox has no such user.", "unknown_user", 400)
        code = "4/0A" + secrets.token_urlsafe(32)
        offline = request.one("access_type") == "offline" and (
            "consent" in request.one("prompt")
            or not self._sandbox.tokens.has_refresh(mailbox.user_id, self._sandbox.client_id)
        )
        self._codes[code] = Code(
            mailbox.user_id, redirect_uri, _scopes(request.one("scope")), request.one("nonce"),
            request.one("code_challenge"), request.one("code_challenge_method") or "plain", offline,
            self._sandbox.clock().timestamp() + CODE_LIFETIME,
        )  # fmt: skip
        scope = " ".join(sorted(_scopes(request.one("scope"))))
        answer = {"code": code, "scope": scope, "state": request.one("state")}
        return _redirect(redirect_uri, answer | {"authuser": "0", "prompt": "consent"})

    # -- the token endpoint

    def token(self, request: Request) -> Response:
        """/token: exchange a code or refresh."""
        form = request.form()
        try:
            self._authenticate(request, form)
            answer = self._grant(form)
        except Refusal as refusal:
            return refusal.response()
        return json_response(answer, headers={"Cache-Control": "no-store"})

    def _grant(self, form: dict[str, str]) -> dict[str, Any]:
        if form.get("grant_type") == "authorization_code":
            return self._exchange(form)
        if form.get("grant_type") == "refresh_token":
            return self._refresh(form)
        raise Refusal("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type', '')}")

    def user_of(self, request: Request) -> str | None:
        """The address that a token request is about, where it can be told (for faults by user)."""
        form = request.form()
        code = self._codes.get(form.get("code", ""))
        grant = self._sandbox.tokens.find("refresh", form.get("refresh_token", ""))
        user_id = code.user_id if code else grant.user_id if grant else None
        return self._sandbox.mailbox_by_id(user_id).address if user_id else None

    def _authenticate(self, request: Request, form: dict[str, str]) -> None:
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                client_id, _, secret = base64.b64decode(given).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                raise Refusal("invalid_client", "Malformed Authorization header.", 401) from None
        known = hmac.compare_digest(client_id.encode(), self._sandbox.client_id.encode())
        if not known:
            raise Refusal("invalid_client", "The OAuth client was not found.", 401)
        if not hmac.compare_digest(secret.encode(), self._sandbox.client_secret.encode()):
            raise Refusal("invalid_client", "Unauthorized", 401)

    def _exchange(self, form: dict[str, str]) -> dict[str, Any]:
        given = form.get("code", "")
        code = self._codes.pop(given, None)
        if code is None or code.expires_at <= self._sandbox.clock().timestamp():
            if given in self._used:  # RFC 6749 §4.1.2: what a code gave is withdrawn when it is used again
                self._sandbox.tokens.revoke(self._used[given])
            raise Refusal("invalid_grant", "Malformed auth code.")
        if form.get("redirect_uri") != code.redirect_uri:
            raise Refusal("redirect_uri_mismatch", "Bad Request")
        _check_verifier(code, form.get("code_verifier", ""))
        answer = self._answer(code.user_id, code.scopes, code.nonce)
        if code.offline:
            issue = self._sandbox.tokens.issue
            answer["refresh_token"] = issue("refresh", code.user_id, self._sandbox.client_id, code.scopes)
        self._used[given] = answer["access_token"]
        return answer

    def _refresh(self, form: dict[str, str]) -> dict[str, Any]:
        grant = self._sandbox.tokens.find("refresh", form.get("refresh_token", ""))
        if grant is None or grant.client_id != self._sandbox.client_id:
            raise Refusal("invalid_grant", "Token has been expired or revoked.")
        wanted = _scopes(form.get("scope", "")) or grant.scopes
        if not wanted <= grant.scopes:
            raise Refusal("invalid_scope", "Some requested scopes were not granted.")
        return self._answer(grant.user_id, wanted, "")

    def _answer(self, user_id: int, scopes: frozenset[str], nonce: str) -> dict[str, Any]:
        token = self._sandbox.tokens.issue("access", user_id, self._sandbox.client_id, scopes)
        answer = {
            "access_token": token,
            "expires_in": ACCESS_LIFETIME - 1,
            "scope": " ".join(sorted(scopes)),
            "token_type": "Bearer",
        }
        if "openid" in scopes:
            answer["id_token"] = self._sandbox.keys.sign(self._claims(user_id, scopes, nonce, token))
        return answer

    def _claims(self, user_id: int, scopes: frozenset[str], nonce: str, token: str) -> dict[str, Any]:
        now = int(self._sandbox.clock().timestamp())
        half = hashlib.sha256(token.encode()).digest()[:16]
        claims = {"iss": self._sandbox.issuer, "azp": self._sandbox.client_id, "aud": self._sandbox.client_id}
        claims |= self._profile(user_id, scopes) | {"at_hash": b64(half)}
        return claims | ({"nonce": nonce} if nonce else {}) | {"iat": now, "exp": now + ACCESS_LIFETIME}

    def _profile(self, user_id: int, scopes: frozenset[str]) -> dict[str, Any]:
        mailbox = self._sandbox.mailbox_by_id(user_id)
        claims: dict[str, Any] = {"sub": f"1{user_id:020d}"}
        if _LONG_NAMES["email"] in scopes:
            claims |= {"email": mailbox.address, "email_verified": True}
        if _LONG_NAMES["profile"] in scopes:
            claims |= {"name": mailbox.name or mailbox.address, "given_name": mailbox.name.split(" ")[0]}
        return claims

    # -- the rest

    def revoke(self, request: Request) -> Response:
        """/revoke: withdraw a grant by its access or refresh token."""
        token = request.form().get("token") or request.one("token")
        if not self._sandbox.tokens.revoke(token):
            return Refusal("invalid_token", "Token expired or revoked").response()
        return json_response({})

    def userinfo(self, request: Request) -> Response:
        """/oauth2/v3/userinfo: the claims that the access token's scopes allow."""
        grant: Grant | None = self._sandbox.tokens.find("access", request.bearer)
        if grant is None:
            return Refusal("invalid_request", "Invalid Credentials", 401).response()
        return json_response(self._profile(grant.user_id, grant.scopes))

    def configuration(self) -> Response:
        """/.well-known/openid-configuration."""
        url = self._sandbox.url
        return json_response(
            {
                "issuer": self._sandbox.issuer,
                "authorization_endpoint": f"{url}/o/oauth2/v2/auth",
                "token_endpoint": f"{url}/token",
                "userinfo_endpoint": f"{url}/oauth2/v3/userinfo",
                "revocation_endpoint": f"{url}/revoke",
                "jwks_uri": f"{url}/oauth2/v3/certs",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid", "email", "profile"],
                "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
                "claims_supported": ["aud", "email", "email_verified", "exp", "iat", "iss", "name", "sub"],
                "code_challenge_methods_supported": ["plain", "S256"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
            }
        )


def _scopes(text: str) -> frozenset[str]:
    return frozenset(_LONG_NAMES.get(scope, scope) for scope in text.split())


def _problem(request: Request) -> str:
    if request.one("response_type") != "code":
        return "unsupported_response_type"
    if not request.one("scope").split():
        return "invalid_scope"
    method = request.one("code_challenge_method")
    return "invalid_request" if method and method not in ("S256", "plain") else ""


def _check_verifier(code: Code, verifier: str) -> None:
    if not code.challenge:
        return
    if not verifier:
        raise Refusal("invalid_grant", "Missing code verifier.")
    digest = b64(hashlib.sha256(verifier.encode()).digest()) if code.challenge_method == "S256" else verifier
    if not hmac.compare_digest(digest.encode(), code.challenge.encode()):
        raise Refusal("invalid_grant", "Invalid code verifier.")


def _target(uri: str, values: dict[str, str]) -> str:
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{uri}{'&' if '?' in uri else '?'}{query}"


def _redirect(uri: str, values: dict[str, str]) -> Response:
    return Response(302, b"", {"Location": _target(uri, values), "Cache-Control": "no-store"})


def _error_page(sentence: str, error: str, status: int) -> Response:
    return html_response("Access blocked", f"<p>{html.escape(sentence)}</p><p>Error: {error}</p>", status)
