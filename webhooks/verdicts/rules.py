"""The rules, in order: the first that has something to say of a hit decides. Each gives its reason in words.

A rule is handed the hit and the `Case`: the mail, what is known of the own side, and all hits. It says a verdict,
the reason and, for a reader, through what; or None. Who changes what they say raises `facts.RULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from webhooks.hits import Kind
from webhooks.verdicts import agents, bursts, networks
from webhooks.verdicts.facts import Known, RawHit, Seen, Sent, Verdict

AT_ONCE = timedelta(seconds=10)  #: after sending: nobody reads so soon
SOON = timedelta(seconds=30)  #: a program's first fetch or click so soon may be a scanner's that was slow
VIEW_BEFORE, VIEW_AFTER = timedelta(seconds=10), timedelta(seconds=15)  #: images load while a thread is shown

Said = tuple[Verdict, str, str]  #: verdict, why, via
Openers = Sequence[tuple[datetime, bursts.Client]]


@dataclass(frozen=True, slots=True)
class Case:
    """All that a rule may look at beside the hit."""

    sent: Sent
    known: Known
    openers: Openers  #: the first two clients that may have had the mail open, and since when
    bursts: bursts.Bursts = field(default_factory=bursts.Bursts)


Rule = Callable[[RawHit, Case], Said | None]


def signed_in(hit: RawHit, case: Case) -> Said | None:
    """Its cookie says that somebody of ours is signed in."""
    if hit.user_key is None:
        return None
    whose = "the sender’s" if hit.user_key == case.sent.sender else "a teammate’s"
    return Verdict.OWN, f"it came from {whose} signed-in browser", ""


def before_sending(hit: RawHit, case: Case) -> Said | None:
    """Whoever sees a mail before it goes has the draft before them."""
    if case.sent.at is None:
        return Verdict.OWN, "the mail had not gone out, as far as is known", ""
    return (Verdict.OWN, "it came before the mail went out", "") if hit.at < case.sent.at else None


def known_address(hit: RawHit, case: Case) -> Said | None:
    """A signed-in browser of ours used the address around then."""
    address = networks.parsed(hit.address)
    if address is None or agents.proxy_of(hit.agent or ""):
        return None
    seen = next((one for one in case.known.team_addresses.get(str(address), ()) if _covers(one, hit)), None)
    if seen is None:
        return None
    whose = "you" if not seen.name else seen.name
    return Verdict.OWN, f"it came from an address where {whose} was signed in around then", ""


def _covers(seen: Seen, hit: RawHit) -> bool:
    return seen.since <= hit.at <= seen.until


def own_view(hit: RawHit, case: Case) -> Said | None:
    """Gmail's proxy hides who looks, but one of ours had the thread open in that moment."""
    if hit.kind != Kind.OPEN or agents.proxy_of(hit.agent or "") != agents.GMAIL:
        return None
    for user_key, at in case.known.own_views:
        if at - VIEW_BEFORE <= hit.at <= at + VIEW_AFTER:
            who = "the sender" if user_key == case.sent.sender else "a teammate"
            return Verdict.OWN, f"{who} had the conversation open in that moment", ""
    return None


def shown_after_sending(hit: RawHit, case: Case) -> Said | None:
    """Gmail shows senders what they sent, through the same proxy as its readers."""
    if hit.kind != Kind.OPEN or agents.proxy_of(hit.agent or "") != agents.GMAIL:
        return None
    seconds = _seconds(hit, case)
    if seconds > AT_ONCE.total_seconds():
        return None
    return Verdict.OWN, f"{_after(seconds)}: too soon for a reader, so the sender’s own view of it", ""


def gmail_prefetch(hit: RawHit, case: Case) -> Said | None:
    """Gmail fetches images ahead of an open tab or app, under a name of its own."""
    if (hit.agent or "") != agents.GMAIL_PREFETCH:
        return None
    google = networks.is_google(hit.address)
    if google is None:
        return Verdict.PREFETCH, "Gmail fetched it ahead, by its name (the address tells nothing); no reader", ""
    if google:
        return Verdict.PREFETCH, "Gmail fetched it ahead, before anybody looked", ""
    return Verdict.UNCLEAR, "the name of Gmail’s prefetch, but not from Google: an old browser or a scanner", ""


