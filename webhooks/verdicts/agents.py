"""Who says what of itself in User-Agent. Data, with its sources; all are compared in lower case.

General lists of robots call Gmail's proxy one and miss its prefetch, so these are our own, of what mail meets.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

#: SparkPost/Bird, "Update on the Gmail App Prefetching Images" (January 2022, 9.8 billion events): exactly this,
#: from a Google address, is fetched ahead of any reader.
GMAIL_PREFETCH = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
)
#: Word to the Wise, "Apple MPP" (September 2021); so say Litmus and Postmark.
APPLE_PRIVACY = "Mozilla/5.0"

#: Image proxies of mail services, which ask when somebody opens the mail, most of the time.
PROXIES = (
    ("googleimageproxy", "Gmail’s proxy"),
    ("yahoomailproxy", "Yahoo’s proxy"),  # help.yahoo.com, SLN28749
    ("outlookimageproxy", "Outlook.com’s proxy"),
)
GMAIL = PROXIES[0][1]

#: Security products by name: Braze, "Bot click filtering"; Suped, "How can I identify bot user agents" (2025);
#: Microsoft's [MS-OCPROTO] for the Office probes; Outlook.com's preview was seen as MSIE 10 (Stack Overflow,
#: 2015).
SCANNERS = (
    "barracuda", "proofpoint", "mimecast", "ciscosecureemail", "ironport", "cisco umbrella", "symantec",
    "messagelabs", "trendmicro", "trend micro", "tmes", "fireeye", "trellix", "fortimail", "forcepoint", "sophos",
    "kaspersky", "zscaler", "cloudmark", "vadesecure", "vade secure", "checkpoint", "harmony email", "avanan",
    "mcafee", "websense", "bitdefender", "sonicwall", "spamassassin", "safelinks", "safebrowsing", "urlscan",
    "virustotal", "amazon cloudfront", "headlesschrome", "phantomjs", "puppeteer", "playwright", "selenium",
    "microsoft office existence discovery", "microsoft office protocol discovery", "microsoft-webdav",
    "compatible; msie 10.0; windows nt 6.2; wow64; trident/6.0)",
)  # fmt: skip

#: Programs and services that fetch without a reader.
BOTS = (
    "bot", "crawler", "spider", "slurp", "bingpreview", "skypeuripreview", "facebookexternalhit",
    "facebookexternalua", "whatsapp/", "slackbot", "linkexpanding", "snap url preview", "urlpreview",
    "link preview", "linkpreview",
    "iframely", "embedly", "pinterest/", "vkshare", "google web preview", "google-safety", "google-read-aloud",
    "googleother", "feedfetcher", "feedburner", "rss", "hubspot", "curl/", "wget/", "python", "aiohttp", "httpx",
    "go-http-client", "java/", "apache-httpclient", "okhttp", "ahc/", "axios", "node-fetch", "undici", "got (",
    "libwww", "lwp::", "guzzle", "php/", "ruby", "faraday", "lua-resty", "jetty", "scrapy", "postmanruntime",
    "insomnia", "winhttp", "powershell", "dart:io", "reqwest", "perl", "monitor", "pingdom", "uptimerobot",
    "check_http",
)  # fmt: skip

#: Mail programs that fetch a mail's images themselves when it is shown.
PROGRAMS = (
    ("thunderbird", "Thunderbird"),
    ("outlook-ios", "Outlook"),
    ("outlook-android", "Outlook"),
    ("oneoutlook", "Outlook"),
    ("macoutlook", "Outlook"),
    ("microsoft outlook", "Outlook"),
    ("msoffice", "Outlook"),  # with or without the program's name: Litmus, "Outlook's user agents"
    ("ms-office", "Outlook"),
    ("dalvik/", "an Android mail program"),
)
_ENGINES = ("chrome/", "firefox/", "safari/", "edg/", "edge/", "opr/", "msie", "trident/")
_WEBKIT = re.compile(r"\(\s*(macintosh|iphone|ipad|ipod)\b.*applewebkit/", re.IGNORECASE)
_CHROME = re.compile(r"chrome/(\d{1,3})\.", re.IGNORECASE)
#: Chrome 134 came on 4 March 2025, and another each four weeks since.
_CHROME_134 = datetime(2025, 3, 4, tzinfo=UTC)
AGENTS = 1024  # the last so many are not looked through again
_BEHIND = 30  # versions, a good two years: scanners in disguise (gophish issues 2357 and 2446)


@lru_cache(AGENTS)
def proxy_of(agent: str) -> str:
    """Which mail service's image proxy it is, or nothing."""
    return _named(agent, PROXIES)


@lru_cache(AGENTS)
def is_scanner(agent: str) -> bool:
    """It calls itself a security product."""
    return any(name in agent.lower() for name in SCANNERS)


@lru_cache(AGENTS)
def is_bot(agent: str) -> bool:
    """It calls itself a library, a preview or a crawler; or nothing at all."""
    lower = agent.lower().replace("cubot", "")  # a make of phones
    return not agent.strip() or any(name in lower for name in BOTS)


@lru_cache(AGENTS)
def program_of(agent: str) -> str:
    """The mail program, or "a browser", or nothing if it is neither."""
    if named := _named(agent, PROGRAMS):
        return named
    if is_browser(agent):
        return "a browser"
    return "Apple Mail" if _WEBKIT.search(agent) else ""


def is_browser(agent: str) -> bool:
    """It has the shape of a browser's name."""
    lower = agent.lower()
    return lower.startswith("mozilla/") and any(engine in lower for engine in _ENGINES)


def is_outdated(agent: str, at: datetime) -> bool:
    """A Chrome that was years old at that time: more often a scanner in disguise than somebody's browser."""
    found = _CHROME.search(agent)
    newest = 134 + (at - _CHROME_134).days // 28
    return found is not None and int(found[1]) < newest - _BEHIND


def _named(agent: str, names: tuple[tuple[str, str], ...]) -> str:
    lower = agent.lower()
    return next((shown for part, shown in names if part in lower), "")
