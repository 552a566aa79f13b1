"""OAuth 2: signing in with Google (OpenID Connect), connecting a mailbox, and the credentials that come of it.

One authorization-code flow with PKCE (RFC 7636), `state` and `nonce` serves both; they differ in the scopes.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import jwt
import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.oauth2 import id_token
from google.oauth2.credentials import Credentials
from google_auth_oauthlib.flow import Flow
from oauthlib.oauth2 import OAuth2Error

IDENTITY_SCOPES = ("openid", "https://www.googleapis.com/auth/userinfo.email",
                   "https://www.googleapis.com/auth/userinfo.profile")  # fmt: skip
#: Read, label, draft and send; not: delete for good.
GMAIL_SCOPE = "https://www.googleapis.com/auth/gmail.modify"
GOOGLE_ISSUERS = ("https://accounts.google.com", "accounts.google.com")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class SignInError(Exception):
    """Google's answer can't be believed or did not come; the text is for the person."""


class NotBegun(SignInError):
    """Nobody came back from a flow of ours: any page may send a browser here, and it proves nothing."""


@dataclass(frozen=True, slots=True)
class Google:
    """Where Google is, and who we are there."""

    api_url: str
    auth_url: str
    token_url: str
    certs_url: str
    client_id: str
    client_secret: str


@dataclass(frozen=True, slots=True)
class Begun:
    """A flow on its way; all but the address is kept in the person's session until they come back."""

    address: str
    state: str
    nonce: str
    code_verifier: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signed in, as Google vouches for it."""

    subject: str
    address: str
    name: str
    workspace: str = ""  #: the domain of the Workspace that the account belongs to (`hd`); empty for anybody's own


def begin(google: Google, redirect_uri: str, *, gmail: bool, nonce: str, login_hint: str = "") -> Begun:
    """Begin a flow: the address to send the person to, and what to keep until they are back."""
    flow = _flow(google, redirect_uri, gmail)
    extra = {"access_type": "offline", "prompt": "consent"} if gmail else {"prompt": "select_account"}
    if login_hint:
        extra["login_hint"] = login_hint
    address, state = flow.authorization_url(nonce=nonce, **extra)
    return Begun(address, state, nonce, flow.code_verifier)


def finish(
    google: Google, redirect_uri: str, kept: Mapping[str, str], answer: Mapping[str, str], *, gmail: bool
) -> tuple[Identity, dict[str, Any]]:
    """Finish a flow with the answer's query parameters; who signed in, and the credentials to keep.

    `kept` holds what `begin` gave. Raises `SignInError`; `NotBegun` before Google is asked anything.
    """
    if answer.get("error"):
        raise NotBegun("You did not agree on Google's page, so nothing was changed")
    if not kept.get("state") or not _same(answer.get("state", ""), kept["state"]):
        raise NotBegun("This sign-in was not begun here, or took too long; please begin again")
    flow = _flow(google, redirect_uri, gmail)
    flow.code_verifier = kept["code_verifier"]
    try:
        flow.fetch_token(code=answer.get("code", ""))
    except (OAuth2Error, requests.RequestException, ValueError) as error:
        raise SignInError("Google did not accept the sign-in; please begin again") from error
    found: Credentials = flow.credentials
    identity = verify(google, str(flow.oauth2session.token.get("id_token", "")), kept["nonce"])
    if gmail and GMAIL_SCOPE not in (found.granted_scopes or found.scopes or ()):
        raise SignInError("Tracker needs the right to read and label your mail; please tick that box too")
    if gmail and not found.refresh_token:
        raise SignInError("Google gave no lasting access; remove Tracker from your account's apps and try again")
    return identity, _to_keep(found)


def verify(google: Google, token: str, nonce: str) -> Identity:
    """Verify an identity token: signature, audience, expiry, issuer, nonce, verified address.

    Raises `SignInError`. Source: OpenID Connect Core 1.0, §3.1.3.7.
    """
    try:
        claims = id_token.verify_token(token, Request(), audience=google.client_id, certs_url=google.certs_url)
    except (GoogleAuthError, ValueError, jwt.PyJWTError) as error:
        raise SignInError("Google's identity token can't be trusted; please begin again") from error
    if claims.get("iss") not in GOOGLE_ISSUERS or not nonce or not _same(claims.get("nonce"), nonce):
        raise SignInError("Google's identity token was not meant for this sign-in; please begin again")
    if not _for_us(google, claims):
        raise SignInError("Google's identity token was made for another application; please begin again")
    if claims.get("email_verified") is not True or not claims.get("email"):
        raise SignInError("Google has not verified this account's e-mail address")
    workspace = claims.get("hd")
    return Identity(
        str(claims["sub"]),
        str(claims["email"]),
        str(claims.get("name") or ""),
        workspace.lower() if isinstance(workspace, str) else "",
    )


def _for_us(google: Google, claims: Mapping[str, Any]) -> bool:
    """Whether a token is ours alone, and ends: the library lets others be named too, and no end."""
    ours = claims.get("aud") in (google.client_id, [google.client_id])
    return (
        ours
        and claims.get("azp", google.client_id) == google.client_id
        and bool(claims.get("exp") and claims.get("sub"))
    )


def _same(one: object, other: str) -> bool:
    return isinstance(one, str) and hmac.compare_digest(one.encode(), other.encode())


def revoke(kept: Mapping[str, Any], *, timeout: float = 20.0) -> bool:
    """Withdraw what Google gave us of an account; whether Google says that it is void. Raises `RequestException`.

    `timeout` is in seconds.

    Source: https://developers.google.com/identity/protocols/oauth2/web-server#tokenrevoke
    """
    address = urljoin(kept["token_uri"], "/revoke")
    answer = requests.post(address, data={"token": kept["refresh_token"]}, timeout=timeout, allow_redirects=False)
    return answer.status_code in (200, 400)  # 400: it was void already


def credentials(kept: Mapping[str, Any]) -> Credentials:
    """The credentials that were kept, ready to be refreshed."""
    return Credentials(
        token=None,
        refresh_token=kept["refresh_token"],
        token_uri=kept["token_uri"],
        client_id=kept["client_id"],
        client_secret=kept["client_secret"],
    )


def authorized_user(content: Any) -> dict[str, Any]:
    """What to keep of google-auth's *authorized user* JSON. Raises `ValueError` naming what is missing."""
    if not isinstance(content, Mapping):
        raise ValueError("expected a JSON object such as `gcloud auth application-default login` writes")  # noqa: TRY004
    names = ("refresh_token", "client_id", "client_secret", "token_uri")
    kept = {name: content.get(name) for name in names}
    kept["token_uri"] = kept["token_uri"] or "https://oauth2.googleapis.com/token"
    missing = [name for name, value in kept.items() if not isinstance(value, str) or not value]
    if missing:
        raise ValueError(f"no {', '.join(missing)} in it")
    return kept


def _to_keep(found: Credentials) -> dict[str, Any]:
    return {
        "refresh_token": found.refresh_token,
        "token_uri": found.token_uri,
        "client_id": found.client_id,
        "client_secret": found.client_secret,
    }


def _flow(google: Google, redirect_uri: str, gmail: bool) -> Flow:
    if urlsplit(google.token_url).hostname in LOOPBACK:
        # The sandbox on this machine speaks plain HTTP, which oauthlib refuses; nowhere else is it let through.
        os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    os.environ.setdefault("OAUTHLIB_RELAX_TOKEN_SCOPE", "1")  # Google may answer with scopes in another order
    config = {
        "web": {
            "client_id": google.client_id,
            "client_secret": google.client_secret,
            "auth_uri": google.auth_url,
            "token_uri": google.token_url,
        }
    }
    scopes = [*IDENTITY_SCOPES, *((GMAIL_SCOPE,) if gmail else ())]
    return Flow.from_client_config(config, scopes, redirect_uri=redirect_uri, autogenerate_code_verifier=True)
