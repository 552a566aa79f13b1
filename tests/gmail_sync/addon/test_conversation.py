"""The whole conversation with the panel, as Gmail has it: each change in the database, told, and on an open board.

And the law: whatever keys are given, nothing of a box that one may not see is shown, told or changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from scheduler.outbox import ScheduledEmail
from scheduler.states import State
from tests.gmail_sync.addon.client import Panel
from tests.gmail_sync.addon.house import House
from tests.gmail_sync.addon.test_box import box_of
from tests.gmail_sync.syncing import ALICE, BOB
from tests.sandbox_fixtures import Api, as_raw, mail
from tests.tracker.domain import a_box, pipeline
from tests.tracker.web.factories_web import browser_of
from tracker import access, fields, filing, sharing, tasks, topics
from tracker.access import BoxMember, PipelineMember
from tracker.boxes import Box
from tracker.db import transaction, utc_now
from tracker.filing import FILED, Filing
from tracker.tasks import Task
from tracker.topics import Watch

DANA = "dana@acme.test"
MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Board:
    """A teammate's open board: it hears of topics, and fetches its columns again."""

    def __init__(self, house: House, who: str, dsn: str) -> None:
        self.house, self.browser = house, browser_of(house.app, house.user(who))
        self.heard: set[str] = set()
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.connection.execute(f"LISTEN {topics.CHANNEL}")
        with house.sessions() as session:
            self.key = pipeline(session, house.viewer().team_id).key

    def hears(self) -> set[str]:
        """What was told since it was asked last."""
        told: set[str] = set()
        for one in self.connection.notifies(timeout=0.2):
            team_id, names = topics.parse(one.payload)
            assert team_id == self.house.viewer().team_id
            told |= names
        return told

    def column(self, name: str) -> str:
        """A stage's column, as the page fetches it when it is told."""
        with self.house.sessions() as session:
            stages = {one.name: one.key for one in pipeline(session, self.house.viewer().team_id).stages}
        answer = self.browser.get(f"/p/{self.key}/stages/{stages[name]}?shown=20", headers={"HX-Request": "true"})
        assert answer.status_code == 200
        return answer.text


@contextmanager
def board(house: House, who: str) -> Iterator[Board]:
    """A board that is open meanwhile."""
    dsn = house.sessions.kw["bind"].url.set(drivername="postgresql").render_as_string(hide_password=False)
    made = Board(house, who, dsn)
    try:
        yield made
    finally:
        made.connection.close()


def test_open_tag_move_schedule_share(house: House) -> None:
    house.sandbox.add_user(DANA)
    house.at(MONDAY)
    sent = house.mail(sender=f"Dana Okafor <{DANA}>", subject="Your offer", text="What does it cost?")
    panel = house.panel()
    with board(house, BOB) as open_board:
        # open a message → tag into a new box
        panel.open(sent.gmail_id).press("New box…").choose("Pipeline", "Sales").press("Make it")
        assert panel.says == "Acme – Dana Okafor is new in Sales"
        with house.sessions() as session:
            box = box_of(session, "Acme – Dana Okafor")
            assert session.scalars(select(Filing.state).where(Filing.box_id == box.id)).one() == FILED
            first, then = (one.name for one in box.pipeline.stages[:2])
            watch = Watch.of(house.user(BOB).key, f"pipeline:{box.pipeline.key},box:{box.key}")
        assert panel.chosen("Stage") == [first]
        assert watch.hits(frozenset(open_board.hears())) == {f"pipeline:{box.pipeline.key}", f"box:{box.key}"}
        assert box.name in open_board.column(first)

        # stage moved
        panel.choose("Stage", then)
        with house.sessions() as session:
            stages = {f"stage:{one.key}" for one in box_of(session, box.name).pipeline.stages[:2]}
        assert stages <= open_board.hears()
        assert box.name in open_board.column(then)
        assert box.name not in open_board.column(first)

        # mail scheduled
        Api(house.sandbox, ALICE).post("drafts", {"message": {"raw": as_raw(mail("The offer", to=DANA))}})
        panel.compose([DANA], subject="The offer").press("outbox.send_at_nine")
        with house.sessions() as session:
            email = session.scalars(select(ScheduledEmail)).one()
            assert (email.state, email.subject) == (State.QUEUED, "The offer")
        panel.open(sent.gmail_id)
        assert "The offer" in panel.text

        # thread shared
        open_board.hears()
        with house.sessions() as session:
            assert sharing.why(session, house.viewer(BOB), [sent.message_id])[sent.message_id].rule == "default"
        panel.press("Share", {"share-with": [house.user(BOB).key]})
        assert f"box:{box.key}" in open_board.hears()
        with house.sessions() as session:
            found = sharing.why(session, house.viewer(BOB), [sent.message_id])[sent.message_id]
            assert found.rule == "grant.conversation"
            key = house.conversation(session, sent).key
    answer: FlaskClient = open_board.browser
    assert "What does it cost?" in answer.get(f"/c/{key}").text


