"""The ledger of answers that a person names; to group photographs, else that of the root."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from skinbit.decisions.answers import CANNOT_TELL, Answer
from skinbit.decisions.ledger import read_answers
from skinbit.decisions.verdicts import heard_answers
from skinbit.runtime.datasets.lookup import Lookup
from skinbit.runtime.places import join_place

_REFUSAL = "answers are only read: a person gives them"


class DecisionsDataset(Lookup):
    """Loads all answers of a ledger, by path or by default."""

    refusal = _REFUSAL

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


class AnswersDataset(AbstractDataset[NoReturn, tuple[Answer, ...]]):
    """Loads the answers of the ledger that corrects the labels of a study."""

    def __init__(self, *, path: str | None, metadata: dict[str, Any] | None = None) -> None:
        """Set the ledger.

        Args:
            path: Of the ledger; None where a study has none.
            metadata: For Kedro-Viz; not read here.
        """
        self._path = path
        self.metadata = metadata

    def load(self) -> tuple[Answer, ...]:
        """Return all answers.

        Raises:
            InputError: If the ledger cannot be used.
        """
        return () if self._path is None else read_answers(join_place(self._path))

    def save(self, data: NoReturn) -> None:
        """Refuse: a person gives answers."""
        raise DatasetError(_REFUSAL)

    def fingerprint(self) -> str:
        """Return the hash of what labels depend on: verdicts that were not undone, and their photographs, in any order.

        Raises:
            InputError: If the ledger cannot be used.
        """
        heard = heard_answers(self.load())
        told = sorted((answer.verdict, answer.parts) for answer in heard if answer.verdict != CANNOT_TELL)
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path}

    def _exists(self) -> bool:
        return True  # one that is missing is a message, not another result
