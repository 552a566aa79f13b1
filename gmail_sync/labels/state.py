"""What the scheme is decided upon: Gmail's labels as listed, ours as last agreed, boxes and pipelines now."""

from __future__ import annotations

from dataclasses import dataclass, field

from gmail_sync.labels.tables import ROOT, Kind


@dataclass(frozen=True, slots=True)
class Row:
    """A label of ours; see `tables.Label`."""

    id: int
    kind: str
    pipeline_id: int | None = None
    box_id: int | None = None
    gmail_id: str | None = None
    name: str = ""
    color: str | None = None
    pushing: str | None = None
    former: bool = False
    gone: bool = False
    refused: str | None = None

    @property
    def is_there(self) -> bool:
        """Whether Gmail has it, as far as we know."""
        return self.gmail_id is not None and not self.gone


@dataclass(frozen=True, slots=True)
class PipelineNow:
    """A pipeline of which the mailbox's owner sees something."""

    id: int
    name: str
    whole: bool = True  #: they may add boxes there
    archived: bool = False


@dataclass(frozen=True, slots=True)
class BoxNow:
    """A box that the mailbox's owner sees and that isn't deleted."""

    id: int
    pipeline_id: int
    name: str
    color: str  #: its stage's, as Gmail has it
    archived: bool = False
    wanted: bool = False  #: some thread of the mailbox is in it


@dataclass(frozen=True, slots=True)
class State:
    """All of it."""

    rows: tuple[Row, ...] = ()
    listed: dict[str, str] = field(default_factory=dict)  #: Gmail's labels that people made: id → path
    pipelines: dict[int, PipelineNow] = field(default_factory=dict)
    boxes: dict[int, BoxNow] = field(default_factory=dict)
    merged: dict[int, int] = field(default_factory=dict)  #: boxes that were merged away, into which
    again: frozenset[int] = frozenset()  #: deleted boxes whose label somebody used after that
    carried: frozenset[str] = frozenset()  #: labels that some thread carries

    @property
    def root(self) -> Row | None:
        """The root's row."""
        return next((row for row in self.rows if row.kind == Kind.ROOT), None)

    @property
    def root_path(self) -> str:
        """The root's path as Gmail has it now, or as it is going to be."""
        row = self.root
        return self.path_of(row) if row is not None else ROOT

    def path_of(self, row: Row) -> str:
        """A label's path as Gmail has it now, or as it was last agreed."""
        return self.listed.get(row.gmail_id or "") or row.name or ROOT

    def of_pipeline(self, pipeline_id: int) -> Row | None:
        """A pipeline's label."""
        return next((row for row in self.rows if row.pipeline_id == pipeline_id), None)

    def of_box(self, box_id: int) -> Row | None:
        """A box's own label."""
        return next((row for row in self.rows if row.box_id == box_id and not row.former), None)
