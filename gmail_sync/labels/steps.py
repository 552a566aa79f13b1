"""What the scheme decides: steps to take, here and in Gmail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Agree:
    """A label is called so in Gmail: from now on that is what was agreed."""

    row_id: int
    path: str


@dataclass(frozen=True, slots=True)
class RenameBox:
    """Somebody renamed a box's label: the box is called so."""

    row_id: int
    path: str
    box_id: int
    name: str


@dataclass(frozen=True, slots=True)
class RenamePipeline:
    """Somebody renamed a pipeline's label: the pipeline is called so, if they may."""

    row_id: int
    path: str
    pipeline_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Gone:
    """A label was deleted in Gmail, or moved out from under ours: it isn't ours any more."""

    row_id: int
    moved: bool = False


@dataclass(frozen=True, slots=True)
class Back:
    """A label that we took for deleted is there."""

    row_id: int


@dataclass(frozen=True, slots=True)
class Forget:
    """A label that we deleted is gone, or one that never was made isn't needed."""

    row_id: int


@dataclass(frozen=True, slots=True)
class Bind:
    """A label of Gmail stands for a pipeline, a box, or the root (neither); `former`: the box has one already."""

    gmail_id: str
    path: str
    pipeline_id: int | None = None
    box_id: int | None = None
    former: bool = False


@dataclass(frozen=True, slots=True)
class MakeBox:
    """A label of Gmail, carried by some thread, names a box that there isn't."""

    gmail_id: str
    path: str
    pipeline_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Take:
    """A box's label was given the name of another box (None: one to be made): its threads go there."""

    row_id: int
    path: str
    pipeline_id: int
    box_id: int | None
    name: str


@dataclass(frozen=True, slots=True)
class Follow:
    """A box was merged into another: its label follows."""

    row_id: int
    box_id: int


@dataclass(frozen=True, slots=True)
class Undelete:
    """Somebody labelled a thread with a box's label after the box was deleted."""

    box_id: int


@dataclass(frozen=True, slots=True)
class Odd:
    """A label below ours that says nothing to us."""

    path: str
    words: str


Heard = Agree | RenameBox | RenamePipeline | Gone | Back | Forget | Bind | MakeBox | Take | Follow | Undelete | Odd


@dataclass(frozen=True, slots=True)
class Create:
    """Make a label."""

    path: str
    color: str | None = None
    pipeline_id: int | None = None
    box_id: int | None = None
    row_id: int | None = None  #: if it has a row already


@dataclass(frozen=True, slots=True)
class Patch:
    """Change a label's name, colour, or both (None: stays)."""

    row_id: int
    gmail_id: str
    path: str | None
    color: str | None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a label from Gmail."""

    row_id: int
    gmail_id: str


Write = Create | Patch | Delete
