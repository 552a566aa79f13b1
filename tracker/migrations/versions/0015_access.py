"""Who sees a pipeline and a box: the team, or named people."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Everything is open to the team, as it was."""
    op.add_column("pipelines", sa.Column("access", sa.Text(), server_default="team", nullable=False))
    op.create_check_constraint("access", "pipelines", "access in ('team', 'people')")
    op.add_column("boxes", sa.Column("access", sa.Text(), nullable=True))
    op.create_check_constraint("access", "boxes", "access in ('team', 'people')")
    op.create_index("ix_boxes_differing", "boxes", ["pipeline_id"], postgresql_where=sa.text("access IS NOT NULL"))
    _members("pipeline_members", "pipeline_id", "pipelines")
    _members("box_members", "box_id", "boxes")


def _members(table: str, column: str, of: str) -> None:
    op.create_table(
        table,
        sa.Column(column, sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint([column], [f"{of}.id"], name=op.f(f"fk_{table}_{column}"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f(f"fk_{table}_user_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f(f"fk_{table}_team_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint(column, "user_id", name=op.f(f"pk_{table}")),
    )
    op.create_index(op.f(f"ix_{table}_user_id"), table, ["user_id"])


def downgrade() -> None:
    """Everything is open to the team again."""
    op.drop_table("box_members")
    op.drop_table("pipeline_members")
    op.drop_index("ix_boxes_differing", table_name="boxes")
    op.drop_column("boxes", "access")
    op.drop_column("pipelines", "access")
