"""Sharing: who may see which message, and why. The one gate that every list, search and page asks."""

from tracker.sharing.gate import holds, may_read

__all__ = ["holds", "may_read"]
