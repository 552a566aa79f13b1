"""What a person wrote, what they quoted, and how they signed: read from the plain text of a mail.

Pure. Every rule looks at a few lines of bounded length, so that time is linear in the text. The lists of
phrases are those of the mail clients in English, German, French, Spanish, Portuguese, Italian, Dutch, the
Nordic languages, Polish, Russian, Japanese and Chinese.
"""

from __future__ import annotations

import re

import phonenumbers

#: A line is looked at up to here, in characters.
_LINE = 300
#: A signature is sought in so many last lines, and phone numbers in so many characters of it.
_LAST_LINES = 30
#: Lines read for quotations; what comes after is taken as it is.
_MAX_LINES = 20_000
_SIGNATURE = 4_000
_MAX_NUMBERS = 10

_WROTE = re.compile(
    r"\b(?:wrote|writes|said|schrieb|a écrit|escribió|escreveu|ha scritto|schreef|skrev|kirjoitti"
    r"|napisał(?:\(a\))?|пишет|написала?)\b|写道|寫道|のメール",
    re.IGNORECASE,
)
_OPENS_ATTRIBUTION = re.compile(
    r"(?:on|am|le|el|em|il|op|den|på|w dniu|dnia|в|на|at)\s|\W{0,2}\d"
    r"|[^\s<>]{1,80}(?:\s[^\s<>]{1,80}){0,5}\s?<[^<>@\s]+@",
    re.IGNORECASE,
)
_DATED = re.compile(r"\b(?:19|20)\d\d\b|\d{1,2}[:.]\d\d|年")
_BLANK_LINES = re.compile(r"\n{3,}")
_RULE = re.compile(r"\s*[_-]{5,}\s*")
_SEPARATOR = re.compile(
    r"\s*-{2,}\s*(?:original message|original appointment|forwarded message|ursprüngliche nachricht"
    r"|weitergeleitete nachricht|message d'origine|message original|message transféré|mensaje original"
    r"|mensagem original|messaggio originale|messaggio inoltrato|oorspronkelijk bericht|doorgestuurd bericht"
    r"|ursprungligt meddelande|opprinnelig melding|oryginalna wiadomość|исходное сообщение|邮件原件|原始邮件)"
    r"\s*-{2,}\s*|begin forwarded message:",
    re.IGNORECASE,
)
_FROM = re.compile(
    r"\W{0,3}(?:from|von|de|da|van|från|fra|lähettäjä|od|от|差出人|发件人|寄件者)\W{0,3}[:\uff1a]", re.IGNORECASE
)
_OTHER_FIELD = re.compile(
    r"\W{0,3}(?:sent|date|to|cc|subject|gesendet|datum|an|betreff|envoyé|à|objet|enviado(?: el| em)?|fecha|para"
    r"|asunto|assunto|data|inviato|a|oggetto|verzonden|aan|onderwerp|skickat|till|ämne|sendt|til|emne|lähetetty"
    r"|aihe|wysłano|do|temat|дата|отправлено|кому|тема|送信日時|日時|宛先|件名|发送时间|日期|收件人|主题|主旨)"
    r"\W{0,3}[:\uff1a]",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"\W{0,2}(?:(?:with |my )?(?:best|kind|kindest|warm|warmest|many)?,? ?(?:regards|wishes|thanks)"
    r"|(?:all the )?best|cheers|sincerely(?: yours)?|yours (?:sincerely|truly|faithfully)|respectfully|take care"
    r"|talk soon|thx|thank you|thanks (?:again|so much|in advance)"
    r"|(?:mit )?(?:freundlich|best|herzlich|lieb|viel|schön)(?:e|en)? (?:gruß|gruss|grüße|grüsse|grüßen|grüssen)"
    r"|(?:herzlichen|vielen|besten) dank|mfg|lg|vg|gruß|grüße"
    r"|hochachtungsvoll|(?:bien )?cordialement|(?:bien )?à vous|sincères salutations"
    r"|salutations(?: distinguées)?|bien amicalement|merci|(?:un )?(?:cordial )?saludos?(?: cordiale?s?)?"
    r"|atentamente|atenciosamente|abraços?|cumprimentos|obrigad[oa]|(?:cordiali |distinti )?saluti|grazie"
    r"|(?:met )?vriendelijke groet(?:en)?|groeten|mvh|(?:med )?vänliga? hälsning(?:ar)?|(?:med )?venn?lig hilsen"
    r"|ystävällisin terveisin|pozdrawiam|z poważaniem|с уважением"
    r"|よろしくお願い(?:いた|致)します|敬具|此致|祝好|顺颂商祺)"
    r"(?: from .{1,30})?[\s,.!;–—-]*",
    re.IGNORECASE,
)
_FAX = re.compile(r"(?:\b(?:tele)?fax|\btélécopie|\bfax-?nr|\bf)\W{0,4}$", re.IGNORECASE)


