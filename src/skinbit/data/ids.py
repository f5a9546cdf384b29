"""Untrusted ids and file names: which can be used, and how the others are displayed."""

import re
import unicodedata
from decimal import Decimal

_LONGEST = 200
_SHOWN = 60

_PATH = re.compile(r"[/\\:]")

# A spreadsheet computes cells with these beginnings, and may call programs and addresses. Numbers are harmless.
_FORMULA = re.compile(r"[=@\uff1d\uff20]|[+\-\uff0b\uff0d](?![\d.,]+([eE][+\-]?\d+)?$)")

_AROUND = " ?()<>[]{}'\"_*+-\u2013\u2014\u2212"
"""Characters that exports put around a word for a missing value, or use instead of it."""

# Words of pandas, NumPy, R, JavaScript, statistics packages, databases (MySQL's \N), old C libraries and
# spreadsheets, including German error values.
_MISSING = re.compile(
    r"|nan|nat|na|n/a|n/d|n\.a\.?|none|null|nil|undefined|missing|unknown|unk|blank|empty|not (available|applicable)"
    r"|\.|\\n|1\.#(qnan|ind)"
    r"|#(n/a( n/a)?|na|nv|null!|ref!|bezug!|value!|wert!|name|div/0!|num!|zahl!)"
)

_NUMBER = re.compile(r"[+\-]?(\d+([.,]\d*)?|[1-9]([.,]\d+)?[eE][+\-]?\d{1,3})")


def is_unknown(text: str) -> bool:
    """Whether a text is blank or a usual word or sign for a missing value, such as ``nan`` or ``-``."""
    return _MISSING.fullmatch(text.casefold().strip(_AROUND)) is not None


def explain_id(text: str, may_be_path: bool = False) -> str:
    """Return why a non-blank text cannot be an id, as the end of a sentence; empty if it can.

    Args:
        text: Value from a table.
        may_be_path: Whether it may be a path inside the image folder, such as ``visit1/a``; never one that leads out of
            it.
    """
    parts = text.split("/") if may_be_path else [text]
    if not all(parts):
        return "it begins or ends with /, or contains //"
    if any(part.startswith(".") for part in parts):
        return "it begins with a dot" if len(parts) == 1 else "a part of the path begins with a dot"
    if any(_PATH.search(part) for part in parts):
        return "it contains / or \\ or :, like a path"
    if len(text) > _LONGEST:
        return f"it is longer than {_LONGEST} characters"
    return explain_name(text)


def explain_name(text: str) -> str:
    """Return why a file name must not be written to tables; empty if it may."""
    if not text.isprintable() or "\ufffd" in text:
        return "it contains an invisible or undecoded character"
    if _FORMULA.match(text):
        return "it begins like a spreadsheet formula (= + - @)"
    return ""


def printable(text: str) -> str:
    """Return a text that every terminal, table and spreadsheet shows unchanged.

    Invisible characters, such as undecoded bytes of a file name, are escaped, and a text that begins like a formula is
    quoted.
    """
    shown = "".join(one if one.isprintable() else _spell_out(one) for one in text)
    return f"'{shown}" if _FORMULA.match(shown) else shown


def _spell_out(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is not valid Unicode
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def quote(text: str) -> str:
    """Return a text in quotes for a message, with invisible characters escaped, truncated if it is long."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def quote_apart(text: str, other: str) -> tuple[str, str]:
    """Return two texts in quotes, escaped to ASCII if they look alike."""
    look_alike = unicodedata.normalize("NFC", text) == unicodedata.normalize("NFC", other)
    return (ascii(text), ascii(other)) if look_alike else (quote(text), quote(other))


def fold_number(text: str) -> Decimal | str:
    """Return the value of a number, which is equal for 7, 007 and 7.0; other texts are unchanged."""
    return Decimal(text.replace(",", ".")) if _NUMBER.fullmatch(text) else text


def fold_case(text: str) -> str:
    """Return a form that is equal for names that differ only in case or in the encoding of accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
