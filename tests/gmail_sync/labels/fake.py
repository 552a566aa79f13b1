"""Gmail's labels and history in memory, as fast as a property test wants them; it fails on demand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gmail_sync.client import HistoryPage
from gmail_sync.errors import Conflict, NotFound, Permanent
from gmail_sync.labels.names import key

FIRST = 10**9


class Cut(BaseException):
    """The worker dies here."""


@dataclass
class FakeGmail:
    """One mailbox; it does what the client's methods of these names ask of Gmail."""

    threads: dict[str, list[str]]  #: messages by thread
    names: dict[str, str] = field(default_factory=dict)  #: label id → path
    colors: dict[str, tuple[str, str]] = field(default_factory=dict)
    carried: dict[str, set[str]] = field(default_factory=dict)  #: labels by message
    records: list[dict[str, Any]] = field(default_factory=list)
    writes: int = 0
    calls: int = 0
    dies_at: int | None = None  #: at which call, from now on; below 0 before it is carried out
    late: bool = False  #: it dies once the call was carried out
    last: int = 0

    def __post_init__(self) -> None:
        self.carried = {id_: set() for messages in self.threads.values() for id_ in messages}
        self.of = {id_: thread for thread, messages in self.threads.items() for id_ in messages}

    # -- what a person does

    def make(self, path: str) -> str:
        """A label, and those above it; its id, also of one that there is."""
        pieces = path.split("/")
        for depth in range(1, len(pieces) + 1):
            found = self.id_of("/".join(pieces[:depth])) or self._make("/".join(pieces[:depth]))
        return found

    def id_of(self, path: str) -> str | None:
        """A label by its path."""
        return next((id_ for id_, name in self.names.items() if key(name) == key(path)), None)

    def put(self, thread: str, label_id: str, on: bool) -> None:
        """Put a label on a thread, or take it off."""
        self._change(self.threads[thread], [label_id] if on else [], [] if on else [label_id])

    def carries_label(self, thread: str, label_id: str) -> bool:
        """Whether any message of a thread carries it."""
        return any(label_id in self.carried[id_] for id_ in self.threads[thread])

    def rename(self, label_id: str, path: str) -> bool:
        """Rename a label; not to a name in use."""
        if self.id_of(path) not in (None, label_id):
            return False
        self.names[label_id] = path
        return True

    def drop(self, label_id: str) -> None:
        """Delete a label."""
        del self.names[label_id]
        self._change([id_ for id_, labels in self.carried.items() if label_id in labels], [], [label_id])

    def _make(self, path: str) -> str:
        self.last += 1
        self.names[f"Label_{self.last}"] = path
        return f"Label_{self.last}"

    def _change(self, messages: Iterable[str], add: Sequence[str], remove: Sequence[str]) -> None:
        for id_ in messages:
            before = self.carried[id_]
            for array, labels in (("labelsAdded", set(add) - before), ("labelsRemoved", before & set(remove))):
                if labels:
                    message = {"id": id_, "threadId": self.of[id_], "labelIds": ["INBOX"]}
                    number = FIRST + len(self.records)
                    self.records.append(
                        {"id": str(number), array: [{"message": message, "labelIds": sorted(labels)}]}
                    )
            self.carried[id_] = (before | set(add)) - set(remove)

    # -- what the client asks

    def _asked(self, write: Any = None) -> Any:
        """Carry a call out, unless the worker dies before; or it dies after."""
        self.calls += 1
        dies = self.dies_at is not None and self.calls >= self.dies_at
        if dies and not self.late:
            raise Cut
        answer = None
        if write is not None:
            self.writes += 1
            answer = write()
        if dies:
            raise Cut
        return answer

    def labels(self) -> dict[str, str]:
        self._asked()
        return dict(self.names)

    def history(self, start: int, page_token: str | None = None) -> HistoryPage:
        found = [one for one in self.records if int(one["id"]) > start]
        return HistoryPage(tuple(found), None, FIRST + len(self.records) - 1 if self.records else start)

    def create_label(self, path: str, colors: tuple[str, str] | None) -> str:
        def make() -> str:
            if self.id_of(path) is not None:
                raise Conflict(path)
            id_ = self._make(path)
            if colors:
                self.colors[id_] = colors
            return id_

        return str(self._asked(make))

    def patch_label(self, label_id: str, path: str | None, colors: tuple[str, str] | None) -> None:
        def patch() -> None:
            if label_id not in self.names:
                raise NotFound(label_id)
            if path is not None and not self.rename(label_id, path):
                raise Conflict(path)
            if colors:
                self.colors[label_id] = colors

        self._asked(patch)

    def delete_label(self, label_id: str) -> None:
        def delete() -> None:
            if label_id not in self.names:
                raise NotFound(label_id)
            self.drop(label_id)

        self._asked(delete)

    def carries(self, label_id: str) -> bool:
        self._asked()
        if label_id not in self.names:
            raise NotFound(label_id)
        return any(label_id in labels for labels in self.carried.values())

    def relabel(self, method: str, ids: Sequence[str], add: Sequence[str], remove: Sequence[str]) -> None:
        def change() -> None:
            if not {*add, *remove} <= self.names.keys():
                raise Permanent("Invalid label")
            messages = self.threads[ids[0]] if method == "threads.modify" else ids
            self._change(messages, add, remove)

        self._asked(change)

    def close(self) -> None:
        pass
