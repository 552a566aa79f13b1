"""Hearing: what Gmail's list of labels says, against what was agreed. Pure; what Gmail is told is `tell`'s."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from gmail_sync.labels import names
from gmail_sync.labels.state import BoxNow, PipelineNow, Row, State
from gmail_sync.labels.steps import (
    Agree,
    Back,
    Bind,
    Follow,
    Forget,
    Gone,
    Heard,
    MakeBox,
    Odd,
    RenameBox,
    RenamePipeline,
    Take,
    Undelete,
)
from gmail_sync.labels.tables import ROOT, Kind

DEEP = "Nothing was done: a box has no labels inside it. The scheme is {root}/<Pipeline>/<Box>"
UNKNOWN = "Nothing was done: there is no pipeline “{name}” that you can see"
CLOSED = "Nothing was done: you see only some boxes of {pipeline}, so you can’t add one"
ARCHIVED = "Nothing was done: the pipeline {pipeline} is archived"
WAITS = "Nothing yet: a box “{name}” is made in {pipeline} as soon as a mail carries this label"
STAGE = "Nothing was done: a label can’t move boxes to a stage yet"


def hear(state: State) -> list[Heard]:
    """What is to be done here about Gmail's labels. Steps don't depend on one another."""
    return [*_Ear(state).all()]


class _Ear:
    def __init__(self, state: State) -> None:
        self.state = state
        root = state.root
        self.roots = {state.root_path, root.name if root and root.name else ROOT}
        self.claimed: set[int] = set()  # boxes that get their own label in this hearing
        self.by_path: dict[str, int] = {}  # a pipeline by how it is called: in Tracker, when last agreed, in Gmail
        self.named: dict[tuple[int, str], list[BoxNow]] = defaultdict(list)  # boxes by pipeline and name
        for box in state.boxes.values():
            self.named[box.pipeline_id, _key(box.name)].append(box)
        for one in sorted(state.pipelines.values(), key=lambda one: (not one.archived, -one.id)):
            self.by_path[names.key(names.segment(one.name, names.PIPELINE_LIMIT))] = one.id
        rows = [row for row in state.rows if row.pipeline_id in state.pipelines and row.name]
        for path_of in (lambda row: row.name, state.path_of):
            for row in rows:
                assert row.pipeline_id is not None
                self.by_path[names.key(names.last(path_of(row)))] = row.pipeline_id

    def all(self) -> Iterator[Heard]:
        known = {row.gmail_id for row in self.state.rows}
        for row in self.state.rows:
            yield from self._known(row)
        for gmail_id, path in sorted(self.state.listed.items()):
            if gmail_id not in known:
                yield from self._unknown(gmail_id, path)

    # -- labels that are ours

    def _known(self, row: Row) -> Iterator[Heard]:
        if row.box_id is not None and row.box_id not in self.state.boxes:
            if row.box_id in self.state.merged:
                yield Follow(row.id, self.state.merged[row.box_id])
                return
            if row.box_id in self.state.again:
                yield Undelete(row.box_id)
                return
        if row.gmail_id is None:
            return
        path = self.state.listed.get(row.gmail_id)
        if path is None:
            if row.pushing == "":
                yield Forget(row.id)
            elif not row.gone:
                yield Gone(row.id)
            return
        if row.gone:
            yield Back(row.id)
        if path != row.name:
            yield from self._renamed(row, path)

    def _renamed(self, row: Row, path: str) -> Iterator[Heard]:
        if path == row.pushing or row.kind == Kind.ROOT or row.former or self._is_temporary(row, path):
            yield Agree(row.id, path)
        elif row.kind == Kind.PIPELINE:
            yield self._renamed_pipeline(row, path)
        else:
            yield self._renamed_box(row, path)

    @staticmethod
    def _is_temporary(row: Row, path: str) -> bool:
        return row.pushing is not None and path.startswith(row.pushing) and path.endswith(names.CUT)

    def _renamed_pipeline(self, row: Row, path: str) -> Heard:
        assert row.pipeline_id is not None
        found = names.parts(path, self.roots)
        if found is None:
            return Gone(row.id, moved=True)
        own = names.last(path)
        taken = self.by_path.get(names.key(own)) not in (None, row.pipeline_id)
        if len(found) != 1 or own == names.last(row.name) or taken or row.pipeline_id not in self.state.pipelines:
            return Agree(row.id, path)  # and Gmail is told its name again
        return RenamePipeline(row.id, path, row.pipeline_id, names.spoken(own))

    def _renamed_box(self, row: Row, path: str) -> Heard:
        assert row.box_id is not None
        box = self.state.boxes.get(row.box_id)
        if box is None:
            return Agree(row.id, path)  # it is going to be deleted
        found = names.parts(path, self.roots)
        pipeline_id = None if found is None or len(found) != 2 else self._parent(row, box, path, found[0])
        if found is None or pipeline_id is None:
            return Gone(row.id, moved=True)
        own = found[1]
        if pipeline_id == box.pipeline_id and own == names.last(row.name):
            return Agree(row.id, path)
        other = self._box(pipeline_id, own, but=box.id)
        if other is not None:
            return Take(row.id, path, pipeline_id, other.id, other.name)
        if pipeline_id == box.pipeline_id:
            return RenameBox(row.id, path, box.id, names.spoken(own))
        if not self.state.pipelines[pipeline_id].whole or self.state.pipelines[pipeline_id].archived:
            return Agree(row.id, path)
        return Take(row.id, path, pipeline_id, None, names.spoken(own))

    def _parent(self, row: Row, box: BoxNow, path: str, part: str) -> int | None:
        """The pipeline under which a box's label stands; its own, if only that one's label was renamed."""
        above = path.rpartition("/")[0]
        label = self.state.of_pipeline(box.pipeline_id)
        own = {row.name.rpartition("/")[0]} | ({self.state.path_of(label), label.name} if label else set())
        if names.key(above) in map(names.key, own):
            return box.pipeline_id
        return self.by_path.get(names.key(part))

    def _box(self, pipeline_id: int, part: str, but: int = 0) -> BoxNow | None:
        """The box that a rep means: one that is in use before an archived one, then the newest."""
        found = [box for box in self.named[pipeline_id, _key(names.spoken(part))] if box.id != but]
        return max(found, key=lambda box: (not box.archived, box.id), default=None)

    # -- labels that somebody made

    def _unknown(self, gmail_id: str, path: str) -> Iterator[Heard]:
        for row in self.state.rows:
            if row.gmail_id is None and row.pushing == path:  # the answer to its making was lost
                yield Bind(gmail_id, path, row.pipeline_id, row.box_id)
                return
        found = names.parts(path, self.roots)
        if found is None:
            return
        if not found:
            root = self.state.root
            if root is None or root.gmail_id is None:
                yield Bind(gmail_id, path)
            return
        pipeline = self.state.pipelines.get(self.by_path.get(names.key(found[0]), 0))
        if pipeline is None:
            yield Odd(path, UNKNOWN.format(name=names.spoken(found[0])))
        elif len(found) == 1:
            yield from self._new_pipeline(gmail_id, path, pipeline)
        elif len(found) > 2:
            yield Odd(path, DEEP.format(root=self.state.root_path))
        elif found[1].startswith("@"):
            yield Odd(path, STAGE)
        else:
            yield self._new_box(gmail_id, path, pipeline, found[1])

    def _new_pipeline(self, gmail_id: str, path: str, pipeline: PipelineNow) -> Iterator[Heard]:
        row = self.state.of_pipeline(pipeline.id)
        there = row is not None and row.gmail_id in self.state.listed
        if not there and not pipeline.archived:
            yield Bind(gmail_id, path, pipeline_id=pipeline.id)

    def _new_box(self, gmail_id: str, path: str, pipeline: PipelineNow, part: str) -> Heard:
        box = self._box(pipeline.id, part)
        if box is not None:
            return self._joined(gmail_id, path, box)
        if pipeline.archived:
            return Odd(path, ARCHIVED.format(pipeline=pipeline.name))
        if not pipeline.whole:
            return Odd(path, CLOSED.format(pipeline=pipeline.name))
        if gmail_id not in self.state.carried:
            return Odd(path, WAITS.format(name=names.spoken(part), pipeline=pipeline.name))
        return MakeBox(gmail_id, path, pipeline.id, names.spoken(part))

    def _joined(self, gmail_id: str, path: str, box: BoxNow) -> Heard:
        """A label named as a box: its own, unless it has one that is named as well."""
        row = self.state.of_box(box.id)
        there = row is not None and row.gmail_id in self.state.listed
        fits = there and row is not None and names.key(names.last(self.state.path_of(row))) == _key(box.name)
        if box.id in self.claimed or fits:
            return Bind(gmail_id, path, box_id=box.id, former=True)
        self.claimed.add(box.id)
        return Bind(gmail_id, path, box_id=box.id)


def _key(name: str) -> str:
    """A box's name, to be compared with that of a label."""
    return names.key(names.segment(name, names.LIMIT))
