"""Who sees mail that waits: its sender; teammates only where it goes outside from a box that is there."""

from __future__ import annotations

from sqlalchemy import event, select, text, update

from scheduler.outbox import ScheduledEmail
from scheduler.sequences import SequenceRun
from tests.scheduler.web.conftest import DANA, MONDAY, Desk
from tests.tracker.web.factories_web import BOB
from tracker import boxes


def sees(desk: Desk) -> bool:
    """Whether Bob sees what Alice queued on the box."""
    (email,) = desk.queued()
    page = desk.bob.get(f"/outbox/{email.key}")
    assert ("The offer" in desk.bob.get(f"/b/{desk.box.key}").text) == (page.status_code == 200)
    return page.status_code == 200


def test_a_teammate_sees_what_goes_outside_from_a_box(desk: Desk) -> None:
    desk.alice.post("/compose", data=desk.write())
    assert sees(desk)


def test_internal_mail_is_nobody_elses(desk: Desk) -> None:
    desk.alice.post("/compose", data=desk.write())
    desk.session.execute(update(ScheduledEmail).values(recipients=[BOB]))
    desk.session.commit()
    (email,) = desk.queued()
    assert desk.bob.get(f"/outbox/{email.key}").status_code == 404
    assert desk.alice.get(f"/outbox/{email.key}").status_code == 200


def test_a_deleted_box_shares_nothing(desk: Desk) -> None:
    desk.alice.post("/compose", data=desk.write())
    (email,) = desk.queued()
    box = desk.session.merge(desk.box)
    boxes.delete(desk.session, desk.team.viewer, box, MONDAY)
    desk.session.commit()
    assert desk.bob.get(f"/outbox/{email.key}").status_code == 404


INSIDE = {"to": BOB, "subject": "About the raise"}


def test_what_happens_to_internal_mail_is_told_to_its_sender_alone(desk: Desk) -> None:
    desk.alice.post("/compose", data=desk.write(**INSIDE))
    desk.alice.post("/compose", data=desk.write())
    (email, _) = desk.queued()
    desk.alice.post(f"/outbox/{email.key}/hold")
    theirs, ours = (one.get(f"/b/{desk.box.key}").text for one in (desk.bob, desk.alice))
    assert "queued “The offer” to" in theirs
    assert "About the raise" not in theirs
    assert "queued “About the raise” to" in ours
    assert "held “About the raise”" in ours


def test_what_was_internal_stays_so_when_the_mail_goes_outside_after_all(desk: Desk) -> None:
    desk.alice.post("/compose", data=desk.write(**INSIDE))
    (email,) = desk.queued()
    form = desk.write(version=email.version, when="keep")
    assert desk.alice.post(f"/outbox/{email.key}/edit", data=form).status_code == 303
    for page in (f"/b/{desk.box.key}", f"/outbox/{email.key}"):
        theirs, ours = (one.get(page).text for one in (desk.bob, desk.alice))
        assert "changed the queued mail “The offer”" in theirs
        assert "About the raise" not in theirs
        assert "queued “About the raise” to" in ours


def test_the_follow_ups_of_internal_mail_are_its_senders_alone(desk: Desk) -> None:
    steps = {"follow_days-1": "3", "follow_text-1": "Any news?"}
    desk.alice.post("/compose", data=desk.write(**INSIDE, **steps))
    (run,) = desk.session.scalars(select(SequenceRun))
    theirs, ours = (one.get(f"/b/{desk.box.key}").text for one in (desk.bob, desk.alice))
    assert "About the raise" not in theirs
    assert "follow-ups for “About the raise”" in ours
    assert desk.bob.post(f"/sequences/{run.key}/stop").status_code == 404


def test_whom_bcc_hides_no_event_names(desk: Desk) -> None:
    desk.alice.post("/compose", data=desk.write(to="", bcc=DANA))
    (email,) = desk.queued()
    assert "queued “The offer” to somebody who is not in To" in desk.bob.get(f"/b/{desk.box.key}").text
    assert DANA not in desk.bob.get(f"/outbox/{email.key}").text


def test_a_mails_history_is_found_by_an_index(desk: Desk) -> None:
    desk.alice.post("/compose", data=desk.write())
    (email,) = desk.queued()
    fill = "INSERT INTO events (team_id, kind, actor, data) SELECT :team, 'email.sent', 'system', "
    fill += "jsonb_build_object('email', 'other' || n) FROM generate_series(1, 3000) n"
    desk.session.execute(text(fill), {"team": email.team_id})
    desk.session.commit()
    desk.session.execute(text("ANALYZE events"))
    asked: list[tuple[str, object]] = []

    def note(_connection: object, _cursor: object, statement: str, values: object, *_: object) -> None:
        if "FROM events" in statement and "LIMIT" in statement:
            asked.append((statement, values))

    engine = desk.session.get_bind()
    event.listen(engine, "before_cursor_execute", note)
    try:
        assert "queued “The offer”" in desk.alice.get(f"/outbox/{email.key}").text
    finally:
        event.remove(engine, "before_cursor_execute", note)
    ((statement, values),) = asked
    plan = desk.session.connection().exec_driver_sql(f"EXPLAIN {statement}", values).scalars().all()
    assert "ix_events_of_mail" in "\n".join(plan)
