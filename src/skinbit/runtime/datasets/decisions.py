"""The ledger of answers: the one that a person names, else that of the root."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from skinbit.decisions.answers import Answer
from skinbit.decisions.ledger import read_answers
from skinbit.runtime.datasets.lookup import Lookup
from skinbit.runtime.places import join_place


class DecisionsDataset(Lookup):
    """Loads all answers of a ledger, by path or by default."""

    refusal = "answers are only read: a person gives them"

    def __init__(self, *, path: str, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Set where ledgers are.

        Args:
            path: Folder at which relative paths start.
            filepath: The ledger that is read where none is named, if it is there.
            metadata: For Kedro-Viz; not read here.
        """
        super().__init__(path=path, metadata=metadata)
        self._filepath = filepath

    def load(self) -> Callable[[str | None], tuple[Answer, ...]]:
        """Return the look-up: the path of a ledger, or None, to its answers."""

        def look_up(named: str | None) -> tuple[Answer, ...]:
            if named is not None:
                return read_answers(join_place(self._path, named))
            return read_answers(self._filepath) if Path(self._filepath).exists() else ()

        return look_up

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "filepath": self._filepath}
