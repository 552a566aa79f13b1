"""The pages of an import."""

from __future__ import annotations

import io
import re

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.tracker.domain import a_box, pipeline
from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import a_mail, browser_of
from tracker import fields
from tracker.boxes import Box
from tracker.csv_files import MOST_BYTES
from tracker.filing import Filing


def upload(browser: FlaskClient, key: str, data: bytes, **more: str) -> str:
    """The address of the file's page."""
    answer = browser.post(f"/p/{key}/import", data={"file": (io.BytesIO(data), "deals.csv"), **more})
    assert answer.status_code == 303, answer.text[:500]
    return answer.headers["Location"]


def mapped(browser: FlaskClient, address: str, **changes: str) -> str:
    """Sends the mapping as it was guessed, but for the changes; gives back the page that follows."""
    page = browser.get(address).text
    data = {"_place": "map", "match": "name", "bad": "stop", "empty": "keep"}
    for name, options in re.findall(r'<select name="(column-\d+)"[^>]*>(.*?)</select>', page, re.DOTALL):
        chosen = re.search(r'<option value="([^"]*)" selected', options)
        data[name] = chosen.group(1) if chosen else ""
    answer = browser.post(f"{address}/map", data=data | changes, follow_redirects=True)
    return answer.text


def test_from_the_file_to_the_boxes_and_their_mail(browser: FlaskClient, team: Team, write: Session) -> None:
    key = pipeline(write, team.alice.team_id).key
    conversation = a_mail(write, team.mailbox, "Before the import", sender="dana@acme.test")
    write.commit()
    address = upload(browser, key, b"Deal;Email;Value\r\nAcme;Dana <dana@acme.test>;1.000,50 EUR\r\n")
    page = mapped(browser, address)
    assert "1000.50 EUR" in page
    assert ">new</span>" in page
    assert write.scalar(select(func.count()).select_from(Box)) == 0
    page = browser.post(f"{address}/run", data={"_place": "run"}, follow_redirects=True).text
    assert "Imported: 1 new, 0 changed, 0 as they were" in page
    write.rollback()
    box = write.scalars(select(Box)).one()
    filed = write.scalars(select(Filing).where(Filing.conversation_id == conversation.id)).one()
    assert (filed.box_id, filed.state) == (box.id, "filed")
    again = upload(browser, key, b"Deal;Email;Value\r\nAcme;Dana <dana@acme.test>;1.000,50 EUR\r\n")
    assert "there is nothing to change" in mapped(browser, again)
    answer = browser.post(f"{address}/run", data={"_place": "run"})
    assert answer.status_code == 422  # once is enough


def test_wrong_lines_stop_it_or_are_left_out_and_come_back_as_a_file(
    browser: FlaskClient, team: Team, write: Session
) -> None:
    key = pipeline(write, team.alice.team_id).key
    write.commit()
    address = upload(browser, key, b"Name,Stage\nGood,Lead\n=Bad,Nowhere\n")
    page = mapped(browser, address)
    assert "there is no stage “Nowhere”" in page
    assert "Import 1 line" not in page
    answer = browser.post(f"{address}/run", data={"_place": "run"})
    assert answer.status_code == 422
    assert "Nothing was imported: 1 of 2 lines" in answer.text
    data = {"column-0": "name", "column-1": "stage", "bad": "leave", "_place": "map"}
    assert "Import 1 line" in browser.post(f"{address}/map", data=data, follow_redirects=True).text
    browser.post(f"{address}/run", data={"_place": "run"})
    assert write.scalars(select(Box.name)).all() == ["Good"]
    told = browser.get(f"{address}/wrong.csv").data.decode("utf-8-sig")
    assert told.startswith("Name,Stage,Line,What is wrong\r\n'=Bad,Nowhere,3,")


def test_what_is_wrong_with_a_file_is_told_beside_it(browser: FlaskClient, team: Team, write: Session) -> None:
    key = pipeline(write, team.alice.team_id).key
    write.commit()
    for data, words in ((b"", "The file is empty"), (b"PK\x03\x04", "not CSV"), (b"Name\n", "no rows")):
        form = {"file": (io.BytesIO(data), "x.csv"), "_place": "file"}
        answer = browser.post(f"/p/{key}/import", data=form)
        assert answer.status_code == 422
        assert words in answer.text
    assert browser.post(f"/p/{key}/import", data={"_place": "file"}).status_code == 422


def test_takes_more_than_other_forms_but_not_more_than_five_megabytes(
    app: Flask, browser: FlaskClient, team: Team, write: Session
) -> None:
    key = pipeline(write, team.alice.team_id).key
    write.commit()
    upload(
        browser,
        key,
        b"Name,Notes\n" + b"Deal,\n" + b"x," + b"y" * 90_000 + b"\n" + b"n,\n" * 10 + b"\n" * 3_000_000,
    )
    too_large = {"file": (io.BytesIO(b"Name\n" + b"x\n" * (MOST_BYTES // 2)), "x.csv"), "_place": "file"}
    assert browser.post(f"/p/{key}/import", data=too_large).status_code == 422
    far_too_large = {"file": (io.BytesIO(b"x" * (MOST_BYTES + 300_000)), "x.csv")}
    assert browser.post(f"/p/{key}/import", data=far_too_large).status_code == 413


def test_a_mapping_that_makes_no_sense_is_told_and_kept(browser: FlaskClient, team: Team, write: Session) -> None:
    key = pipeline(write, team.alice.team_id).key
    write.commit()
    address = upload(browser, key, b"One,Two\na,b\n")
    for first, second, words in (
        ("", "stage", "Choose the column that holds"),
        ("name", "name", "Two columns go to the same place"),
        ("name", "f.nonsense", "goes to a field that is gone"),
    ):
        data = {"column-0": first, "column-1": second, "_place": "map"}
        answer = browser.post(f"{address}/map", data=data)
        assert answer.status_code == 422
        assert words in answer.text
    assert re.search(r'<option value="name" selected', answer.text)


def test_a_field_that_is_gone_is_asked_for_again(browser: FlaskClient, team: Team, write: Session) -> None:
    sales = pipeline(write, team.alice.team_id)
    heard_at = fields.add(write, team.viewer, sales.id, "Heard at", "text")
    write.commit()
    address = upload(browser, sales.key, b"Deal,Heard at\nAcme,Fair\n")
    assert "Look at what would happen" in mapped(browser, address)
    fields.remove(write, team.viewer, heard_at)
    write.commit()
    refused = browser.post(f"{address}/run", data={"_place": "run"})
    assert refused.status_code == 422
    assert "“Heard at” goes to a field that" in refused.text
    page = browser.get(address).text
    assert "What are the columns?" in page
    assert write.scalar(select(func.count()).select_from(Box)) == 0
    assert "Acme" in mapped(browser, address, **{"column-1": "new:text"})


def test_a_file_is_its_persons_alone_and_guests_bring_none(
    app: Flask, browser: FlaskClient, team: Team, write: Session
) -> None:
    a_box(write, team.viewer, "Deal")
    key = pipeline(write, team.alice.team_id).key
    write.commit()
    address = upload(browser, key, b"Name\nDeal\n")
    bob, gina = browser_of(app, team.bob), browser_of(app, team.gina)
    assert bob.get(address).status_code == 404
    assert bob.post(f"{address}/run").status_code == 404
    assert bob.get(f"{address}/wrong.csv").status_code == 404
    assert gina.get(f"/p/{key}/import").status_code == 403
