"""Saved views: how somebody looks at a pipeline (columns, order, filters, grouping), private or shared."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.db import Base, Keyed, OfTeam
from tracker.people import User


class SavedView(OfTeam, Keyed, Base):
    """A named way to look at a pipeline's table."""

    __tablename__ = "saved_views"
    __table_args__ = (Index("ix_saved_views_pipeline_id_name", "pipeline_id", "name"),)

    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))  #: whose it is
    name: Mapped[str]
    shared: Mapped[bool] = mapped_column(server_default="false")
    query: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")  #: the address's parameters
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    user: Mapped[User | None] = relationship()
