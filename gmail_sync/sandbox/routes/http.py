"""The WSGI application: from the wire to the API, the accounts server and the control verbs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from gmail_sync.sandbox import batch, control
from gmail_sync.sandbox.errors import ApiError
from gmail_sync.sandbox.faults import ConnectionDropped
from gmail_sync.sandbox.http import Request, Response, html_response, json_response, parse_query
from gmail_sync.sandbox.routes import table

if TYPE_CHECKING:
    from gmail_sync.sandbox.sandbox import Sandbox

log = logging.getLogger(__name__)

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]


class App:
    """WSGI over one sandbox. ConnectionDropped goes through to the server, which closes the connection."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        answer = self.respond(read_request(environ))
        headers = [(name, value) for name, value in answer.headers.items()]
        if answer.status != 204:
            headers.append(("Content-Length", str(len(answer.body))))
        start_response(answer.line, headers)
        return [answer.body]

    def respond(self, request: Request) -> Response:
        """The answer to a request; what goes wrong inside is a 500 in Google's shape, and logged."""
        try:
            return self._dispatch(request)
        except ConnectionDropped:
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return json_response(ApiError(500, "backendError").body(), 500)

    def _dispatch(self, request: Request) -> Response:
        path = request.path
        if path.startswith(("/gmail/v1/", "/upload/", "/resumable/")):
            return table.handle(self._sandbox, request)
        if path in ("/batch", "/batch/gmail/v1") and request.method == "POST":
            return batch.handle(self._sandbox, request)
        if path.startswith("/sandbox/") or path == "/sandbox":
            return control.handle(self._sandbox, request)
        return self._accounts(request)

    def _accounts(self, request: Request) -> Response:
        oauth, path = self._sandbox.oauth, request.path
        if path == "/token" and request.method == "POST":
            return self._struck("oauth.token", request, oauth.token)
        if path == "/revoke" and request.method == "POST":
            return self._struck("oauth.revoke", request, oauth.revoke)
        if path == "/o/oauth2/v2/auth":
            return self._struck("oauth.auth", request, oauth.authorize)
        if path == "/oauth2/v3/userinfo":
            return self._struck("oauth.userinfo", request, oauth.userinfo)
        if path == "/oauth2/v3/certs":
            return json_response(self._sandbox.keys.jwks(), headers={"Cache-Control": "public, max-age=3600"})
        if path in ("/oauth2/v1/certs", "/robot/v1/metadata/x509/gmail-push"):
            return json_response(self._sandbox.keys.certificates())
        if path == "/.well-known/openid-configuration":
            return oauth.configuration()
        if path == "/":
            return html_response("Gmail sandbox", "<p>A local Gmail for trying and testing. It is running.</p>")
        return json_response(ApiError(404, "notFound").body(), 404)

    def _struck(self, method: str, request: Request, act: Callable[[Request], Response]) -> Response:
        """Act unless a fault strikes; an OAuth error has RFC 6749's shape."""
        user = self._sandbox.oauth.user_of(request) if method == "oauth.token" else None
        try:
            fault = self._sandbox.faults.strike(method, user)
        except ApiError as error:
            body = {"error": error.reason, "error_description": error.message}
            return json_response(body, error.status, error.headers)
        answer = act(request)
        if fault:
            raise ConnectionDropped(method)
        return answer


def read_request(environ: Environ) -> Request:
    """A request with all its body read, so that the connection can be used again."""
    path = environ.get("PATH_INFO", "/").encode("latin-1").decode("utf-8", "replace")
    headers = {
        name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")
    }
    headers["content-type"] = environ.get("CONTENT_TYPE", "")
    length = environ.get("CONTENT_LENGTH")
    if length:
        body = environ["wsgi.input"].read(int(length))
    else:
        body = environ["wsgi.input"].read() if environ.get("wsgi.input_terminated") else b""
    query = parse_query(environ.get("QUERY_STRING", ""))
    return Request(environ["REQUEST_METHOD"].upper(), unquote(path) if "%" in path else path, query, headers, body)
