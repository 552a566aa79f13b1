"""Where we listen: whether a port is free, asked before anything is started, and its address."""

from __future__ import annotations

import socket


class PortTaken(Exception):
    """Somebody else listens there; the text says what to do."""


def reachable(host: str) -> str:
    """The address by which this machine reaches what listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def address(host: str, port: int) -> str:
    """`http://host:port`, an IPv6 host in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def check(host: str, port: int, setting: str) -> None:
    """Raise `PortTaken` unless `host:port` is free; `setting` is the variable that names another."""
    remedy = f"stop what uses it, or set {setting} to another port"
    # Binding alone would not tell: a listener may have asked to share its port.
    try:
        socket.create_connection((reachable(host), port), timeout=1).close()
    except OSError:
        pass
    else:
        raise PortTaken(f"Something listens on {host}:{port} already; {remedy}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(f"{host}:{port} can't be listened on ({error.strerror}); {remedy}") from None
