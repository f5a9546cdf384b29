"""Kedro's file datasets, made atomic by a thin mix-in, as they write in place otherwise."""

import json
from copy import copy
from pathlib import PurePosixPath
from typing import Any

import pandas as pd
from fsspec.implementations.local import LocalFileSystem
from kedro.utils import load_obj
from kedro_datasets._typing import JSONPreview
from kedro_datasets.json import JSONDataset as StockJSONDataset
from kedro_datasets.pandas import CSVDataset as StockCSVDataset
from kedro_datasets.text import TextDataset as StockTextDataset
from kedro_datasets.yaml import YAMLDataset as StockYAMLDataset
from pydantic import TypeAdapter, ValidationError

from skinbit.config import in_words
from skinbit.runtime.datasets.files import atomic_target, unusable


class AtomicSave:
    """Saves through a copy of the dataset with a temporary local file."""

    def save(self, data: Any) -> None:
        """Save completely or not at all."""
        dataset: Any = self
        with atomic_target(dataset._fs, str(dataset._get_save_path())) as temporary:
            writer = copy(dataset)
            writer._filepath, writer._fs, writer._protocol = PurePosixPath(temporary), LocalFileSystem(), "file"
            super(AtomicSave, writer).save.__wrapped__(writer, data)  # type: ignore[misc]
        dataset._release()

    def stored_file(self) -> tuple[Any, str]:
        """Return the file system and the path of the file."""
        dataset: Any = self
        return dataset._fs, str(dataset._get_load_path())


class CSVDataset(AtomicSave, StockCSVDataset):
    """A pandas table; with ``optional``, a missing file loads as an empty table."""

    def __init__(self, *, optional: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._optional = optional

    def load(self) -> pd.DataFrame:
        """Load the table."""
        if self._optional and not self._exists():
            return pd.DataFrame()
        table: pd.DataFrame = StockCSVDataset.load.__wrapped__(self)
        return table


class JSONDataset(AtomicSave, StockJSONDataset):
    """A JSON document of plain values; ``contract`` is the type against which it is checked on load.

    With ``optional``, a missing file loads as an empty document.
    """

    def __init__(self, *, contract: str | None = None, optional: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._contract = contract
        self._optional = optional

    def load(self) -> Any:
        """Load the document.

        Raises:
            InputError: If it is not JSON or breaks its contract; with all problems.
        """
        if self._optional and not self._exists():
            return {}
        try:
            document = StockJSONDataset.load.__wrapped__(self)
            return document if self._contract is None else self._checked(document)
        except (ValidationError, RecursionError, ValueError) as error:
            reason = in_words(error) if isinstance(error, ValidationError) else str(error)
            raise unusable(str(self._filepath), ValueError(reason)) from error

    def _checked(self, document: Any) -> Any:
        self._typed(document)
        return document

    def _typed(self, document: Any) -> Any:
        # Back to JSON, as only then a strict check accepts a list for a tuple.
        return TypeAdapter(load_obj(self._contract)).validate_json(json.dumps(document), strict=True)


class ObjectDataset(JSONDataset):
    """Objects of the type ``contract``, as a JSON document that the type writes and reads."""

    def save(self, data: Any) -> None:
        """Save completely or not at all."""
        super().save(TypeAdapter(load_obj(self._contract)).dump_python(data, warnings="error"))

    def preview(self) -> JSONPreview:
        """Show the document in Kedro-Viz."""
        return JSONPreview(json.dumps(StockJSONDataset.load.__wrapped__(self)))

    def _checked(self, document: Any) -> Any:
        return self._typed(document)


class TextDataset(AtomicSave, StockTextDataset):
    """Text, such as an HTML page, in UTF-8 with plain line ends on every platform."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        as_utf8 = {"open_args_save": {"encoding": "utf-8", "newline": "\n"}, "open_args_load": {"encoding": "utf-8"}}
        super().__init__(filepath=filepath, fs_args=as_utf8, metadata=metadata)


class YAMLDataset(AtomicSave, StockYAMLDataset):
    """A YAML document."""
