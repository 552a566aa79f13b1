"""The demo team's own work: tasks, notes, calls, links and a view, as `demo_work.toml` tells them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import activities, due, links, people, pipelines, tasks, views
from tracker.activities import ActivityKind
from tracker.boxes import Box
from tracker.people import User

TOLD = Path(__file__).with_suffix(".toml")


def seed(session: Session, users: Mapping[str, User], now: datetime) -> None:
    """Write down what the team did with the boxes that are there; `users` by address."""
    told = tomllib.loads(TOLD.read_text("utf-8"))
    team_id = next(iter(users.values())).team_id
    boxes = {box.name: box for box in session.scalars(select(Box).where(Box.team_id == team_id))}
    for one in told["task"]:
        _task(session, users[one["by"]], boxes[one["box"]], one, now)
    for one in told["note"]:
        _note(session, users, boxes[one["box"]], one, now)
    for one in told["link"]:
        links.link(session, _viewer(next(iter(users.values()))), boxes[one["one"]], boxes[one["other"]])
    for one in told["view"]:
        _view(session, users[one["by"]], one)


def _viewer(user: User) -> people.Viewer:
    return people.viewer_of(user, "demo")


def _task(session: Session, user: User, box: Box, told: Mapping[str, Any], now: datetime) -> None:
    due_on = due.today(user.time_zone, now) + timedelta(days=told["due"])
    at = now - timedelta(days=max(10, 10 - told["due"]))
    task = tasks.create(session, _viewer(user), told["title"], box=box, due_on=due_on, now=at)
    if told.get("done"):
        tasks.complete(session, _viewer(user), task, now + timedelta(days=told["due"]))


def _note(session: Session, users: Mapping[str, User], box: Box, told: Mapping[str, Any], now: datetime) -> None:
    at = now - timedelta(days=told["days"])
    activities.add(
        session,
        _viewer(users[told["by"]]),
        box,
        ActivityKind(told["kind"]),
        told["text"],
        at=at,
        minutes=told.get("minutes"),
        people=list(users.values()),
        now=at,
    )


def _view(session: Session, user: User, told: Mapping[str, Any]) -> None:
    pipeline = next(one for one in pipelines.of_team(session, user.team_id) if one.name == told["pipeline"])
    keys = {stage.name: stage.key for stage in pipeline.stages}
    query = {name: keys.get(value, value) for name, value in told["query"].items()}
    views.save(session, _viewer(user), pipeline, told["name"], query, shared=told["shared"])