# -- the law

ACTIONS = (
    "box.move", "box.assign", "box.take_out", "box.fields", "box.save_fields", "tag.find", "tag.file",
    "tag.accept", "tag.decline", "tag.new", "tag.create", "task.add", "task.save", "task.finish", "note.add",
    "note.save",
)  # fmt: skip
SECRET = "Zanzibar"


def _hide(session: Session, house: House, way: str) -> dict[str, str]:
    """A box of Alice's that Bob may not see, with work in it; its keys by what they are."""
    viewer = house.viewer()
    sales = pipeline(session, viewer.team_id)
    field = fields.add(session, viewer, sales.id, f"{SECRET} field", "text")
    box = a_box(session, viewer, f"{SECRET} deal", now=utc_now())
    task = tasks.create(session, viewer, f"{SECRET} task", box=box, now=utc_now())
    access.open_to(session, viewer, sales if way == "pipeline" else box, access.PEOPLE)
    if way == "both":
        access.open_to(session, viewer, sales, access.PEOPLE)
    stage = box.pipeline.stages[2]
    return {"box": box.key, "task": task.key, "stage": stage.key, "field": field.key, "pipeline": sales.key}


def _state(house: House) -> list[object]:
    """All that there is of it."""
    with house.sessions() as session:
        box = session.scalars(select(Box)).one()
        filings = session.execute(text("SELECT id, state, box_id FROM filings ORDER BY id")).all()
        tasks_ = session.execute(select(Task.title, Task.done_at).order_by(Task.id)).all()
        return [box.stage_id, box.owner_id, box.values, box.version, filings, tasks_]


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink takes minutes
)  # fmt: skip
@given(data=st.data())
def _law(house: House, panel: Panel, keys: dict[str, str], data: st.DataObject) -> None:
    before = _state(house)
    key = st.sampled_from([*keys.values(), "", "nonsense"])
    names = ["box", "task", "filing", "stage", "version", "again", f"was-{keys['field']}"]
    inputs = [
        f"stage-{keys['box']}", f"owner-{keys['box']}", f"field-{keys['field']}", "work-box", "task-title",
        "task-owner", "note-text", "tag-find", "new-pipeline", "new-stage", "new-name",
    ]  # fmt: skip
    params = data.draw(st.dictionaries(st.sampled_from(names), key, max_size=4))
    given_ = data.draw(st.dictionaries(st.sampled_from(inputs), st.lists(key, min_size=1, max_size=2), max_size=5))
    name = data.draw(st.sampled_from(ACTIONS))
    if name == "tag.create":  # in a pipeline of one's own it makes a box, as it should
        given_["new-pipeline"] = [keys["pipeline"]]
        if keys["way"] == "box":
            return
    panel.cards = []
    panel.do(name, given_, **{"box": keys["box"], **params})
    assert panel.status == 200
    assert SECRET not in str(panel.answer)
    assert _state(house) == before


def test_nothing_of_a_box_that_one_may_not_see_is_shown_told_or_changed(house: House) -> None:
    """Bob holds the mail that Alice filed in her box; he knows its key, and those of all that is in it."""
    both = f"{ALICE}, {BOB}"
    hers = house.mail(ALICE, to=both, message_id="<both@outside.example>")
    his = house.mail(BOB, to=both, message_id="<both@outside.example>")
    for way, filed in (("box", True), ("pipeline", False), ("both", True)):
        with transaction(house.sessions) as session:
            keys = _hide(session, house, way)
            if filed:
                filing.file(session, house.viewer(), house.conversation(session, hers), box_of_key(session, keys))
        panel = house.panel(BOB).open(his.gmail_id)
        assert SECRET not in str(panel.answer)
        assert "Put it into a box" in panel.text
        _law(house, panel, {**keys, "way": way})
        assert SECRET not in str(house.panel(BOB).home().answer)
        assert SECRET in str(house.panel().open(hers.gmail_id).answer) or not filed
        with transaction(house.sessions) as session:
            for table in (Filing, Task, BoxMember, PipelineMember, Box, fields.Field):
                session.execute(table.__table__.delete())
            session.execute(text("UPDATE pipelines SET access = 'team'"))


def box_of_key(session: Session, keys: dict[str, str]) -> Box:
    """The hidden box."""
    return session.scalars(select(Box).where(Box.key == keys["box"])).one()
