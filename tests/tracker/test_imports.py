"""Importing a CSV file into a pipeline."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW, a_box, a_team, pipeline, stage
from tracker import (
    boxes,
    csv_files,
    exports,
    fields,
    import_plan,
    import_run,
    imports,
    listing,
    people,
    pipelines,
    totals,
)
from tracker.boxes import Box
from tracker.contacts import Contact
from tracker.csv_files import CsvError, guard, read, unguard
from tracker.events import Event
from tracker.facts import BoxFacts
from tracker.import_run import Done
from tracker.imports import Import, ImportFailed
from tracker.listing import Listing
from tracker.people import User, Viewer
from tracker.pipelines import Pipeline

FILE = (
    "Deal,Stage,Email,Company,Value,Close date,Score\n"
    "Acme,Lead,Anna Archer <anna@acme.test>,Acme Corp,1000 EUR,2026-12-01,7\n"
    'Byte,won,bob@byte.test,,"2.500,50 USD",,8\n'
    "Coal,,,,,,\n"
)


@pytest.fixture
def alice(session: Session) -> User:
    return a_team(session)


@pytest.fixture
def viewer(alice: User) -> Viewer:
    return people.viewer_of(alice, "test")


@pytest.fixture
def sales(session: Session, viewer: Viewer) -> Pipeline:
    return pipeline(session, viewer.team_id)


def uploaded(session: Session, viewer: Viewer, sales: Pipeline, data: str | bytes, **options: Any) -> Import:
    """A file whose columns are as guessed, but for those that are named by their headings' numbers."""
    data = data.encode() if isinstance(data, str) else data
    columns = fields.of_pipeline(session, sales.id)
    made = imports.upload(session, viewer, sales, "deals.csv", data, columns)
    chosen = made.mapping["columns"] | {key[1:]: value for key, value in options.items() if key.startswith("_")}
    rest = {key: value for key, value in options.items() if not key.startswith("_")}
    imports.set_mapping(session, made, {**made.mapping, **rest, "columns": chosen}, columns)
    return made


def taken_in(session: Session, viewer: Viewer, sales: Pipeline, data: str | bytes, **options: Any) -> Done:
    return import_run.run(session, viewer, uploaded(session, viewer, sales, data, **options), NOW)


def errors(session: Session, viewer: Viewer, sales: Pipeline, data: str, **options: Any) -> dict[int, list[str]]:
    plan = import_plan.make(session, viewer, uploaded(session, viewer, sales, data, **options))
    return {line.number: line.errors for line in plan.wrong()}


def named(session: Session, name: str) -> Box:
    return session.scalars(select(Box).where(Box.name == name)).one()


def test_makes_boxes_with_all_that_lines_say(session: Session, viewer: Viewer, sales: Pipeline) -> None:
    close = next(one for one in fields.of_pipeline(session, sales.id) if one.name == "Expected close")
    done = taken_in(session, viewer, sales, FILE, _5=f"f.{close.key}", _6="new:number")
    assert done.counts == {"new": 3, "change": 0, "same": 0, "wrong": 0}
    assert done.addresses == {"anna@acme.test", "bob@byte.test"}
    acme, byte, coal = (named(session, name) for name in ("Acme", "Byte", "Coal"))
    assert (acme.stage.name, byte.stage.name, coal.stage.name) == ("Lead", "Won", "Prospect")
    assert [one.name for one in acme.contacts] == ["Anna Archer"]
    assert acme.organization
    assert acme.organization.name == "Acme Corp"
    assert byte.organization
    assert byte.organization.name == "Byte"  # by its contact's domain
    assert (str(byte.value_amount), byte.value_currency) == ("2500.50", "USD")
    score = next(one for one in fields.of_pipeline(session, sales.id) if one.name == "Score")
    assert (acme.values[close.key], acme.values[score.key]) == ("2026-12-01", "7")
    assert acme.owner_id == viewer.user_id
    found = totals.of_pipeline(session, sales.id)
    assert sum(one.boxes for one in found.values()) == 3
    assert session.scalar(select(func.count()).select_from(BoxFacts)) == 3
    kinds = session.scalars(select(Event.kind).where(Event.box_id == acme.id).order_by(Event.id)).all()
    assert kinds == ["box.created", "box.contact_added"]


