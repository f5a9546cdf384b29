"""Ids and file names as strangers write them: which can be used, and how the others are shown."""

import re
import unicodedata

_LONGEST = 200
_SHOWN = 60

_PATH = re.compile(r"[/\\:]")

# A spreadsheet computes a cell that begins so, and may call programs and addresses. A number is harmless.
_FORMULA = re.compile(r"[=@\uff1d\uff20]|[+\-\uff0b\uff0d](?![\d.,]+([eE][+\-]?\d+)?$)")


def explain_id(text: str) -> str:
    """Say why a text cannot be an id.

    Args:
        text: An image id or lesion id; not blank.

    Returns:
        The reason, as the end of a sentence about the id; empty where it can be used.
    """
    if text.startswith("."):
        return "it begins with a dot"
    if _PATH.search(text):
        return "it holds / or \\ or :, as a path does"
    if len(text) > _LONGEST:
        return f"it is longer than {_LONGEST} characters"
    return explain_name(text)


def explain_name(text: str) -> str:
    """Say why a file's name cannot stand in a table that people open.

    Args:
        text: The name of a file that exists.

    Returns:
        As :func:`explain_id`.
    """
    if not text.isprintable() or "\ufffd" in text:
        return "it holds a character that cannot be seen or was not decoded"
    if _FORMULA.match(text):
        return "it begins as a formula of a spreadsheet does (= + - @)"
    return ""


def printable(text: str) -> str:
    """Give a text that any terminal, table and spreadsheet shows as it is.

    Args:
        text: Anything, also undecoded bytes of a file name.

    Returns:
        The same text; characters that cannot be seen are spelt out, and nothing begins as a formula does.
    """
    shown = "".join(one if one.isprintable() else _spell_out(one) for one in text)
    return f"'{shown}" if _FORMULA.match(shown) else shown


def _spell_out(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is no valid Unicode
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def quote(text: str) -> str:
    """Give a text in quotes for a message, unseen characters spelt out, cut where it is long."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def fold_case(text: str) -> str:
    """Give what a file system that ignores case, and how accents are written, takes for the same name."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
