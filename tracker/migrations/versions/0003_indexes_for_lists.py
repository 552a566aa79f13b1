"""Indexes for what lists are sorted and searched by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

FACTS = ("last_sent_at", "last_received_at", "message_count")
OF_PEOPLE = "kind IN ('contacts.distinct', 'organizations.distinct', 'contact.merged', 'organization.merged')"


def upgrade() -> None:
    for column in FACTS:
        op.create_index(f"ix_box_facts_pipeline_id_{column}", "box_facts", ["pipeline_id", column])
    op.create_index("ix_boxes_organization_id", "boxes", ["organization_id"])
    op.create_index("ix_events_of_people", "events", ["team_id", "kind"], postgresql_where=sa.text(OF_PEOPLE))


def downgrade() -> None:
    op.drop_index("ix_events_of_people", table_name="events")
    op.drop_index("ix_boxes_organization_id", table_name="boxes")
    for column in FACTS:
        op.drop_index(f"ix_box_facts_pipeline_id_{column}", table_name="box_facts")
