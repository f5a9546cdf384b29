"""The database file of tracked runs: its address, and why it cannot be opened."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from skinbit.refusals import explain_database
from skinbit.runtime.places import join_place

_SQLITE = "sqlite:///"
_SERVER = re.compile(r"databricks(-uc)?$|uc:|(?!sqlite:///)[\w+.-]+://")
"""Addresses that are not files on this machine."""


def database_address(place: str, project: Path) -> str | None:
    """Return the address of a database file on this machine; None for a server.

    Args:
        place: Path of the file, may begin with ``~``, or an address.
        project: Folder of the project, in which relative paths start.
    """
    return None if _SERVER.match(place) else f"{_SQLITE}{join_place(project, place.removeprefix(_SQLITE))}"


def check_database(address: str) -> None:
    """Open a database once, if it exists, as MLflow would retry for a minute and a half.

    Args:
        address: From :func:`database_address`.

    Raises:
        ValueError: If it cannot be opened; with the reason and a remedy.
    """
    path = Path(address.removeprefix(_SQLITE))
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder where the database should be: move it away, or correct tracking.uri "
            "(`mlflow migrate-filestore` converts a folder of runs to a database)"
        )
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA schema_version")
    except sqlite3.DatabaseError as error:
        what, remedy = explain_database(error, "tracking.uri")
        raise ValueError(f"{path} {what} ({error}): {remedy}") from error
