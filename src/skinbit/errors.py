"""The error for everything that a user can fix."""

from collections import defaultdict

import click

SHOWN_PER_KIND = 20
"""Number of problems of each kind that are printed; the rest is counted."""


class InputError(click.ClickException, ValueError):
    """A mistake in data, configuration or set-up that the user can fix.

    Code that calls the science catches it as a ``ValueError``; under ``kedro run`` it ends with its message only and
    exit code 1, as every ``click.ClickException`` does.
    """


def is_short_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory does not suffice; PyTorch has no class for this on a CPU."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error)


class ProblemList:
    """Collects problems by kind, so that a user can fix all of them before the next run."""

    def __init__(self) -> None:
        self._details: dict[tuple[str, str], list[str]] = defaultdict(list)

    def add(self, kind: str, detail: str, remedy: str) -> None:
        """Add one problem.

        Args:
            kind: What is wrong, as a heading, e.g. ``"images that are missing"``.
            detail: File, row and value.
            remedy: How to fix it; problems of one kind with the same remedy are listed together.
        """
        self._details[kind, remedy].append(detail)

    def raise_if_any(self, source: str, note: str = "") -> None:
        """Raise one error that lists all problems, if there are any.

        Args:
            source: File or folder with the problems.
            note: A last line.

        Raises:
            InputError: If a problem was added. The first 20 of each kind are listed, the rest is counted.
        """
        if self._details:
            sections = [self._section(kind, remedy, details) for (kind, remedy), details in self._details.items()]
            raise InputError("\n".join([f"{source} cannot be used.", *sections, *([note] if note else [])]))

    def _section(self, kind: str, remedy: str, details: list[str]) -> str:
        lines = [f"{len(details)} {kind}:", *(f"  - {detail}" for detail in details[:SHOWN_PER_KIND])]
        if len(details) > SHOWN_PER_KIND:
            lines.append(f"  … and {len(details) - SHOWN_PER_KIND} more")
        return "\n".join([*lines, f"  Remedy: {remedy}"])
