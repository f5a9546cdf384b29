"""`kedro verify`: the figures of a finished study, counted by file and compared with those of the reference."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from skinbit.errors import InputError
from skinbit.reference.figures import Figure
from skinbit.reference.files import UnreadableError
from skinbit.reference.study import left_out, verify_study

_FOLDER = re.compile(r"^(0\d_\w+)/(?!clusters/)[^/]+/(fold_\d+/)?")
"""The folder of an experiment, and of a fold in it."""


@dataclass
class Verification:
    """What a verification has found.

    Attributes:
        counts: Number of figures by kind of file.
        different: Number of figures that are not as recomputed, by kind of file.
        first: The first of these; None: all are as recomputed.
        left_out: What is not recomputed, and why.
        failure: The file that could not be read, with a remedy; None: all were.
    """

    counts: Counter[str] = field(default_factory=Counter)
    different: Counter[str] = field(default_factory=Counter)
    first: Figure | None = None
    left_out: list[str] = field(default_factory=list)
    failure: InputError | None = None

    def add(self, figure: Figure) -> None:
        """Count a figure."""
        kind = _FOLDER.sub(lambda found: f"{found[1]}/*/{'fold_*/' if found[2] else ''}", figure.file)
        self.counts[kind] += 1
        if not figure.is_equal:
            self.different[kind] += 1
            self.first = self.first or figure

    def lines(self) -> Iterator[str]:
        """Yield the first difference, what is left out, and a table of the files."""
        if self.first is not None:
            file, row, column, stored, recomputed = self.first
            yield f"{file}: row {row}, column {column}: stored {stored}, recomputed {recomputed}"
        yield from (f"not recomputed: {what}" for what in self.left_out)
        if not self.counts:
            return
        rows = [*self.counts, "all files"]
        width = max(map(len, rows))
        yield f"{' ' * width}  figures  different"
        for kind in rows:
            counts = [
                sum(each.values()) if kind == "all files" else each[kind] for each in (self.counts, self.different)
            ]
            yield f"{kind.ljust(width)}  {counts[0]:>7}  {counts[1]:>9}"


def verify_outputs(root: Path) -> Verification:
    """Return the comparison of a finished study with the reference, up to the first file that cannot be read.

    Args:
        root: Folder of outputs.
    """
    found = Verification()
    try:
        found.left_out = left_out(root)
        for figure in verify_study(root):
            found.add(figure)
    except UnreadableError as error:
        found.failure = InputError(
            f"The study cannot be verified: {error}.\n"
            "  Remedy: `kedro run --only-missing-outputs`, with the same --env and --params, makes such files again; "
            "`kedro group` those of groups."
        )
    return found
