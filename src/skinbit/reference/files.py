"""The files of a study, read by the standard library and safetensors alone."""

import csv
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class UnreadableError(Exception):
    """A file of a study that is missing or damaged; says which and why."""


@contextmanager
def written_by_skinbit(path: Path) -> Iterator[None]:
    """Read values out of a document whose form is expected to be that which Skinbit writes.

    Raises:
        UnreadableError: If it is another one.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UnreadableError(f"{path} is not as Skinbit writes it ({type(error).__name__}: {error})") from error


def read_table(path: Path, *columns: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file.

    Raises:
        UnreadableError: If it is missing, lacks one of the columns, or has a row with fewer or more cells.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from error
    missing = [column for column in columns if column not in header]
    if missing:
        raise UnreadableError(f"{path} has no column {missing[0]}")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise UnreadableError(f"row {number} of {path} has {len(row)} cells, its header {len(header)}")
    return [dict(zip(header, row, strict=True)) for row in rows]


def number(path: Path, text: str) -> float:
    """Return the number of a cell; a blank one is undefined.

    Raises:
        UnreadableError: If it is no number.
    """
    try:
        return float(text) if text else math.nan
    except ValueError as error:
        raise UnreadableError(f"{path} has {text!r} in place of a number") from error


def read_json(path: Path) -> Any:
    """Return the document of a JSON file.

    Raises:
        UnreadableError: If it is missing or no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def read_yaml(path: Path) -> Any:
    """Return the document of a YAML file.

    Raises:
        UnreadableError: If it is missing or no YAML.
    """
    import yaml

    try:
        return yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def read_tensor(path: Path, name: str) -> tuple[NDArray[np.float32], list[str]]:
    """Return a tensor of a safetensors file, and the image of each of its rows.

    Raises:
        UnreadableError: If the file is missing or damaged, or has no such tensor.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            values: NDArray[np.float32] = file.get_tensor(name)
            image_ids = json.loads(file.metadata()["skinbit"]).get("image_ids", [])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, error) from error
    if image_ids and len(image_ids) != len(values):
        raise UnreadableError(f"{path} has {len(values)} rows for {len(image_ids)} images")
    return values, image_ids


def _unreadable(path: Path, error: Exception) -> UnreadableError:
    if isinstance(error, FileNotFoundError):
        return UnreadableError(f"{path} is missing")
    why = str(error).partition("\n")[0]
    return UnreadableError(f"{path} cannot be read: {why}")