def test_the_same_file_again_changes_nothing(session: Session, viewer: Viewer, sales: Pipeline) -> None:
    taken_in(session, viewer, sales, FILE, _6="new:number")
    before = session.scalar(select(func.max(Event.id)).where(Event.box_id.is_not(None)))
    for match in ("name", "contact"):
        done = taken_in(session, viewer, sales, FILE, match=match)
        assert done.counts == {"new": 0, "change": 0, "same": 3, "wrong": 0}
    assert session.scalar(select(func.max(Event.id)).where(Event.box_id.is_not(None))) == before
    assert session.scalar(select(func.count()).select_from(Box)) == 3
    assert session.scalar(select(func.count()).select_from(Contact)) == 2


def test_changes_boxes_as_a_person_would(session: Session, viewer: Viewer, sales: Pipeline) -> None:
    bob = people.add_user(session, viewer.team_id, "bob@team.example", name="Bob Baker")
    box = a_box(session, viewer, "Acme", "anna@acme.test", at="Lead")
    version = box.version
    file = f"Box key,Name,Stage,Owner,Value,Contacts\n{guard(box.key)},Acme 2,Won,bob baker,99.90,eve@acme.test\n"
    assert taken_in(session, viewer, sales, file).counts["change"] == 1
    session.expire_all()
    assert (box.name, box.stage.name, box.owner_id, box.version) == ("Acme 2", "Won", bob.id, version + 1)
    assert str(box.value_amount) == "99.90"
    assert {one.addresses[0].address for one in box.contacts} == {"anna@acme.test", "eve@acme.test"}
    rows = session.scalars(select(Event).where(Event.box_id == box.id).order_by(Event.id)).all()[2:]
    assert sorted(row.kind for row in rows) == [
        "box.assigned", "box.contact_added", "box.field", "box.moved", "box.renamed",
    ]  # fmt: skip
    moved = next(row for row in rows if row.kind == "box.moved")
    assert (moved.data["from"], moved.data["to"], moved.data["why"]) == ("Lead", "Won", "imported from deals.csv")
    found = totals.of_pipeline(session, sales.id)
    assert found[stage(session, sales, "Won").id].boxes == 1


def test_tells_what_is_wrong_by_line_in_words(session: Session, viewer: Viewer, sales: Pipeline) -> None:
    file = (
        "Name,Stage,Owner,Email,Value,Expected close\n"
        "Good,Lead,,,,\n"
        "A,Nowhere,,,,\n"
        "B,,Nobody Known,,,\n"
        "C,,,no address,,\n"
        "D,,,,much,soon\n"
        '"Two\nlines",,,,,\n'
        "good,,,,,\n"
        ",,,,5,\n"
        "E,,,alice@team.example,,\n"
        "F,,,,,,,extra\n"
    )
    found = errors(session, viewer, sales, file)
    assert sorted(found) == [3, 4, 5, 6, 9, 10, 11, 12]
    assert "there is no stage “Nowhere”; there are Prospect" in found[3][0]
    assert "nobody of the team" in found[4][0]
    assert "“no address” is no address" in found[5][0]
    assert len(found[6]) == 2
    assert found[9] == ["The same box as line 2; keep one of the two"]
    assert found[10] == ["A new box needs a name"]
    assert "team's own" in found[11][0]
    assert "8 cells and the header 6" in found[12][0]


