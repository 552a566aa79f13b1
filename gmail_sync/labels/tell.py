"""Telling: what Gmail's labels have to become. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gmail_sync.budget import UNITS
from gmail_sync.labels import names
from gmail_sync.labels.names import Named
from gmail_sync.labels.state import BoxNow, State
from gmail_sync.labels.steps import Create, Delete, Patch, Write
from gmail_sync.labels.tables import ROOT, Kind

MOST = 1000  # labels of boxes that we make in a mailbox: Gmail holds 10,000, a rep finds things among fewer


@dataclass(frozen=True, slots=True)
class Told:
    """What comes next; where names further down may follow by themselves, Gmail is listed again before."""

    writes: tuple[Write, ...] = ()
    list_again: bool = False


def tell(state: State) -> Told:
    """What Gmail is told next: the root, then pipelines, then boxes."""
    root = tuple(_root(state))
    if root:
        return Told(root, list_again=any(isinstance(one, Patch) for one in root))
    found = state.root
    if found is None or not found.is_there:
        return Told()
    pipelines = tuple(_pipelines(state))
    if pipelines:
        return Told(pipelines, list_again=any(isinstance(one, Patch) for one in pipelines))
    return Told((*_deletes(state), *_boxes(state)))


def _root(state: State) -> Iterator[Write]:
    row = state.root
    if row is None:
        yield Create(ROOT)
    elif row.gmail_id is None and not row.gone:
        yield Create(row.name or ROOT, row_id=row.id)


def foreign(state: State) -> list[str]:
    """The paths of labels that are not ours."""
    ours = {row.gmail_id for row in state.rows}
    return [path for id_, path in state.listed.items() if id_ not in ours]


def _pipelines(state: State) -> Iterator[Write]:
    rows = {row.pipeline_id: row for row in state.rows if row.kind == Kind.PIPELINE}
    wanted = []
    for one in state.pipelines.values():
        row = rows.get(one.id)
        if (row is not None and row.gone) or (one.archived and (row is None or row.gmail_id is None)):
            continue
        now = state.path_of(row) if row is not None and row.gmail_id else ""
        wanted.append(Named(one.id, state.root_path, one.name, now, names.PIPELINE_LIMIT))
    refused = [(row.pipeline_id, row.refused) for row in rows.values() if row.pipeline_id and row.refused]
    paths = names.paths(wanted, foreign(state), refused)
    patches = []
    for id_, path in paths.items():
        row = rows.get(id_)
        if row is None or row.gmail_id is None:
            yield Create(path, pipeline_id=id_, row_id=row.id if row else None)
        elif path != state.path_of(row):
            patches.append(Patch(row.id, row.gmail_id, path, None))
    yield from in_order(patches, state)


def _deletes(state: State) -> Iterator[Write]:
    for row in state.rows:
        hidden = row.pipeline_id not in state.pipelines if row.kind == Kind.PIPELINE else (
            row.kind == Kind.BOX and row.box_id not in state.boxes and row.box_id not in state.merged
        )  # fmt: skip
        if hidden and row.gmail_id is not None and row.gmail_id in state.listed:
            yield Delete(row.id, row.gmail_id)


def _boxes(state: State) -> Iterator[Write]:
    rows = {row.box_id: row for row in state.rows if row.kind == Kind.BOX and not row.former}
    boxes = [*_labelled(state)]
    wanted = []
    for box in boxes:
        row = rows.get(box.id)
        now = state.path_of(row) if row is not None and row.gmail_id else ""
        wanted.append(Named(box.id, _parent(state, box), box.name, now))
    ours = [state.path_of(row) for row in state.rows if row.is_there and (row.former or row.kind != Kind.BOX)]
    refused = [(row.box_id, row.refused) for row in rows.values() if row.box_id and row.refused]
    paths = names.paths(wanted, [*foreign(state), *ours], refused)
    patches = []
    for box in boxes:
        row, path = rows.get(box.id), paths[box.id]
        if row is None or row.gmail_id is None:
            yield Create(path, box.color, box_id=box.id, row_id=row.id if row else None)
            continue
        name = path if path != state.path_of(row) else None
        color = box.color if box.color != row.color else None
        if name is not None or color is not None:
            patches.append(Patch(row.id, row.gmail_id, name, color))
    yield from in_order(patches, state)


def _parent(state: State, box: BoxNow) -> str:
    row = state.of_pipeline(box.pipeline_id)
    assert row is not None
    return state.path_of(row)


def _labelled(state: State) -> Iterator[BoxNow]:
    """The boxes that have a label, and those that get one."""
    rows = {row.box_id: row for row in state.rows if row.kind == Kind.BOX and not row.former}
    room = MOST - sum(row.is_there for row in rows.values())
    for box in sorted(state.boxes.values(), key=lambda box: box.id):
        row, parent = rows.get(box.id), state.of_pipeline(box.pipeline_id)
        if parent is None or (row is not None and row.gone):
            continue
        if row is not None and row.gmail_id is not None:
            yield box
        elif box.wanted and parent.is_there and room > 0 and not _is_put_away(state, box):
            room -= 1
            yield box


def _is_put_away(state: State, box: BoxNow) -> bool:
    return box.archived or state.pipelines[box.pipeline_id].archived


def in_order(patches: Iterable[Patch], state: State) -> list[Patch]:
    """Patches so that none takes a name that another still has; two that swap theirs go by a third name."""
    left: list[Patch] = list(patches)
    holding = {names.key(path): id_ for id_, path in state.listed.items()}
    done: list[Patch] = []
    while left:
        free = [
            one
            for one in left
            if one.path is None or holding.get(names.key(one.path), one.gmail_id) == one.gmail_id
        ]
        if not free:
            free = [_aside(left[0])]
        else:
            left = [one for one in left if one not in free]
        for one in free:
            _hold(holding, one)
        done += free
    return done


def _aside(patch: Patch) -> Patch:
    assert patch.path is not None
    return Patch(patch.row_id, patch.gmail_id, patch.path[: names.LIMIT - 2] + " " + names.CUT, None)


def _hold(holding: dict[str, str], patch: Patch) -> None:
    if patch.path is None:
        return
    for path in [path for path, id_ in holding.items() if id_ == patch.gmail_id]:
        del holding[path]
    holding[names.key(patch.path)] = patch.gmail_id


def units(writes: Sequence[Write]) -> int:
    """What these cost."""
    return sum(UNITS[_METHODS[type(write)]] for write in writes)


_METHODS: dict[type, str] = {Create: "labels.create", Patch: "labels.patch", Delete: "labels.delete"}
