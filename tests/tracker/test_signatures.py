"""What was written, what was quoted, and how it was signed."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.signatures import phone_numbers, signature_block, split_quoted, without_quotes

SIGNED = """Hi Bob,

call me on +1 212 555 0100 if it burns.

{closing}
Jane Doe
Acme GmbH | Tel. 030 901820 | Fax: 030 901821
Mobile: +1 415-555-2671
"""


@pytest.mark.parametrize(
    "introduction",
    [
        "On Mon, Mar 3, 2025 at 9:00 AM Bob <bob@acme.com> wrote:",
        "On Mon, Mar 3, 2025 at 9:00 AM Bob <bob@acme.com>\nwrote:",
        "Am Mo., 3. März 2025 um 09:00 Uhr schrieb Bob <bob@acme.com>:",
        "Le lun. 3 mars 2025 à 09:00, Bob <bob@acme.fr> a écrit :",
        "El lun, 3 mar 2025 a las 9:00, Bob (<bob@acme.es>) escribió:",
        "Op ma 3 mrt 2025 om 09:00 schreef Bob <bob@acme.nl>:",
        "Il giorno lun 3 mar 2025 alle ore 09:00 Bob <bob@acme.it> ha scritto:",
        "2025年3月3日(月) 9:00 Bob <bob@acme.jp>:",
        "Bob Smith wrote:",
    ],
)
def test_introduced_quotation_is_split_off(introduction: str) -> None:
    own, quoted = split_quoted(f"Yes.\n\n{introduction}\n\n> Will you?\n> Bob\n")
    assert own == "Yes."
    assert quoted.startswith(introduction)
    assert quoted.endswith("> Bob")


@pytest.mark.parametrize(
    "block",
    [
        "From: Bob <bob@acme.com>\nSent: Monday\nTo: Jane\nSubject: Offer\n\nWill you?",
        "*From:* Bob\n*Date:* Monday\n*To:* Jane\n\nWill you?",
        "Von: Bob\nGesendet: Montag\nAn: Jane\nBetreff: Angebot\n\nKommst du?",
        "De : Bob\nEnvoyé : lundi\nÀ : Jane\nObjet : Offre\n\nViens ?",
        "-----Original Message-----\nanything",
        "________________________________\nFrom: Bob\nSent: Monday\nTo: Jane\n\nWill you?",
    ],
)
def test_everything_below_an_outlook_block_is_quoted(block: str) -> None:
    own, quoted = split_quoted(f"Yes.\n\n{block}")
    assert own == "Yes."
    assert quoted.split("\n")[-1] == block.split("\n")[-1]


def test_answers_between_quoted_lines_are_the_senders() -> None:
    text = "On 3 March 2025 Bob wrote:\n> Price?\nTen.\n> When?\nTomorrow."
    assert without_quotes(text) == "Ten.\nTomorrow."


def test_answers_below_a_quotation_at_the_top_are_the_senders() -> None:
    text = "----- Original Message -----\nFrom: Bob <bob@acme.com>\n\n\n> Price?\nTen.\n> When?\nTomorrow."
    assert without_quotes(text) == "Ten.\nTomorrow."


def test_forwarded_mail_without_a_word_is_all_quoted() -> None:
    text = "---------- Forwarded message ---------\nFrom: Bob <bob@acme.com>\n\nPrice?"
    assert split_quoted(text) == ("", text)


@pytest.mark.parametrize(
    "text",
    [
        "We said:\nfoo",
        "From: here on it gets hot.\nBring water.",
        "On Monday I wrote a letter: long.",
        "5 > 3 and 3 < 5",
    ],
)
def test_prose_is_not_a_quotation(text: str) -> None:
    assert split_quoted(text) == (text, "")


@pytest.mark.parametrize(
    "closing",
    [
        *("-- ", "--", "Best regards,", "Kind regards", "Thanks!", "Many thanks,", "Mit freundlichen Grüßen"),
        *(
            "Viele Grüße,",
            "Cordialement,",
            "Un saludo,",
            "Atenciosamente,",
            "Met vriendelijke groet,",
            "С уважением,",
        ),
    ],
)
def test_signature_follows_the_closing(closing: str) -> None:
    assert signature_block(SIGNED.format(closing=closing)).startswith("Jane Doe\nAcme GmbH")


def test_signature_of_the_quoted_mail_is_not_the_senders() -> None:
    text = "Fine.\n\nOn 3 March 2025 at 9:00 Bob <b@x.com> wrote:\n> Hi\n> Best regards,\n> Bob +44 20 7946 0958"
    assert signature_block(text) == ""
    assert phone_numbers(text) == ()


def test_prose_has_no_signature() -> None:
    assert signature_block("Thanks for the offer, we will look at it.\nSee you") == ""


def test_numbers_are_those_of_the_signature_without_fax() -> None:
    text = SIGNED.format(closing="Best regards,")
    assert phone_numbers(text, "de") == ("+4930901820", "+14155552671")


def test_without_a_region_only_international_numbers_are_read() -> None:
    assert phone_numbers(SIGNED.format(closing="Best regards,")) == ("+14155552671",)


def test_british_domain_is_a_region_too() -> None:
    assert phone_numbers("Regards,\nJane\n020 7946 0958", "uk") == ("+442079460958",)


def test_unknown_region_is_none() -> None:
    assert phone_numbers("Regards,\nJane\n+442079460958", "example") == ("+442079460958",)


@given(st.text(st.sampled_from("On wrote:\n>-_ From:Sent To@0123456789+()éß"), max_size=300))
def test_every_line_is_either_own_or_quoted(text: str) -> None:
    own, quoted = split_quoted(text)
    kept = set((own + "\n" + quoted).split("\n"))
    lines = {line.strip() for line in text.split("\n")}
    assert {line.strip() for line in kept} - {""} <= lines
    missing = lines - {line.strip() for line in kept}
    assert all(set(line) <= set("_- \t\x1f") for line in missing)
    phone_numbers(text, "DE")


@pytest.mark.parametrize(
    "piece", ["On ", "From: x\n", "a ", "> ", "\n", "1 2 ", "-- \n", "On x@y 2025\n", "<a@", "-"]
)
def test_time_is_linear_in_the_text(piece: str) -> None:
    text = piece * (400_000 // len(piece))
    started = time.process_time()
    split_quoted(text)
    phone_numbers(text, "DE")
    assert time.process_time() - started < 3