def test_one_wrong_line_and_nothing_is_imported_unless_it_may_be_left_out(
    session: Session, viewer: Viewer, sales: Pipeline
) -> None:
    file = "Name,Stage\nGood,Lead\nBad,Nowhere\n"
    with pytest.raises(ImportFailed, match="1 of 2 lines"):
        taken_in(session, viewer, sales, file)
    assert session.scalar(select(func.count()).select_from(Box)) == 0
    made = uploaded(session, viewer, sales, file, bad="leave")
    assert import_run.run(session, viewer, made, NOW).counts == {"new": 1, "change": 0, "same": 0, "wrong": 1}
    assert made.result["left_out"][0][:2] == [3, ["Bad", "Nowhere"]]
    with pytest.raises(ImportFailed, match="already"):
        import_run.run(session, viewer, made, NOW)


def test_a_stage_that_is_gone_meanwhile_is_told(session: Session, viewer: Viewer, sales: Pipeline) -> None:
    lead = stage(session, sales, "Lead")
    made = uploaded(session, viewer, sales, "Deal\nAcme\n", stage=lead.key)
    boxes.remove_stage(session, viewer, lead, None, NOW)
    with pytest.raises(ImportFailed, match="stage for new boxes is gone"):
        import_run.run(session, viewer, made, NOW)


def test_two_boxes_of_a_name_are_told_apart_by_their_key(
    session: Session, viewer: Viewer, sales: Pipeline
) -> None:
    first, _ = a_box(session, viewer, "Acme"), a_box(session, viewer, "Acme")
    assert "2 boxes are called “Acme”" in errors(session, viewer, sales, "Name,Stage\nAcme,Won\n")[2][0]
    file = f"Box key,Name,Stage\n{guard(first.key)},Acme,Won\n"
    assert taken_in(session, viewer, sales, file).counts["change"] == 1
    other = a_box(session, viewer, "Elsewhere", into="Connections")
    found = errors(session, viewer, sales, f"Box key,Name\n{guard(other.key)},Elsewhere\n")
    assert "no box of this pipeline has it" in found[2][0]


def test_an_empty_cell_leaves_or_empties(session: Session, viewer: Viewer, sales: Pipeline) -> None:
    box = a_box(session, viewer, "Acme", "anna@acme.test")
    money = next(one for one in fields.of_pipeline(session, sales.id) if one.type == "money")
    boxes.set_value(session, viewer, box, money, "5 EUR")
    file = "Name,Value,Owner,Organization\nAcme,,,\n"
    assert taken_in(session, viewer, sales, file).counts["same"] == 1
    assert taken_in(session, viewer, sales, file, empty="clear").counts["change"] == 1
    session.expire_all()
    assert (box.values, box.value_amount, box.owner_id, box.organization_id) == ({}, None, None, None)


def test_what_was_exported_is_the_same_when_it_comes_back(
    session: Session, viewer: Viewer, sales: Pipeline
) -> None:
    columns = fields.of_pipeline(session, sales.id)
    for number, name in enumerate(["=1+1", "Plain", "'=quoted", 'A "b", c', "-5", "Zoë\nMüller"]):
        box = a_box(
            session, viewer, name, f'"Doe; Jane {number}" <p{number}@acme.test>'.split("<")[1][:-1], at="Lead"
        )
        for field in columns:
            value = {"money": "12.50 USD", "date": "2026-12-01", "text": "+49 30\n'=x"}.get(field.type)
            boxes.set_value(session, viewer, box, field, value or (field.options[0] if field.options else None))
    look = listing.parse({}, sales, columns, pipelines.of_pipeline(session, sales.id))
    look = listing.parse({"cols": ",".join(look.columns)}, sales, columns, [])
    text = "".join(exports.as_csv(Listing(session, viewer, look, NOW)))
    sales = pipeline(session, viewer.team_id)
    for encoding in ("utf-8-sig", "utf-16"):
        plan = import_plan.make(session, viewer, uploaded(session, viewer, sales, text.encode(encoding)))
        assert plan.counts() == {"new": 0, "change": 0, "same": 6, "wrong": 0}, [
            (one.errors, one.changes) for one in plan.lines
        ]