def ahead_of_time(hit: RawHit, case: Case) -> Said | None:
    """A browser that prefetches says so (Fetch Metadata's Sec-Purpose; Purpose and X-Moz before it)."""
    said = " ".join(hit.headers.get(name, "") for name in ("sec-purpose", "purpose", "x-purpose", "x-moz"))
    if any(word in said.lower() for word in ("prefetch", "prerender", "preview")):
        return Verdict.BOT, "a browser fetched it ahead, in case somebody clicks", ""
    return None


def only_asked(hit: RawHit, case: Case) -> Said | None:
    """HEAD shows nothing to anybody."""
    if hit.headers.get("method", "").upper() != "HEAD":
        return None
    return Verdict.SCANNER, "it only asked whether it is there (HEAD), as scanners do", ""


def scanner_by_name(hit: RawHit, case: Case) -> Said | None:
    """Some security products say who they are."""
    if agents.is_scanner(hit.agent or ""):
        return Verdict.SCANNER, "it calls itself a security product’s or an automatic browser", ""
    return None


def bot_by_name(hit: RawHit, case: Case) -> Said | None:
    """Libraries, previews and crawlers mostly say who they are."""
    agent = hit.agent or ""
    if not agent.strip():
        return Verdict.BOT, "it does not say what it is, as every browser and mail program does", ""
    return (Verdict.BOT, "it calls itself a program, a preview or a crawler", "") if agents.is_bot(agent) else None


def scanner_by_address(hit: RawHit, case: Case) -> Said | None:
    """From where only scanners ask."""
    whose = networks.is_scanner(hit.address, case.known.scanner_networks)
    return (Verdict.SCANNER, f"it came from {whose}", "") if whose else None


def apple_privacy(hit: RawHit, case: Case) -> Said | None:
    """Apple's devices fetch every mail's images through its relay, sooner or later, read or not."""
    if (hit.agent or "") != agents.APPLE_PRIVACY:
        return None
    if hit.kind == Kind.CLICK or hit.headers.get("referer"):
        return Verdict.BOT, "it calls itself nothing but Mozilla/5.0 and follows links", ""
    return Verdict.APPLE, "Apple’s Mail Privacy Protection fetches it whether the mail is read or not", ""


def burst(hit: RawHit, case: Case) -> Said | None:
    """Nobody follows that many links at once."""
    if hit.key in case.bursts.sure:
        return Verdict.SCANNER, "several links were followed within seconds, as scanners do", ""
    if case.bursts.stains(hit):
        return (
            Verdict.SCANNER,
            "the same program at the same address followed several links within seconds",
            "",
        )
    if hit.key in case.bursts.quick:
        return Verdict.UNCLEAR, "several links within seconds, after the mail was opened: tabs, or a scanner", ""
    if hit.key not in case.bursts.pairs:
        return None
    if opened_before(hit, case.openers):
        return (
            Verdict.UNCLEAR,
            "both links within seconds, after the mail was opened: somebody quick, or a scanner",
            "",
        )
    return Verdict.SCANNER, "all links were followed within seconds, and nobody had opened the mail", ""


def openers(sent: Sent, hits: Sequence[RawHit]) -> Openers:
    """The first two clients (address and agent) that may have shown the mail to somebody."""
    found: dict[bursts.Client, datetime] = {}
    for one in hits:
        client = one.address, one.agent
        if len(found) < 2 and client not in found and _may_show(sent, one):
            found[client] = one.at
    return [(at, client) for client, at in found.items()]


def _may_show(sent: Sent, one: RawHit) -> bool:
    agent = one.agent or ""
    if one.recorded is not None:
        return one.kind == Kind.OPEN and one.recorded[0] in (Verdict.PROXY, Verdict.PERSON)
    return bool(
        one.kind == Kind.OPEN
        and sent.at is not None
        and one.at > sent.at + AT_ONCE
        and agent != agents.GMAIL_PREFETCH
        and (agents.proxy_of(agent) or agents.program_of(agent))
    )