def split_quoted(text: str) -> tuple[str, str]:
    """The lines that the sender wrote, and those that they quoted.

    Quoted are lines that begin with ">", what introduces them ("On … wrote:", an Outlook header block, a
    separator), and everything from an introduction on that no such lines follow. Answers written between
    quoted lines are the sender's.
    """
    lines = text.split("\n")
    own: list[str] = []
    quoted: list[str] = []
    last_marked = max((index for index, line in enumerate(lines) if line.lstrip(" \t")[:1] == ">"), default=-1)
    index = 0
    at_top = True
    while index < min(len(lines), _MAX_LINES):
        length = _quoted_lines(lines, index, at_top=at_top, more_marked=last_marked > index)
        at_top = at_top and (length > 0 or not lines[index].strip())
        (quoted if length else own).extend(lines[index : index + (length or 1)])
        index += length or 1
    own += lines[index:]
    while own and (not own[-1].strip() or _RULE.fullmatch(own[-1][:_LINE])):
        own.pop()
    return _BLANK_LINES.sub("\n\n", "\n".join(own)).strip("\n"), "\n".join(quoted).strip()


def _quoted_lines(lines: list[str], index: int, *, at_top: bool, more_marked: bool) -> int:
    """How many lines from `index` on are quoted for sure; 0 when that one is the sender's."""
    line = lines[index][:_LINE].strip()
    if not line:
        return 0
    if line[0] == ">":
        return 1
    introduction = _attribution(lines, index)
    if introduction and (at_top or _next_is_quoted(lines, index + introduction)):
        return introduction
    if not introduction and not _SEPARATOR.fullmatch(line) and not _is_header_block(lines, index):
        return 0
    # At the very top, and with marked lines to come, the answers follow below as in Outlook Express.
    return _paragraph(lines, index) if at_top and more_marked else len(lines) - index


def _paragraph(lines: list[str], index: int) -> int:
    """How many lines there are up to the next that is blank or quoted."""
    end = index + 1
    while end < len(lines) and end < index + 20 and lines[end].strip()[:1] not in ("", ">"):
        end += 1
    return end - index


def without_quotes(text: str) -> str:
    """The lines that the sender wrote, see `split_quoted`."""
    return split_quoted(text)[0]


def signature_block(text: str) -> str:
    """The lines by which the sender signed; "" when there is no sign of any.

    After the last "-- " (RFC 3676 4.3), or else after the last closing such as "Best regards" among the last
    lines.
    """
    lines = without_quotes(text).split("\n")[-_LAST_LINES:]
    for is_start in (
        lambda line: line.rstrip() in ("--", "—"),
        lambda line: _CLOSING.fullmatch(line[:80].strip()),
    ):
        starts = [index for index, line in enumerate(lines) if is_start(line)]
        if starts and (block := _before_footer(lines[starts[-1] + 1 :])):
            return block
    return ""


def _before_footer(lines: list[str]) -> str:
    """The lines before the rule that a mailing list draws above its own."""
    rules = (index for index, line in enumerate(lines) if _RULE.fullmatch(line[:_LINE]))
    return "\n".join(lines[: next(rules, len(lines))]).strip()


def phone_numbers(text: str, region: str | None = None) -> tuple[str, ...]:
    """The phone numbers in the signature of `text` (without one, in its last lines), in E.164, each once.

    region: the country to read a number without "+" in, ISO 3166 or a country's top-level domain; None reads
        only international ones. Fax numbers are left out.
    """
    block = signature_block(text) or "\n".join(without_quotes(text).split("\n")[-10:])
    found: dict[str, None] = {}
    for match in phonenumbers.PhoneNumberMatcher(block[:_SIGNATURE], _country(region), max_tries=500):
        line_start = block.rfind("\n", 0, match.start) + 1
        if not _FAX.search(block[max(line_start, match.start - 30) : match.start]):
            found[phonenumbers.format_number(match.number, phonenumbers.PhoneNumberFormat.E164)] = None
    return tuple(found)[:_MAX_NUMBERS]


def _country(region: str | None) -> str:
    """The region as phonenumbers knows it; "ZZ", its name for none, otherwise."""
    code = (region or "").strip(" .").upper()
    code = "GB" if code == "UK" else code
    return code if code in phonenumbers.SUPPORTED_REGIONS else "ZZ"


def _attribution(lines: list[str], index: int) -> int:
    """How many lines from `index` on introduce a quotation ("On Monday, Jane wrote:"); 0 when they don't.

    Mail clients wrap them, so up to three lines count as one.
    """
    first = lines[index][:_LINE].strip()
    if first.endswith((":", "：")) and _WROTE.search(first) and _next_is_quoted(lines, index + 1):
        return 1
    if not _OPENS_ATTRIBUTION.match(first):
        return 0
    joined = ""
    for count, line in enumerate(lines[index : index + 3], start=1):
        if not line.strip():
            return 0
        joined += " " + line[:_LINE].strip()
        if joined.endswith((":", "：")):
            says_so = _WROTE.search(joined) is not None
            says_so = says_so and (_DATED.search(joined) is not None or "@" in joined)
            is_dated = "@" in joined and _DATED.search(joined) is not None
            return count if says_so or (is_dated and _next_is_quoted(lines, index + count)) else 0
    return 0


def _next_is_quoted(lines: list[str], index: int) -> bool:
    """Whether the next line that isn't blank, of the next three, begins with ">"."""
    following = (line.lstrip() for line in lines[index : index + 3])
    return next((line[0] == ">" for line in following if line), False)


def _is_header_block(lines: list[str], index: int) -> bool:
    """Whether an Outlook header block begins here: From and at least two other fields, close by."""
    if not _FROM.match(lines[index][:_LINE].lstrip()):
        return False
    following = (line[:_LINE].lstrip() for line in lines[index + 1 : index + 9])
    return sum(_OTHER_FIELD.match(line) is not None for line in following) >= 2
