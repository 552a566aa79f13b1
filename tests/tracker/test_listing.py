"""Listing the rows of a table, page by page, in any order."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box, a_team, pipeline
from tracker import boxes, facts, fields, listing, people, pipelines
from tracker.listing import CursorError, Listing
from tracker.people import Viewer
from tracker.pipelines import Pipeline


def a_listing(session: Session, viewer: Viewer, sales: Pipeline, **args: str) -> Listing:
    columns = fields.of_pipeline(session, sales.id)
    look = listing.parse(args, sales, columns, pipelines.of_pipeline(session, sales.id))
    return Listing(session, viewer, look, NOW)


def all_pages(found: Listing, limit: int) -> list[str]:
    seen: list[str] = []
    after: str | None = None
    for _ in range(50):
        page = found.page(after, limit)
        seen += [row.box.name for row in page.rows]
        if page.more is None:
            return seen
        after = str(page.more)
    raise AssertionError("no end")


def test_every_order_and_grouping_gives_each_box_once_and_in_the_same_order_for_any_page(session: Session) -> None:
    viewer = people.viewer_of(a_team(session), "test")
    sales = pipeline(session, viewer.team_id)
    columns = fields.of_pipeline(session, sales.id)
    for number in range(9):
        box = a_box(
            session, viewer, f"Deal {number}", f"p{number}@a{number % 4}.test",
            at="Lead" if number % 2 else "Won", now=NOW - timedelta(days=number % 3),
        )  # fmt: skip
        for field in columns:
            value = {"money": f"{number % 3} EUR", "date": "2026-12-01", "text": "words"}.get(field.type)
            if number % 3 and value:
                boxes.set_value(session, viewer, box, field, value)
        if number % 4 == 0:
            at = {"at": NOW - timedelta(hours=number), "id": box.id}
            session.execute(
                text("UPDATE box_facts SET last_mail_at = :at, last_sent_at = :at WHERE box_id = :id"), at
            )
    known = a_listing(session, viewer, sales).look.columns
    for group in (key for key, one in known.items() if one.grouping):
        found = a_listing(session, viewer, sales, group=group)
        assert all_pages(found, 2) == all_pages(found, 100)
    names = sorted(f"Deal {number}" for number in range(9))
    for column in known.values():
        for sort in (f"{column.key},-name", f"-{column.key}") if column.order else ():
            for group in ("", "owner") if sort.startswith("-") else ("",):
                found = a_listing(session, viewer, sales, sort=sort, group=group)
                whole = all_pages(found, 100)
                assert sorted(whole) == names, (sort, group)
                assert all_pages(found, 4) == whole, (sort, group)


def test_newest_mail_and_creation_are_read_from_an_index(session: Session) -> None:
    viewer = people.viewer_of(a_team(session), "test")
    sales = pipeline(session, viewer.team_id)
    for number in range(3):
        facts.refresh(session, [a_box(session, viewer, f"Deal {number}").id])
    session.execute(text("SET LOCAL enable_seqscan = off"))
    session.execute(text("SET LOCAL enable_sort = off"))
    session.execute(text("SET LOCAL enable_bitmapscan = off"))
    told: list[str] = []
    for sort, index in (
        ("-created", "ix_boxes_pipeline_id_created_at"),
        ("-last_mail", "ix_box_facts_pipeline_id_last_mail_at"),
        ("next_task", "ix_box_facts_pipeline_id_next_task_on"),
        ("-days", "ix_boxes_stage_id_rank"),
    ):
        statements: list[str] = []
        found = a_listing(session, viewer, sales, sort=sort)
        original = session.execute

        def explained(statement: object, *args: object, _run=original, _into=statements, **more: object):  # type: ignore[no-untyped-def]
            if hasattr(statement, "compile") and "s0" in str(statement):
                compiled = statement.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
                _into.append(
                    "\n".join(row[0] for row in _run(text("EXPLAIN " + str(compiled).replace(":", "\\:"))))
                )
            return _run(statement, *args, **more)

        session.execute = explained  # type: ignore[method-assign]
        try:
            found.page(None, 50)
        finally:
            session.execute = original  # type: ignore[method-assign]
        told.append(statements[0])
        assert index in statements[0], (sort, statements[0])


def test_a_made_up_place_is_refused(session: Session) -> None:
    viewer = people.viewer_of(a_team(session), "test")
    sales = pipeline(session, viewer.team_id)
    half = base64.urlsafe_b64encode(b'["", ["2026-01-01T00:00:00+00:00"], "\\ud800"]').decode()
    for given in ("x", "e30", "WyIiLFtdLCJrIl0", "WyIiLFsibm8iXSwiayJd", "\u00e9", half):
        with pytest.raises(CursorError):
            a_listing(session, viewer, sales).page(given)