def opened_before(hit: RawHit, first: Openers, *, by_itself: bool = False) -> bool:
    """Somebody had the mail open, by another program than the one that clicks; `by_itself`: or by that one."""
    client = hit.address, hit.agent
    return any(at <= hit.at - bursts.BEFORE and (by_itself or one != client) for at, one in first)


def at_once(hit: RawHit, case: Case) -> Said | None:
    """A mail is scanned while it is delivered."""
    seconds = _seconds(hit, case)
    if seconds <= AT_ONCE.total_seconds():
        return Verdict.SCANNER, f"{_after(seconds)}: that is a scanner at delivery, nobody reads so soon", ""
    return None


def mail_proxy(hit: RawHit, case: Case) -> Said | None:
    """Gmail's and others' proxies fetch when somebody opens the mail."""
    name = agents.proxy_of(hit.agent or "")
    if not name:
        return None
    if hit.kind == Kind.CLICK:
        return Verdict.BOT, f"{name} fetches images and follows no links: a check, or somebody’s script", ""
    if name == agents.GMAIL and networks.is_google(hit.address) is False:
        return Verdict.UNCLEAR, "it calls itself Gmail’s proxy, but the address is not known as Google’s", ""
    why = f"{name} fetched it, as it does when somebody opens the mail"
    own = "; the sender’s own view would look the same" if name == agents.GMAIL else ""
    return Verdict.PROXY, why + own, name


def too_soon(hit: RawHit, case: Case) -> Said | None:
    """Some gateways take half a minute."""
    seconds = _seconds(hit, case)
    if seconds > SOON.total_seconds():
        return None
    return Verdict.UNCLEAR, f"{_after(seconds)}: a quick reader, or a scanner that was slow", ""


def outdated(hit: RawHit, case: Case) -> Said | None:
    """Scanners in disguise wear the same old browser for years."""
    if agents.program_of(hit.agent or "") == "a browser" and agents.is_outdated(hit.agent or "", hit.at):
        return Verdict.UNCLEAR, "a browser that is years behind: a scanner in disguise, or an old computer", ""
    return None


def click(hit: RawHit, case: Case) -> Said | None:
    """What is left of clicks is a person's."""
    if hit.kind != Kind.CLICK:
        return None
    agent = hit.agent or ""
    if networks.is_google(hit.address):
        return Verdict.UNCLEAR, "the link was followed from Google’s network: its checks, or somebody there", ""
    if agents.program_of(agent):
        return Verdict.PERSON, "somebody clicked the link", agents.program_of(agent)
    return Verdict.UNCLEAR, "the link was followed by a program that is not known", ""


def opened(hit: RawHit, case: Case) -> Said | None:
    """What is left of opens is a mail program's or a browser's."""
    name = agents.program_of(hit.agent or "")
    if name:
        return Verdict.PERSON, f"{name} fetched it, as it does when somebody reads the mail", name
    return Verdict.UNCLEAR, "a program that is not known fetched it", ""


#: In this order: our own side, what says itself that it is a machine, what came too fast, then readers.
IN_ORDER: tuple[Rule, ...] = (
    signed_in, before_sending, known_address, own_view, shown_after_sending, gmail_prefetch, ahead_of_time,
    only_asked, scanner_by_name, bot_by_name, scanner_by_address, apple_privacy, burst, at_once, mail_proxy,
    too_soon, outdated, click, opened,
)  # fmt: skip


def say(hit: RawHit, case: Case) -> Said:
    """What the first rule says that has something to say."""
    for rule in IN_ORDER:
        said = rule(hit, case)
        if said is not None:
            return said
    raise AssertionError("the last rule always says something")


def _seconds(hit: RawHit, case: Case) -> float:
    assert case.sent.at is not None, "`before_sending` comes first"
    return (hit.at - case.sent.at).total_seconds()


def _after(seconds: float) -> str:
    count = max(0, round(seconds))
    return "in the very second of sending" if count == 0 else f"{count} second{'s' * (count != 1)} after sending"
