"""From hits to a reading: each hit's verdict, hits joined to views, and what they say together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from webhooks.hits import Kind
from webhooks.tracks import Confidence
from webhooks.verdicts import bursts, rules
from webhooks.verdicts.agents import PROGRAMS, PROXIES
from webhooks.verdicts.facts import MACHINES, Judged, Known, RawHit, Reading, Sent, Sitting, Verdict, View

JOIN = timedelta(minutes=30)  #: hits of one kind of client with no longer pause are one view
_VIAS = (*(name for _, name in (*PROXIES, *PROGRAMS)), "Apple Mail")


def judge(sent: Sent, hits: Iterable[RawHit], known: Known) -> Reading:
    """What the hits of a mail were: a function of their set, whatever the order and however often one comes."""
    ordered = sorted({hit.key: hit for hit in hits}.values(), key=lambda hit: (hit.at, hit.key))
    fresh = [hit for hit in ordered if hit.recorded is None]
    first = rules.openers(sent, ordered)
    found = bursts.find(sent, fresh, lambda hit: rules.opened_before(hit, first, by_itself=True))
    case = rules.Case(sent, known, first, found)
    judged = {hit.key: _judge(hit, case) for hit in ordered}
    return _together(sent, ordered, judged)


def _judge(hit: RawHit, case: rules.Case) -> Judged:
    if hit.recorded is not None:
        verdict, why = Verdict(hit.recorded[0]), hit.recorded[1]
        return Judged(verdict, why, sureness(verdict, hit.kind), _via_of(why, verdict))
    verdict, why, via = rules.say(hit, case)
    return Judged(verdict, why, sureness(verdict, hit.kind), via)


def sureness(verdict: Verdict, kind: str) -> Confidence:
    """What one hit says of a person having read the mail."""
    if verdict in MACHINES:
        return Confidence.MACHINE
    if verdict == Verdict.UNCLEAR:
        return Confidence.POSSIBLE
    return Confidence.CERTAIN if kind == Kind.CLICK else Confidence.LIKELY


def _via_of(why: str, verdict: Verdict) -> str:
    """Through what, read back from the reason: all that is left of a hit whose raw data is forgotten."""
    if verdict in MACHINES or verdict == Verdict.UNCLEAR:
        return ""
    return next((name for name in _VIAS if why.startswith(name)), "a browser")


def _views(hits: Sequence[RawHit], judged: Mapping[str, Judged]) -> list[View]:
    """Opens of one kind of client without a long pause are one view; a click belongs to whatever view is open."""
    views: list[View] = []
    newest: dict[str, int] = {}  # by client, the place of its last view
    for hit in hits:
        said = judged[hit.key]
        if said.confidence.rank < Confidence.LIKELY.rank:
            continue
        is_click = hit.kind == Kind.CLICK
        still = [place for place in newest.values() if hit.at - views[place].last <= JOIN]
        if not is_click:
            still = [place for place in still if views[place].via == said.via]
        if still:
            place = max(still, key=lambda one: (views[one].last, one))
            views[place] = replace(views[place], last=hit.at)
        else:
            newest[said.via] = len(views)
            views.append(View(said.via, hit.at, hit.at, is_click))
    return views


def _sittings(sent: Sent, hits: Sequence[RawHit], judged: Mapping[str, Judged]) -> list[Sitting]:
    made: list[Sitting] = []
    first_read: datetime | None = None
    for hit in hits:
        said = judged[hit.key].confidence
        if said == Confidence.LIKELY and first_read is None:
            first_read = hit.at
        if said != Confidence.CERTAIN:
            continue
        if not made or hit.at - made[-1].last > JOIN:
            cold = sent.links > 1 and (first_read is None or first_read > hit.at - bursts.BEFORE)
            made.append(Sitting(hit.at, hit.at, hit.link, cold))
        else:
            made[-1] = replace(made[-1], last=hit.at)
    return made


def _clicks(hits: Sequence[RawHit], judged: Mapping[str, Judged]) -> int:
    """Clicks of people; the same link again within the window is no other click."""
    count, last = 0, dict[int | None, datetime]()
    for hit in hits:
        if hit.kind != Kind.CLICK or judged[hit.key].confidence != Confidence.CERTAIN:
            continue
        if hit.link not in last or hit.at - last[hit.link] > JOIN:
            count += 1
        last[hit.link] = hit.at
    return count


def _together(sent: Sent, hits: Sequence[RawHit], judged: Mapping[str, Judged]) -> Reading:
    views = _views(hits, judged)
    clicked = _clicks(hits, judged)
    best = max((said.confidence for said in judged.values()), key=lambda one: one.rank, default=Confidence.NONE)
    if sent.answered_at is not None:
        best = Confidence.CERTAIN
    via = max(views, key=lambda view: (view.last, view.via)).via if views else ""
    return Reading(
        hits=judged,
        confidence=best,
        why=_why(sent, best, hits, judged, clicked),
        via=via,
        clicked=clicked,
        views=tuple(views),
        sittings=tuple(_sittings(sent, hits, judged)),
    )


def _why(sent: Sent, best: Confidence, hits: Sequence[RawHit], judged: Mapping[str, Judged], clicked: int) -> str:
    if sent.answered_at is not None:
        return "somebody of their company answered" if sent.answered_by == "colleague" else "it was answered"
    if best == Confidence.NONE:
        return "nothing was heard of it"
    if best == Confidence.CERTAIN:
        return "a link was clicked" if clicked == 1 else f"links were clicked {clicked} times"
    if best == Confidence.MACHINE:
        kinds = {said.verdict for said in judged.values()}
        return _MACHINES[kinds.pop()] if len(kinds) == 1 else "only machines and its own side were there"
    newest = [hit for hit in hits if judged[hit.key].confidence == best][-1]
    return judged[newest.key].why


_MACHINES = {
    Verdict.OWN: "only its own side looked at it",
    Verdict.PREFETCH: "only Gmail fetched it ahead",
    Verdict.APPLE: "only Apple’s privacy protection fetched it, which tells nothing of a reader",
    Verdict.SCANNER: "only a security scanner looked at it",
    Verdict.BOT: "only a program fetched it",
}
