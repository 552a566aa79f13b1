"""Sign-ins, API keys, invitations, allowed domains; people who were removed, and the mailboxes they left."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def _instant(name: str, *, nullable: bool = True, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def _of_team(*columns: sa.schema.SchemaItem, keyed: bool = True) -> list[sa.schema.SchemaItem]:
    found: list[sa.schema.SchemaItem] = [
        sa.Column("id", sa.BigInteger(), primary_key=True),
        sa.Column("team_id", sa.BigInteger(), sa.ForeignKey("teams.id", ondelete="CASCADE"), nullable=False),
    ]
    if keyed:
        found.append(sa.Column("key", sa.Text(), nullable=False, unique=True))
    return [*found, *columns]


def _user(name: str = "user_id", *, nullable: bool = False) -> sa.Column[object]:
    then = "SET NULL" if nullable else "CASCADE"
    return sa.Column(name, sa.BigInteger(), sa.ForeignKey("users.id", ondelete=then), nullable=nullable)


def upgrade() -> None:
    op.add_column("users", sa.Column("workspace", sa.Text()))
    op.add_column("users", _instant("removed_at"))
    op.drop_constraint("uq_users_normalized", "users", type_="unique")
    op.create_index(
        "uq_users_normalized", "users", ["normalized"], unique=True, postgresql_where=sa.text("removed_at IS NULL")
    )
    op.create_index("ix_users_team_id", "users", ["team_id"])
    op.add_column("mailboxes", _instant("left_at"))
    op.drop_constraint("uq_mailboxes_normalized", "mailboxes", type_="unique")
    op.create_index(
        "uq_mailboxes_normalized", "mailboxes", ["normalized"], unique=True,
        postgresql_where=sa.text("left_at IS NULL"),
    )  # fmt: skip
    _tables()
    _indexes()


def _tables() -> None:
    op.create_table(
        "sign_ins",
        *_of_team(
            _user(),
            sa.Column("token_hash", sa.LargeBinary(), nullable=False, unique=True),
            _instant("created_at", nullable=False),
            _instant("seen_at", nullable=False),
            _instant("ended_at"),
            sa.Column("address", sa.Text(), nullable=False),
            sa.Column("program", sa.Text(), nullable=False),
        ),
    )
    op.create_table(
        "api_keys",
        *_of_team(
            _user(),
            sa.Column("name", sa.Text(), nullable=False),
            sa.Column("handle", sa.Text(), nullable=False, unique=True),
            sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
            sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
            _instant("created_at", nullable=False),
            _instant("expires_at"),
            _instant("used_at"),
            _instant("revoked_at"),
        ),
    )
    op.create_table(
        "invitations",
        *_of_team(
            sa.Column("address", sa.Text(), nullable=False),
            sa.Column("normalized", sa.Text(), nullable=False),
            sa.Column("role", sa.Text(), nullable=False),
            sa.Column("pipelines", postgresql.ARRAY(sa.Text()), nullable=False, server_default="{}"),
            sa.Column("boxes", postgresql.ARRAY(sa.Text()), nullable=False, server_default="{}"),
            _user("invited_by_id", nullable=True),
            _instant("created_at", nullable=False),
            _instant("expires_at", nullable=False),
            _instant("accepted_at"),
            _user("accepted_by_id", nullable=True),
            _instant("withdrawn_at"),
        ),
    )
    op.create_table(
        "allowed_domains",
        *_of_team(
            sa.Column("domain", sa.Text(), nullable=False),
            _instant("created_at", nullable=False, now=True),
            sa.UniqueConstraint("team_id", "domain"),
            keyed=False,
        ),
    )


def _indexes() -> None:
    op.create_index(
        "ix_sign_ins_user_id_open", "sign_ins", ["user_id"], postgresql_where=sa.text("ended_at IS NULL")
    )
    op.create_index("ix_sign_ins_seen_at", "sign_ins", ["seen_at"])
    op.create_index(
        "ix_api_keys_user_id_good", "api_keys", ["user_id"], postgresql_where=sa.text("revoked_at IS NULL")
    )
    op.create_index(
        "uq_invitations_waiting", "invitations", ["team_id", "normalized"], unique=True,
        postgresql_where=sa.text("accepted_at IS NULL AND withdrawn_at IS NULL"),
    )  # fmt: skip
    op.create_index("ix_invitations_normalized", "invitations", ["normalized"])
    op.create_index("ix_allowed_domains_domain", "allowed_domains", ["domain"])


def downgrade() -> None:
    for table in ("allowed_domains", "invitations", "api_keys", "sign_ins"):
        op.drop_table(table)
    op.drop_index("uq_mailboxes_normalized", table_name="mailboxes")
    op.execute("DELETE FROM mailboxes WHERE left_at IS NOT NULL")
    op.create_unique_constraint("uq_mailboxes_normalized", "mailboxes", ["normalized"])
    op.drop_column("mailboxes", "left_at")
    op.drop_index("ix_users_team_id", table_name="users")
    op.drop_index("uq_users_normalized", table_name="users")
    op.execute("DELETE FROM users WHERE removed_at IS NOT NULL")
    op.create_unique_constraint("uq_users_normalized", "users", ["normalized"])
    op.drop_column("users", "removed_at")
    op.drop_column("users", "workspace")
