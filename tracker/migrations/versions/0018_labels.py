"""What Gmail's labels and our boxes last agreed on, and what was heard of labels since."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from tracker import row_security

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

TABLES = ("label_mailboxes", "label_touches", "mailbox_labels", "thread_labels")
NOTE_LABELS = """
CREATE OR REPLACE FUNCTION labels_are_noted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  had text[] := '{}'; has text[] := '{}'; mailbox bigint; thread text; shown boolean := true;
BEGIN
  IF current_setting('tracker.own_labels', true) = 'on' THEN RETURN NULL; END IF;
  IF TG_OP <> 'INSERT' THEN had := OLD.label_ids; mailbox := OLD.mailbox_id; thread := OLD.gmail_thread_id; END IF;
  IF TG_OP <> 'DELETE' THEN has := NEW.label_ids; mailbox := NEW.mailbox_id; thread := NEW.gmail_thread_id; END IF;
  IF TG_OP = 'UPDATE' THEN shown := OLD.hidden <> NEW.hidden; END IF;
  INSERT INTO label_touches AS t (team_id, mailbox_id, gmail_thread_id, gmail_label_id, heard_at, how)
  SELECT b.team_id, b.id, thread, l.id,
         CASE WHEN b.pushed_at > coalesce(b.synced_at, '-infinity') AND b.pushed_at < clock_timestamp()
              THEN b.pushed_at ELSE clock_timestamp() END,
         CASE WHEN TG_OP <> 'UPDATE' OR (l.id = ANY (had) AND l.id = ANY (has)) THEN 'arrived'
              WHEN l.id = ANY (has) THEN 'added' ELSE 'removed' END
  FROM label_mailboxes m JOIN mailboxes b ON b.id = m.mailbox_id
  CROSS JOIN (SELECT DISTINCT unnest(had || has) AS id) l
  WHERE m.mailbox_id = mailbox AND m.mode = 'on' AND l.id LIKE 'Label\\_%'
    AND (shown OR (l.id = ANY (had)) <> (l.id = ANY (has)))
  ON CONFLICT (mailbox_id, gmail_thread_id, gmail_label_id) DO UPDATE
    SET heard_at = excluded.heard_at, how = excluded.how,
        twice = t.twice OR (t.how IN ('added', 'removed') AND t.how <> excluded.how)
    WHERE excluded.how <> 'arrived' OR t.how = 'arrived';
  RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER labels_noted_arriving AFTER INSERT ON copies
  FOR EACH ROW WHEN (NEW.label_ids::text LIKE '%Label\\_%') EXECUTE FUNCTION labels_are_noted();
CREATE OR REPLACE TRIGGER labels_noted AFTER UPDATE OF label_ids ON copies
  FOR EACH ROW WHEN (OLD.label_ids IS DISTINCT FROM NEW.label_ids
    AND OLD.label_ids::text || NEW.label_ids::text LIKE '%Label\\_%') EXECUTE FUNCTION labels_are_noted();
CREATE OR REPLACE TRIGGER labels_noted_leaving AFTER DELETE ON copies
  FOR EACH ROW WHEN (OLD.label_ids::text LIKE '%Label\\_%') EXECUTE FUNCTION labels_are_noted();