def test_takes_as_many_statements_for_400_lines_as_for_40(
    session: Session, viewer: Viewer, sales: Pipeline
) -> None:
    def statements(numbers: range) -> int:
        lines = "".join(f"Deal {n},Lead,p{n}@firm{n}.test,{n} EUR\n" for n in numbers)
        made = uploaded(session, viewer, sales, "Name,Stage,Email,Value\n" + lines)
        count = 0

        def note(*_: Any) -> None:
            nonlocal count
            count += 1

        engine = session.get_bind()
        event.listen(engine, "before_cursor_execute", note)
        try:
            assert import_run.run(session, viewer, made, NOW).counts["new"] == len(numbers)
        finally:
            event.remove(engine, "before_cursor_execute", note)
        return count

    few = statements(range(40))
    assert statements(range(1000, 1400)) == few < 60


class TestReading:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
    @pytest.mark.parametrize("mark", [",", ";", "\t"])
    def test_encodings_and_delimiters(self, encoding: str, mark: str) -> None:
        text = f'Name{mark}Value\r\nMüller{mark}"1{mark}5 €"\r\n\r\nZoë{mark}2\r\n'
        found = read(text.encode(encoding))
        assert found.header == ["Name", "Value"]
        assert found.rows == [(2, ["Müller", f"1{mark}5 €"]), (4, ["Zoë", "2"])]

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"", "empty"),
            (b"Name\n", "no rows"),
            (b"PK\x03\x04rest", "workbook"),
            (b'Name\n"' + b"x" * 200_000, "can't be read"),
            (b"Name\n" + b"x\n" * (csv_files.MOST_ROWS + 1), "20,001 rows"),
            (b"x" * (csv_files.MOST_BYTES + 1), "5 MB"),
            (b"\xff\xfe\x00", "letters"),
        ],
    )
    def test_says_what_is_wrong_with_a_file(self, data: bytes, words: str) -> None:
        with pytest.raises(CsvError, match=words):
            read(data)

    def test_the_empty_columns_of_a_wide_sheet_take_no_time(self) -> None:
        empty = b"," * 16_383 + b"\n"
        began = time.process_time()
        assert read(b"Name,Value" + empty + (b"Acme,5" + empty) * 30).header == ["Name", "Value"]
        assert time.process_time() - began < 3
        assert read(b"Name,,\nAcme,,5\n").header == ["Name", "", ""]

    @pytest.mark.parametrize("cell", ["=x", "'=x", "''=x", "+1 2", "-5", "@a", "\tx", "plain", "'quoted'", ""])
    def test_a_guarded_cell_comes_back(self, cell: str) -> None:
        assert unguard(guard(cell)) == cell
        assert not guard(cell).startswith(("=", "+", "@", "\t"))


@pytest.mark.parametrize(
    ("cells", "stored"),
    [
        (["24.11.2026", "1.2.2026"], ["2026-11-24", "2026-02-01"]),
        (["11/24/2026", "1/2/2026"], ["2026-11-24", "2026-01-02"]),
        (["24/11/2026", "1/2/2026"], ["2026-11-24", "2026-02-01"]),
        (["1/2/2026"], None),
    ],
)
def test_dates_are_read_as_the_whole_column_writes_them(
    session: Session, viewer: Viewer, sales: Pipeline, cells: list[str], stored: list[str] | None
) -> None:
    close = next(one for one in fields.of_pipeline(session, sales.id) if one.name == "Expected close")
    file = "Name,Expected close\n" + "".join(f"Deal {n},{cell}\n" for n, cell in enumerate(cells))
    plan = import_plan.make(session, viewer, uploaded(session, viewer, sales, file))
    if stored is None:
        assert "two different days" in plan.lines[0].errors[0]
    else:
        assert [line.values[close.key] for line in plan.lines] == stored
