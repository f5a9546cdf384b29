"""Ids and file names as strangers write them: which can be used, and how the others are shown."""

import re
import unicodedata
from decimal import Decimal

_LONGEST = 200
_SHOWN = 60

_PATH = re.compile(r"[/\\:]")

# A spreadsheet computes a cell that begins so, and may call programs and addresses. A number is harmless.
_FORMULA = re.compile(r"[=@\uff1d\uff20]|[+\-\uff0b\uff0d](?![\d.,]+([eE][+\-]?\d+)?$)")

_AROUND = " ?()<>[]{}'\"_*+-\u2013\u2014\u2212"
"""What exports put around a word for a missing value, or in its place: signs, dashes, the sign minus."""

# Of pandas, NumPy, R, JavaScript, statistics packages and databases, MySQL among them (\N); of old C libraries; of
# spreadsheets, whose errors are German, too.
_MISSING = re.compile(
    r"|nan|nat|na|n/a|n/d|n\.a\.?|none|null|nil|undefined|missing|unknown|unk|blank|empty|not (available|applicable)"
    r"|\.|\\n|1\.#(qnan|ind)"
    r"|#(n/a( n/a)?|na|nv|null!|ref!|bezug!|value!|wert!|name|div/0!|num!|zahl!)"
)

_NUMBER = re.compile(r"[+\-]?(\d+([.,]\d*)?|[1-9]([.,]\d+)?[eE][+\-]?\d{1,3})")


def is_unknown(text: str) -> bool:
    """Whether a text is blank, or a usual word or sign for a missing value, such as ``nan`` or ``-``."""
    return _MISSING.fullmatch(text.casefold().strip(_AROUND)) is not None


def explain_id(text: str, may_be_path: bool = False) -> str:
    """Return why a text that is not blank cannot be an id, as the end of a sentence; empty where it can be one.

    Args:
        text: Of the table.
        may_be_path: Whether it may be a path inside the folder of photographs, as ``visit1/a``; never one out of it.
    """
    parts = text.split("/") if may_be_path else [text]
    if not all(parts):
        return "it begins or ends with /, or holds //"
    if any(part.startswith(".") for part in parts):
        return "it begins with a dot" if len(parts) == 1 else "a part of the path begins with a dot"
    if any(_PATH.search(part) for part in parts):
        return "it holds / or \\ or :, as a path does"
    if len(text) > _LONGEST:
        return f"it is longer than {_LONGEST} characters"
    return explain_name(text)


def explain_name(text: str) -> str:
    """Return why a file's name cannot stand in a table that people open; empty where it can."""
    if not text.isprintable() or "\ufffd" in text:
        return "it holds a character that cannot be seen or was not decoded"
    if _FORMULA.match(text):
        return "it begins as a formula of a spreadsheet does (= + - @)"
    return ""


def printable(text: str) -> str:
    """Return a text that any terminal, table and spreadsheet shows as it is.

    Characters that cannot be seen, such as undecoded bytes of a file name, are spelt out, and a text that begins as a
    formula does is quoted.
    """
    shown = "".join(one if one.isprintable() else _spell_out(one) for one in text)
    return f"'{shown}" if _FORMULA.match(shown) else shown


def _spell_out(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is no valid Unicode
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def quote(text: str) -> str:
    """Return a text in quotes for a message, with unseen characters spelt out, cut where it is long."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def quote_apart(text: str, other: str) -> tuple[str, str]:
    """Return two texts in quotes, letter by letter in ASCII where they look alike."""
    look_alike = unicodedata.normalize("NFC", text) == unicodedata.normalize("NFC", other)
    return (ascii(text), ascii(other)) if look_alike else (quote(text), quote(other))


def fold_number(text: str) -> Decimal | str:
    """Return the value of a number, which is equal for 7, 007 and 7.0, and any other text as it is."""
    return Decimal(text.replace(",", ".")) if _NUMBER.fullmatch(text) else text


def fold_case(text: str) -> str:
    """Return the form that is equal for names that differ only in case or in how accents are written."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
