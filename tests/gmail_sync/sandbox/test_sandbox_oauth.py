"""OAuth 2.0 and OpenID Connect, the good way and the bad ones."""

import hashlib
from urllib.parse import parse_qs, urlsplit

import google.oauth2.credentials
import pytest
import requests
from google.auth import jwt
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import AuthorizedSession, Request

from gmail_sync.sandbox import Fault
from gmail_sync.sandbox.keys import b64
from tests.sandbox_fixtures import ALICE, BOB

REDIRECT = "http://127.0.0.1:8000/oauth/callback"
VERIFIER = "v" * 50
SCOPES = "openid email profile https://www.googleapis.com/auth/gmail.modify"


@pytest.fixture
def flow(make_sandbox, clock):
    return Flow(make_sandbox(clock=clock))


class Flow:
    """A sign-in, step by step."""

    def __init__(self, sandbox):
        self.sandbox = sandbox

    def authorize(self, **changes):
        challenge = b64(hashlib.sha256(VERIFIER.encode()).digest())
        query = {
            "client_id": self.sandbox.client_id, "redirect_uri": REDIRECT, "response_type": "code",
            "scope": SCOPES,
            "state": "st4te", "nonce": "n0nce", "access_type": "offline", "prompt": "consent", "as": ALICE,
            "code_challenge": challenge, "code_challenge_method": "S256",
        } | changes  # fmt: skip
        query = {name: value for name, value in query.items() if value is not None}
        return requests.get(f"{self.sandbox.url}/o/oauth2/v2/auth", params=query, allow_redirects=False, timeout=5)

    def code(self, **changes):
        return answered(self.authorize(**changes))["code"]

    def token(self, **changes):
        form = {
            "grant_type": "authorization_code", "redirect_uri": REDIRECT, "code_verifier": VERIFIER,
            "client_id": self.sandbox.client_id, "client_secret": self.sandbox.client_secret,
        } | changes  # fmt: skip
        return requests.post(f"{self.sandbox.url}/token", data=form, timeout=5)

    def profile(self, token):
        headers = {"Authorization": f"Bearer {token}"}
        return requests.get(
            f"{self.sandbox.url}/gmail/v1/users/me/profile", headers=headers, timeout=5
        ).status_code


def answered(response):
    assert response.status_code == 302, response.text
    assert response.headers["Location"].startswith(REDIRECT)
    return {name: values[0] for name, values in parse_qs(urlsplit(response.headers["Location"]).query).items()}


def test_a_sign_in_gives_tokens_and_a_signed_identity(flow):
    location = answered(flow.authorize())
    assert location["state"] == "st4te"
    answer = flow.token(code=location["code"]).json()
    assert flow.profile(answer["access_token"]) == 200
    certificates = requests.get(f"{flow.sandbox.url}/oauth2/v1/certs", timeout=5).json()
    claims = jwt.decode(answer["id_token"], certs=certificates, verify=False)
    configuration = requests.get(f"{flow.sandbox.url}/.well-known/openid-configuration", timeout=5).json()
    assert claims["iss"] == configuration["issuer"]
    assert claims["aud"] == flow.sandbox.client_id
    assert (claims["email"], claims["email_verified"], claims["name"]) == (ALICE, True, "Alice Archer")
    assert (claims["nonce"], claims["exp"] - claims["iat"]) == ("n0nce", 3600)
    (key,) = requests.get(configuration["jwks_uri"], timeout=5).json()["keys"]
    assert key["kid"] in certificates
    assert jwt.decode_header(answer["id_token"])["kid"] == key["kid"]


def test_the_identitys_signature_holds(make_sandbox):
    flow = Flow(make_sandbox())
    token = flow.token(code=flow.code()).json()["id_token"]
    certificates = requests.get(f"{flow.sandbox.url}/oauth2/v1/certs", timeout=5).json()
    assert jwt.decode(token, certs=certificates, audience=flow.sandbox.client_id)["email"] == ALICE
    head, _, signature = token.split(".")
    forged = f"{head}.{b64(b'{}')}.{signature}"
    with pytest.raises(ValueError):
        jwt.decode(forged, certs=certificates)


def test_the_consent_page_lists_the_users_as_links(flow):
    page = flow.authorize(**{"as": None})
    assert page.status_code == 200
    assert page.text.index("bob@example.com") > page.text.index("alice@example.com")
    hinted = flow.authorize(**{"as": None, "login_hint": BOB}).text
    assert hinted.index(BOB) < hinted.index(ALICE)
    assert "<script" not in page.text
    nasty = flow.authorize(**{"as": None, "state": '"><script>'}).text
    assert "<script" not in nasty