"""


def upgrade() -> None:
    """Make the tables, and what notes down every change of a label."""
    _mailboxes()
    _touches()
    _labels()
    _threads()
    for table in TABLES:
        row_security.guard(op.get_bind(), table)
    op.execute(NOTE_LABELS)


def _foreign(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=op.f(f"fk_{table}_{column}"), ondelete="CASCADE")


def _instant(name: str, *, nullable: bool = True, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def _number(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _text(name: str, *, nullable: bool = False, default: str | None = None) -> sa.Column[object]:
    return sa.Column(name, sa.Text(), nullable=nullable, server_default=default)


def _mailboxes() -> None:
    op.create_table(
        "label_mailboxes",
        _number("mailbox_id"),
        _text("mode", default="off"),
        _instant("since", nullable=False, now=True),
        _instant("wanted_at"),
        _instant("listed_at"),
        _text("trouble", nullable=True),
        sa.Column("odd", postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False),
        _number("team_id"),
        sa.CheckConstraint("mode in ('off', 'on', 'leaving')", name=op.f("ck_label_mailboxes_mode")),
        _foreign("label_mailboxes", "mailbox_id", "mailboxes"),
        _foreign("label_mailboxes", "team_id", "teams"),
        sa.PrimaryKeyConstraint("mailbox_id", name=op.f("pk_label_mailboxes")),
    )


def _touches() -> None:
    how = "how in ('added', 'removed', 'arrived', 'used')"
    op.create_table(
        "label_touches",
        _number("mailbox_id"),
        _text("gmail_thread_id"),
        _text("gmail_label_id"),
        _instant("heard_at", nullable=False),
        _text("how"),
        sa.Column("twice", sa.Boolean(), server_default="false", nullable=False),
        _number("team_id"),
        sa.CheckConstraint(how, name=op.f("ck_label_touches_how")),
        _foreign("label_touches", "mailbox_id", "mailboxes"),
        _foreign("label_touches", "team_id", "teams"),
        sa.PrimaryKeyConstraint("mailbox_id", "gmail_thread_id", "gmail_label_id", name=op.f("pk_label_touches")),
    )


def _labels() -> None:
    box, pipeline = (f"(kind = '{kind}') = ({kind}_id IS NOT NULL)" for kind in ("box", "pipeline"))
    op.create_table(
        "mailbox_labels",
        sa.Column("id", sa.BigInteger(), nullable=False),
        _number("mailbox_id"),
        _text("kind"),
        _number("pipeline_id", nullable=True),
        _number("box_id", nullable=True),
        _text("gmail_label_id", nullable=True),
        _text("name", default=""),
        _text("color", nullable=True),
        _text("pushing", nullable=True),
        sa.Column("former", sa.Boolean(), server_default="false", nullable=False),
        _instant("gone_at"),
        _instant("taken_at"),
        _text("refused", nullable=True),
        _number("team_id"),
        sa.CheckConstraint(box, name=op.f("ck_mailbox_labels_box")),
        sa.CheckConstraint(pipeline, name=op.f("ck_mailbox_labels_pipeline")),
        sa.CheckConstraint("kind in ('root', 'pipeline', 'box')", name=op.f("ck_mailbox_labels_kind")),
        _foreign("mailbox_labels", "box_id", "boxes"),
        _foreign("mailbox_labels", "mailbox_id", "mailboxes"),
        _foreign("mailbox_labels", "pipeline_id", "pipelines"),
        _foreign("mailbox_labels", "team_id", "teams"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailbox_labels")),
    )
    op.create_index("ix_mailbox_labels_box_id", "mailbox_labels", ["box_id"])
    op.create_index("ix_mailbox_labels_pipeline_id", "mailbox_labels", ["pipeline_id"])
    op.create_index("uq_mailbox_labels_gmail", "mailbox_labels", ["mailbox_id", "gmail_label_id"], unique=True)


def _threads() -> None:
    op.create_table(
        "thread_labels",
        _number("mailbox_id"),
        _text("gmail_thread_id"),
        _number("box_id"),
        sa.Column("base", sa.Boolean(), nullable=False),
        sa.Column("pushing", sa.Boolean(), nullable=True),
        _number("team_id"),
        _foreign("thread_labels", "box_id", "boxes"),
        sa.ForeignKeyConstraint(
            ["mailbox_id", "gmail_thread_id"],
            ["threads.mailbox_id", "threads.gmail_thread_id"],
            name="fk_thread_labels_thread",
            ondelete="CASCADE",
        ),
        _foreign("thread_labels", "team_id", "teams"),
        sa.PrimaryKeyConstraint("mailbox_id", "gmail_thread_id", "box_id", name=op.f("pk_thread_labels")),
    )
    op.create_index("ix_thread_labels_box_id", "thread_labels", ["box_id"])
    op.create_index(
        "ix_thread_labels_pushing", "thread_labels", ["mailbox_id"],
        postgresql_where=sa.text("pushing IS NOT NULL"),
    )  # fmt: skip


def downgrade() -> None:
    """Drop them."""
    for trigger in ("labels_noted_arriving", "labels_noted", "labels_noted_leaving"):
        op.execute(f"DROP TRIGGER {trigger} ON copies")
    op.execute("DROP FUNCTION labels_are_noted()")
    for table in reversed(TABLES):
        op.drop_table(table)
