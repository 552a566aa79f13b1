"""Upkeep of `Message.outside`: whatever makes an address ours, or no more, puts its mail right at once.

It hangs on the rows themselves, so that nobody who writes them can forget it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, event, inspect, select

from tracker import ours
from tracker.invitations import AllowedDomain
from tracker.people import OwnAddress, Role, User


def _address(_: Any, connection: Connection, row: OwnAddress) -> None:
    ours.addresses_changed(connection, row.team_id, [row.normalized])


def _domain(_: Any, connection: Connection, row: AllowedDomain) -> None:
    ours.domain_changed(connection, row.team_id, row.domain)


def _joined(_: Any, connection: Connection, user: User) -> None:
    if user.workspace and user.role != Role.GUEST:
        ours.domain_changed(connection, user.team_id, user.workspace)


def _user(_: Any, connection: Connection, user: User) -> None:
    """Somebody became a guest, or is one no more, or their Google account was learnt."""
    state = inspect(user)
    role, workspace = state.attrs.role.history, state.attrs.workspace.history
    if role.has_changes() and Role.GUEST in (*role.added, *(role.deleted or ())):
        own = select(OwnAddress.normalized).where(OwnAddress.user_id == user.id)
        ours.addresses_changed(connection, user.team_id, list(connection.scalars(own)))
    elif not workspace.has_changes():
        return
    for domain in {*workspace.added, *(workspace.deleted or ()), *workspace.unchanged} - {None}:
        ours.domain_changed(connection, user.team_id, domain)


for name in ("after_insert", "after_update", "after_delete"):
    event.listen(OwnAddress, name, _address)
    event.listen(AllowedDomain, name, _domain)
event.listen(User, "after_insert", _joined)
event.listen(User, "after_update", _user)
