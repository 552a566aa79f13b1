"""An import carried out: in one transaction, with the events that the same changes by hand would have recorded.

Written in bulk: a file of 20,000 lines takes some dozens of statements.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from tracker import columns, events, facts, fields, import_plan, imports
from tracker.addresses import Address, organization_domain, person_name
from tracker.boxes import Box
from tracker.contacts import Contact, ContactAddress, Organization, OrganizationDomain
from tracker.db import among, insert_many, lock_team, new_ids, new_key
from tracker.fields import Field
from tracker.import_plan import CHANGE, NEW, Line, Plan
from tracker.imports import Import, ImportFailed
from tracker.people import Viewer

CHUNK = 1000  # boxes that one statement changes

_UPDATE = text(
    """
    UPDATE boxes b SET
      name = r.name, owner_id = r.owner_id, organization_id = r.organization_id, values = r.values,
      value_amount = r.value_amount, value_currency = r.value_currency, stage_id = r.stage_id,
      stage_entered_at = CASE WHEN b.stage_id = r.stage_id THEN b.stage_entered_at ELSE :now END,
      version = b.version + CASE WHEN b.stage_id = r.stage_id THEN 0 ELSE 1 END
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id bigint, name text, owner_id bigint,
      organization_id bigint, values jsonb, value_amount numeric, value_currency text, stage_id bigint)
    WHERE b.id = r.id
    """
)
_ADD_CONTACTS = text(
    """
    INSERT INTO box_contacts (team_id, box_id, contact_id)
    SELECT :team, * FROM unnest(CAST(:boxes AS bigint[]), CAST(:contacts AS bigint[]))
    ON CONFLICT DO NOTHING RETURNING box_id, contact_id
    """
)


@dataclass(slots=True)
class Done:
    """What an import did."""

    counts: dict[str, int]
    addresses: set[str] = field(default_factory=set)  #: of contacts that boxes got, for the rules to look at


def run(session: Session, viewer: Viewer, made: Import, now: datetime) -> Done:
    """Take the file in, as a whole. Raises `ImportFailed`, and then nothing may be committed."""
    lock_team(session, viewer.team_id)
    session.refresh(made, with_for_update=True)
    if made.state != imports.MAPPED:
        raise ImportFailed(
            "This file is imported already" if made.state == imports.DONE else "Say first what is what"
        )
    plan = import_plan.make(session, viewer, made, locked=True)
    wrong = plan.wrong()
    if wrong and made.mapping.get("bad") != "leave":
        raise ImportFailed(
            f"Nothing was imported: {len(wrong):,} of {len(plan.lines):,} lines are wrong. Correct them in the "
            "file and upload it again, or choose to leave them out"
        )
    return _Runner(session, viewer, made, plan, now).run()


class _Runner:
    def __init__(self, session: Session, viewer: Viewer, made: Import, plan: Plan, now: datetime) -> None:
        self.session, self.viewer, self.made, self.plan, self.now = session, viewer, made, plan, now
        self.why = f"imported from {made.filename}"
        self.log: list[dict[str, Any]] = []
        self.lines = [line for line in plan.lines if line.state in (NEW, CHANGE)]
        self.stage_names = {stage.id: stage for stage in plan.stages}

    def run(self) -> Done:
        counts = self.plan.counts()
        self._make_fields()
        self._make_organizations()
        self._make_contacts()
        known = fields.of_pipeline(self.session, self.made.pipeline_id)
        self.money = columns.money_field(known)
        ids = self._make_boxes([line for line in self.lines if line.box is None])
        self._change_boxes([line for line in self.lines if line.box is not None])
        self._add_contacts(ids)
        events.record_many(self.session, self.log)
        facts.refresh(self.session, ids.values())
        self._finish(counts)
        return Done(counts, {one.normalized for line in self.lines for one in line.added})

    def _finish(self, counts: dict[str, int]) -> None:
        wrong = [[line.number, list(line.cells), line.errors] for line in self.plan.wrong()]
        self.made.result = {"counts": counts, "left_out": wrong}
        self.made.state, self.made.rows, self.made.done_at = imports.DONE, [], self.now
        self.session.flush()
        data = {"import": self.made.key, "filename": self.made.filename, **counts}
        events.record(
            self.session, self.viewer.team_id, "import.done", actor=self.viewer.actor, user_id=self.viewer.user_id,
            data=data,
        )  # fmt: skip

    def _record(self, kind: str, box_id: int | None, **data: Any) -> None:
        row: dict[str, Any] = {
            "team_id": self.viewer.team_id, "kind": kind, "actor": self.viewer.actor,
            "user_id": self.viewer.user_id, "data": data,
        }  # fmt: skip
        self.log.append(row | ({"box_id": box_id} if box_id is not None else {}))

    # -- what the boxes need first

    def _make_fields(self) -> None:
        """New fields; what lines hold for them moves to their keys."""
        for draft, one in self.plan.new_fields.items():
            real = fields.add(self.session, self.viewer, self.made.pipeline_id, one.name, one.type, one.options)
            self.plan.columns[draft] = real
            for line in self.lines:
                if draft in line.values:
                    line.values[real.key] = line.values.pop(draft)
                    line.changes = [real.key if change == draft else change for change in line.changes]

    def _make_organizations(self) -> None:
        known = self.plan.organizations
        names = {line.organization.casefold(): line.organization for line in self.lines if line.organization}
        self._insert_organizations([name for folded, name in names.items() if folded not in known])

    def _insert_organizations(self, names: Sequence[str]) -> list[int]:
        ids = list(new_ids(self.session, Organization, len(names)))
        keys = [new_key() for _ in names]
        rows = [
            {"id": id_, "key": key, "team_id": self.viewer.team_id, "name": name}
            for id_, key, name in zip(ids, keys, names, strict=True)
        ]
        insert_many(self.session, Organization, rows)
        for id_, key, name in zip(ids, keys, names, strict=True):
            self.plan.organizations.setdefault(name.casefold(), (id_, key, name))
        return ids

    def _make_contacts(self) -> None:
        """Contacts with addresses that nobody knew; as `contacts.ensure`, for many at once."""
        new: dict[str, tuple[Address, str]] = {}
        for line in self.lines:
            for number, one in enumerate(line.added):
                if one.normalized not in self.plan.contacts:
                    new.setdefault(one.normalized, (one, line.contact_name if number == 0 else ""))
        if not new:
            return
        companies = self._companies_of(new)
        ids = list(new_ids(self.session, Contact, len(new)))
        rows, addresses = [], []
        for id_, (normalized, (one, called)) in zip(ids, new.items(), strict=True):
            key, name = new_key(), called or person_name(one)
            company = companies.get(organization_domain(normalized) or "")
            team_id = self.viewer.team_id
            rows.append({"id": id_, "key": key, "team_id": team_id, "name": name, "organization_id": company})
            addresses.append(
                {"team_id": team_id, "contact_id": id_, "address": one.address, "normalized": normalized}
            )
            self.plan.contacts[normalized] = (id_, key, name, company)
            self._record("contact.created", None, contact=key, name=name)
        insert_many(self.session, Contact, rows)
        insert_many(self.session, ContactAddress, addresses)

    def _companies_of(self, normalized: Iterable[str]) -> dict[str, int]:
        """The organizations of the addresses' domains, by domain; made where there is none yet."""
        domains = {domain for one in normalized if (domain := organization_domain(one))}
        query = select(OrganizationDomain.domain, OrganizationDomain.organization_id).where(
            OrganizationDomain.team_id == self.viewer.team_id, among(OrganizationDomain.domain, domains)
        )
        found: dict[str, int] = dict(self.session.execute(query).all())
        missing = sorted(domains - set(found))
        ids = self._insert_organizations([one.split(".")[0].replace("-", " ").title() for one in missing])
        rows = [
            {"team_id": self.viewer.team_id, "organization_id": id_, "domain": domain}
            for id_, domain in zip(ids, missing, strict=True)
        ]
        insert_many(self.session, OrganizationDomain, rows)
        return found | dict(zip(missing, ids, strict=True))

    # -- the boxes

    def _make_boxes(self, lines: Sequence[Line]) -> dict[int, int]:
        """New boxes; returns their ids by their lines' numbers."""
        ids = dict(zip((line.number for line in lines), new_ids(self.session, Box, len(lines)), strict=True))
        rows = []
        for line in lines:
            stage = line.stage or self.plan.first_stage
            values = {key: value for key, value in line.values.items() if value is not None}
            owner = line.owner.id if line.owner else None if "owner" in line.cleared else self.viewer.user_id
            amount, currency = self._worth(values)
            rows.append(
                {
                    "id": ids[line.number], "key": new_key(), "team_id": self.viewer.team_id,
                    "pipeline_id": self.made.pipeline_id, "stage_id": stage.id, "name": line.name,
                    "owner_id": owner, "organization_id": self._company(line), "values": values,
                    "stage_entered_at": self.now, "created_at": self.now, "value_amount": amount,
                    "value_currency": currency,
                }
            )  # fmt: skip
            self._record("box.created", ids[line.number], name=line.name, stage=stage.name, why=self.why)
        insert_many(self.session, Box, rows)
        return ids

    def _company(self, line: Line) -> int | None:
        """A new box is about the organization that the line names, else its first contact's that has one."""
        if line.organization:
            return self.plan.organizations[line.organization.casefold()][0]
        if "organization" in line.cleared:
            return None
        of_contacts = (self.plan.contacts[one.normalized][3] for one in line.added)
        return next((id_ for id_ in of_contacts if id_), None)

    def _worth(self, values: Mapping[str, Any]) -> tuple[Decimal | None, str | None]:
        value = values.get(self.money.key) if self.money else None
        return (Decimal(value["amount"]), value["currency"]) if value else (None, None)

    def _change_boxes(self, lines: Sequence[Line]) -> None:
        rows = []
        for line in lines:
            if set(line.changes) - {"contact"}:
                rows.append(self._changed(line))
        for start in range(0, len(rows), CHUNK):
            told = json.dumps(rows[start : start + CHUNK])
            self.session.execute(_UPDATE, {"rows": told, "now": self.now})
        self.session.expire_all()

    def _changed(self, line: Line) -> dict[str, Any]:
        box = line.box
        assert box is not None
        row: dict[str, Any] = {
            "id": box.id, "name": box.name, "stage_id": box.stage_id, "owner_id": box.owner_id,
            "organization_id": box.organization_id, "values": dict(box.values),
        }  # fmt: skip
        for change in line.changes:
            if change == "name":
                row["name"] = line.name
                self._record("box.renamed", box.id, before=box.name, after=line.name)
            elif change == "stage":
                assert line.stage is not None
                row["stage_id"] = line.stage.id
                self._record_move(line)
            elif change == "owner":
                row["owner_id"] = line.owner.id if line.owner else None
                self._record("box.assigned", box.id, owner=line.owner.key if line.owner else None)
            elif change == "organization":
                company = self.plan.organizations[line.organization.casefold()] if line.organization else None
                row["organization_id"] = company[0] if company else None
                key, name = (company[1], company[2]) if company else (None, None)
                self._record("box.organization", box.id, organization=key, name=name)
            elif change != "contact":
                self._set_value(row, change, line.values[change], self.plan.columns[change])
        amount, row["value_currency"] = self._worth(row["values"])
        row["value_amount"] = None if amount is None else str(amount)
        return row

    def _record_move(self, line: Line) -> None:
        assert line.box is not None
        assert line.stage is not None
        before, after = self.stage_names[line.box.stage_id], line.stage
        told = {
            "from": before.name,
            "to": after.name,
            "from_key": before.key,
            "to_key": after.key,
            "why": self.why,
        }
        self._record("box.moved", line.box.id, **told)

    def _set_value(self, row: dict[str, Any], key: str, value: Any, one: Field) -> None:
        before = row["values"].get(key)
        if value is None:
            row["values"].pop(key, None)
        else:
            row["values"][key] = value
        self._record("box.field", row["id"], field=key, name=one.name, before=before, after=value)

    def _add_contacts(self, ids: Mapping[int, int]) -> None:
        pairs: dict[tuple[int, int], tuple[str, str]] = {}
        for line in self.lines:
            box_id = line.box.id if line.box else ids[line.number]
            for one in line.added:
                contact_id, key, name, _ = self.plan.contacts[one.normalized]
                pairs[(box_id, contact_id)] = (key, name)
        if not pairs:
            return
        boxes_, contacts_ = zip(*pairs, strict=True)
        told = {"team": self.viewer.team_id, "boxes": list(boxes_), "contacts": list(contacts_)}
        for box_id, contact_id in self.session.execute(_ADD_CONTACTS, told):
            key, name = pairs[(box_id, contact_id)]
            self._record("box.contact_added", box_id, contact=key, name=name)
