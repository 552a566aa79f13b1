"""Imports: a CSV file on its way into a pipeline; nothing is a box before its person says so."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from tracker.db import Base, Keyed, OfTeam


class Import(OfTeam, Keyed, Base):
    """One file: uploaded, mapped, looked at, then taken in as a whole or not at all."""

    __tablename__ = "imports"
    __table_args__ = (
        Index("ix_imports_pipeline_id_created_at", "pipeline_id", "created_at"),
        CheckConstraint("state in ('uploaded', 'mapped', 'done')", name="state"),
    )

    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    filename: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="uploaded")
    header: Mapped[list[Any]] = mapped_column(JSONB)
    rows: Mapped[list[Any]] = mapped_column(JSONB)
    mapping: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")  #: column → field, see the verbs
    result: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    done_at: Mapped[datetime | None]