def test_a_code_is_used_once_and_using_it_again_withdraws_what_it_gave(flow):
    code = flow.code()
    answer = flow.token(code=code).json()
    again = flow.token(code=code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert flow.profile(answer["access_token"]) == 401


def test_a_code_is_short_lived(flow, clock):
    code = flow.code()
    clock.advance(seconds=61)
    assert flow.token(code=code).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"code_verifier": "w" * 50}, 400, "invalid_grant"),
        ({"code_verifier": ""}, 400, "invalid_grant"),
        ({"redirect_uri": "http://127.0.0.1:8000/other"}, 400, "redirect_uri_mismatch"),
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "wrong"}, 401, "invalid_client"),
        ({"code": "4/wrong"}, 400, "invalid_grant"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
def test_wrong_exchanges_are_refused(flow, changes, status, error):
    answer = flow.token(**({"code": flow.code()} | changes))
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert "access_token" not in answer.json()


def test_wrong_authorizations_are_refused(flow):
    assert flow.authorize(client_id="wrong").status_code == 401
    for uri in ("https://evil.example/cb", "http://127.0.0.1.evil.example/", "javascript:alert(1)", ""):
        assert flow.authorize(redirect_uri=uri).status_code == 400, uri
    assert flow.authorize(**{"as": "nobody@example.com"}).status_code == 400
    assert answered(flow.authorize(response_type="token"))["error"] == "unsupported_response_type"
    assert answered(flow.authorize(scope=""))["error"] == "invalid_scope"
    assert answered(flow.authorize(code_challenge_method="S512"))["error"] == "invalid_request"
    assert answered(flow.authorize(**{"as": None, "prompt": "none"}))["error"] == "interaction_required"
    flow.sandbox.redirect_uris.append("https://tracker.example/cb")
    assert flow.authorize(redirect_uri="https://tracker.example/cb").status_code == 302


def test_client_may_authenticate_by_basic(flow):
    form = {
        "grant_type": "authorization_code",
        "code": flow.code(),
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    auth = (flow.sandbox.client_id, flow.sandbox.client_secret)
    assert requests.post(f"{flow.sandbox.url}/token", data=form, auth=auth, timeout=5).status_code == 200


def test_refresh_token_comes_offline_and_first_or_on_consent(flow):
    assert "refresh_token" not in flow.token(code=flow.code(access_type="online")).json()
    assert "refresh_token" in flow.token(code=flow.code(prompt="")).json()
    assert "refresh_token" not in flow.token(code=flow.code(prompt="")).json()
    assert "refresh_token" in flow.token(code=flow.code(prompt="consent")).json()


def test_access_tokens_expire_and_are_refreshed(flow, clock):
    answer = flow.token(code=flow.code()).json()
    clock.advance(seconds=3601)
    assert flow.profile(answer["access_token"]) == 401
    fresh = flow.token(grant_type="refresh_token", refresh_token=answer["refresh_token"])
    assert flow.profile(fresh.json()["access_token"]) == 200
    wider = {"refresh_token": answer["refresh_token"], "scope": "https://mail.google.com/"}
    assert flow.token(grant_type="refresh_token", **wider).json()["error"] == "invalid_scope"


def test_revoking_ends_the_grant(flow):
    answer = flow.token(code=flow.code()).json()
    url = f"{flow.sandbox.url}/revoke"
    assert requests.post(url, data={"token": answer["refresh_token"]}, timeout=5).status_code == 200
    assert flow.profile(answer["access_token"]) == 401
    assert requests.post(url, data={"token": answer["refresh_token"]}, timeout=5).status_code == 400


def test_google_auth_refreshes_until_the_mailbox_is_revoked(sandbox):
    info = {name: value for name, value in sandbox.credentials(ALICE).items() if name != "type"}
    session = AuthorizedSession(google.oauth2.credentials.Credentials(None, **info))
    assert session.get(f"{sandbox.url}/gmail/v1/users/me/profile").status_code == 200
    sandbox.mailbox(ALICE).revoke()
    with pytest.raises(RefreshError, match="invalid_grant"):
        session.get(f"{sandbox.url}/gmail/v1/users/me/profile")


def test_a_fault_on_the_token_endpoint_has_oauths_shape(sandbox):
    sandbox.faults.add(Fault("status", method="oauth.token", user=ALICE, status=400, reason="invalid_grant"))
    info = {name: value for name, value in sandbox.credentials(ALICE).items() if name != "type"}
    with pytest.raises(RefreshError, match="invalid_grant"):
        google.oauth2.credentials.Credentials(None, **info).refresh(Request())


def test_userinfo_says_what_the_scopes_allow(flow):
    answer = flow.token(code=flow.code()).json()
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    url = f"{flow.sandbox.url}/oauth2/v3/userinfo"
    assert requests.get(url, headers=headers, timeout=5).json()["email"] == ALICE
    assert requests.get(url, timeout=5).status_code == 401
