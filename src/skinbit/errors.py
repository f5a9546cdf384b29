"""One kind of error for everything that a user can mend."""

from collections import defaultdict

import click

SHOWN_PER_KIND = 20
"""So many problems of each kind are printed; the rest is counted."""


class InputError(click.ClickException, ValueError):
    """A mistake in data, configuration or set-up that the user can mend.

    A ``ValueError`` for code that calls the science; under ``kedro run`` it prints its message, and nothing
    else, and ends with exit code 1 (that is what ``click.ClickException`` does).
    """


def is_short_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice: PyTorch has no class for that on a CPU."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error)


class ProblemList:
    """Collects problems by kind, so that a user mends them all before the next try."""

    def __init__(self) -> None:
        self._details: dict[tuple[str, str], list[str]] = defaultdict(list)

    def add(self, kind: str, detail: str, remedy: str) -> None:
        """Note one problem.

        Args:
            kind: What is wrong, as a heading, e.g. ``"images that are missing"``.
            detail: Where it is wrong: file, row, value.
            remedy: What mends it; problems of one kind and one remedy are listed together.
        """
        self._details[kind, remedy].append(detail)

    def raise_if_any(self, source: str, note: str = "") -> None:
        """End with one message that lists every problem.

        Args:
            source: The file or folder that the problems are in.
            note: A last line.

        Raises:
            InputError: If a problem was noted. The first 20 of each kind are listed, all are counted.
        """
        if self._details:
            sections = [self._section(kind, remedy, details) for (kind, remedy), details in self._details.items()]
            raise InputError("\n".join([f"{source} cannot be used.", *sections, *([note] if note else [])]))

    def _section(self, kind: str, remedy: str, details: list[str]) -> str:
        lines = [f"{len(details)} {kind}:", *(f"  - {detail}" for detail in details[:SHOWN_PER_KIND])]
        if len(details) > SHOWN_PER_KIND:
            lines.append(f"  … and {len(details) - SHOWN_PER_KIND} more")
        return "\n".join([*lines, f"  Remedy: {remedy}"])
