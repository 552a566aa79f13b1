"""A small obvious model of who sees what, to hold the gate's SQL against. It knows no SQL and no short cuts."""

from __future__ import annotations

from dataclasses import dataclass, field

NOTHING, EXISTENCE, SUBJECT, FULL = range(4)
DEFAULT = (FULL, NOTHING)  # with an outsider, purely internal


@dataclass(frozen=True)
class Mail:
    """What a message is: its conversation, who wrote it, who got it for all to see."""

    name: str
    thread: str
    sender: str
    to: tuple[str, ...]


@dataclass(frozen=True)
class Held:
    """A copy of a mail in somebody's mailbox."""

    mailbox: str
    hidden: bool
    bcc: tuple[str, ...]


@dataclass
class World:
    """Everything that decides, by name."""

    own: set[str] = field(default_factory=set)  #: addresses of the team's own, also of those who left
    owner_of: dict[str, str] = field(default_factory=dict)  #: mailbox → person
    mails: dict[str, Mail] = field(default_factory=dict)
    copies: dict[str, dict[str, Held]] = field(default_factory=dict)  #: mail → mailbox → copy
    filed: set[tuple[str, str]] = field(default_factory=set)  #: (thread, box)
    pipeline_of: dict[str, str] = field(default_factory=dict)  #: box → pipeline
    sees: dict[str, set[str]] = field(default_factory=dict)  #: person → boxes
    rules: dict[tuple[str, str, str], tuple[int, int]] = field(
        default_factory=dict
    )  #: (person, kind, place) → pair
    grants: set[tuple[str, str, str, str]] = field(default_factory=set)  #: (owner, to, kind, place)
    private: set[tuple[str, str]] = field(default_factory=set)
    #: what was shared when its owner left: (mail, owner, pipeline or "", person or "") → level
    kept: dict[tuple[str, str, str, str], int] = field(default_factory=dict)

    def level(self, person: str, name: str) -> int:
        """How much of a mail somebody sees."""
        if any(self.owner_of[box] == person and not held.hidden for box, held in self.copies[name].items()):
            return FULL
        return self.shared_level(person, name)

    def shared_level(self, person: str, name: str) -> int:
        """How much of a mail others let somebody see."""
        levels = [self._of_copy(person, self.mails[name], held) for held in self.copies[name].values()]
        return max([NOTHING, *levels, *self._of_kept(person, self.mails[name])])

    def _of_copy(self, person: str, mail: Mail, held: Held) -> int:
        owner = self.owner_of[held.mailbox]
        if held.hidden or owner == person or self._is_private(owner, mail, held.bcc):
            return NOTHING
        if (owner, person, "conversation", mail.thread) in self.grants:
            return FULL
        said = self.rules.get((owner, "conversation", mail.thread))
        best = NOTHING
        for box in self.sees[person]:
            if (mail.thread, box) in self.filed:
                best = max(best, self._in_box(owner, person, mail, held.mailbox, self.pipeline_of[box]))
        granted = any((owner, person, "address", one) in self.grants for one in (mail.sender, *mail.to))
        if granted and self._is_outside(mail):
            best = max(best, self._pick(mail, said or (FULL, FULL)))
        return best

    def _in_box(self, owner: str, person: str, mail: Mail, mailbox: str, pipeline: str) -> int:
        for pair in (
            self.rules.get((owner, "conversation", mail.thread)),
            (FULL, FULL) if (owner, person, "pipeline", pipeline) in self.grants else None,
            self.rules.get((owner, "pipeline", pipeline)),
            self.rules.get((owner, "mailbox", mailbox)),
        ):
            if pair is not None:
                return self._pick(mail, pair)
        return self._pick(mail, DEFAULT)

    def _of_kept(self, person: str, mail: Mail) -> list[int]:
        found = []
        for (name, owner, pipeline, to), level in self.kept.items():
            if name != mail.name or to not in ("", person) or self._is_private(owner, mail, ()):
                continue
            boxes = {box for box in self.sees[person] if self.pipeline_of[box] == pipeline}
            if not pipeline or any((mail.thread, box) in self.filed for box in boxes):
                found.append(level)
        return found

    def _is_private(self, owner: str, mail: Mail, bcc: tuple[str, ...]) -> bool:
        entries = [value for who, value in self.private if who == owner]
        return any(covers(value, one) for value in entries for one in (mail.sender, *mail.to, *bcc))

    def _pick(self, mail: Mail, pair: tuple[int, int]) -> int:
        return pair[0] if self._is_outside(mail) else pair[1]

    def _is_outside(self, mail: Mail) -> bool:
        return any(one not in self.own for one in (mail.sender, *mail.to))

    def leave(self, owner: str, team: list[str]) -> None:
        """Freeze what somebody shares, then take away what was theirs."""
        self.kept = {at: level for at, level in self.kept.items() if owner not in (at[1], at[3])}
        frozen: dict[tuple[str, str, str, str], int] = {}

        def keep(name: str, pipeline: str, to: str, level: int) -> None:
            if level > NOTHING:
                at = (name, owner, pipeline, to)
                frozen[at] = max(level, frozen.get(at, 0))

        for name, copies in self.copies.items():
            mail = self.mails[name]
            for held in copies.values():
                if self.owner_of[held.mailbox] != owner or held.hidden or self._is_private(owner, mail, held.bcc):
                    continue
                pipelines = {self.pipeline_of[box] for thread, box in self.filed if thread == mail.thread}
                said = self.rules.get((owner, "conversation", mail.thread)) or (FULL, FULL)
                for pipeline in pipelines:
                    keep(name, pipeline, "", self._in_box(owner, "", mail, held.mailbox, pipeline))
                for by, to, kind, place in self.grants:
                    if by != owner or to not in team:
                        continue
                    if kind == "conversation" and place == mail.thread:
                        keep(name, "", to, FULL)
                    elif kind == "address" and place in (mail.sender, *mail.to) and self._is_outside(mail):
                        keep(name, "", to, self._pick(mail, said))
                    elif kind == "pipeline" and place in pipelines:
                        keep(name, place, to, self._pick(mail, said))
        self.kept |= frozen
        self.grants = {one for one in self.grants if owner not in one[:2]}
        for name in self.copies:
            self.copies[name] = {
                box: held for box, held in self.copies[name].items() if self.owner_of[box] != owner
            }


def covers(value: str, address: str) -> bool:
    """Whether an entry of a private list stands for an address."""
    host = address.rpartition("@")[2]
    return value == address or host == value or host.endswith("." + value)
