"""Row-level security: a policy on every table with a team.

The role that is held by it is the server's, not the database's: `row_security.ensure` makes it at each start.
"""

from __future__ import annotations

from alembic import op

from tracker import row_security

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Put every table that has a `team_id` by now behind the lock."""
    row_security.guard_all(op.get_bind())


def downgrade() -> None:
    """Take the lock off."""
    row_security.remove(op.get_bind())
