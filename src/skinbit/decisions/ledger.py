"""The ledger: all answers in one file, which only grows.

SQLite in WAL mode: an answer is on disk when :meth:`Ledger.append` returns, several processes append at once, and the
database itself refuses to change or delete a row. A ledger may come from elsewhere, so nothing of a file is used before
all of it was checked: its schema is exactly this one, without any other table, view or trigger.
"""

import re
import sqlite3
import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pandas as pd
from pydantic import ValidationError

from skinbit.config.block import in_words
from skinbit.decisions.answers import UNDO, Answer
from skinbit.durable import make_folder, replaced
from skinbit.errors import InputError
from skinbit.refusals import explain_database, explain_reading

_APPLICATION_ID: Final = 0x534B4E42  # "SKNB"
_VERSION: Final = 1

_FIELDS: Final = (
    "answer_id",
    "verdict",
    "parts",
    "undoes",
    "reviewer",
    "time",
    "model",
    "probability",
    "cut",
    "reason",
)
"""Of a row, in the database and in CSV."""

_NUMBERS: Final = ("probability", "cut")

_SCHEMA: Final = (
    "CREATE TABLE answers (number INTEGER PRIMARY KEY, answer_id TEXT NOT NULL UNIQUE, verdict TEXT NOT NULL, "
    "parts TEXT NOT NULL, undoes TEXT, reviewer TEXT NOT NULL, time TEXT NOT NULL, model TEXT NOT NULL, "
    "probability REAL, cut REAL, reason TEXT NOT NULL)",
    "CREATE TRIGGER answers_never_change BEFORE UPDATE ON answers "
    "BEGIN SELECT RAISE(ABORT, 'an answer is never changed: undo is an answer, too'); END",
    "CREATE TRIGGER answers_stay BEFORE DELETE ON answers "
    "BEGIN SELECT RAISE(ABORT, 'an answer is never deleted: undo is an answer, too'); END",
    # REPLACE would delete without a word to the trigger above.
    "CREATE TRIGGER answers_are_kept_once BEFORE INSERT ON answers "
    "WHEN EXISTS (SELECT 1 FROM answers WHERE answer_id = NEW.answer_id OR number = NEW.number) "
    "BEGIN SELECT RAISE(IGNORE); END",
)

_MAX_ANSWERS: Final = 1_000_000
_MAX_BYTES: Final = 4_000_000
"""Of one value: far more than the longest answer needs."""

_WAIT_SECONDS: Final = 10.0
"""For another process that writes."""

_ADDRESS = re.compile(r"[A-Za-z][\w+.-]+:/")
"""Such as ``s3://``, which a path shortens to ``s3:/``; ``C:/`` is a place of this machine."""

_REMOTE = re.compile(
    r"nfs\d?|cifs|smb.*|9p|afs|ceph|lustre|gluster.*|gpfs|beegfs|virtiofs|fuse(\.(?!fuse-overlayfs).*)?"
)
"""Types of file systems that other machines may write to, or whose locks may not hold."""


class Ledger:
    """A ledger that answers are added to; one thread uses it at a time."""

    def __init__(self, path: Path | str) -> None:
        """Open a ledger, or make an empty one where there is none.

        Args:
            path: Of the file, on a disk of this machine.

        Raises:
            InputError: If the file is no ledger, is damaged, in use or out of reach; it stays as it is.
        """
        self.path = _local(path)
        self._known: list[Answer] = []
        with _explained(self.path):
            make_folder(self.path.parent)
            self._connection = _connect(self.path, "rwc")
        try:
            with _explained(self.path):
                self._prepare()
            self.answers()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def answers(self) -> tuple[Answer, ...]:
        """Return all answers in the order in which they came, those of other processes included."""
        with _explained(self.path):
            self._known += _read(self._connection, len(self._known), self.path)
        return tuple(self._known)

    def append(self, answer: Answer) -> None:
        """Write an answer to disk; one that is there already stays as it is, with the time at which it came first.

        Raises:
            InputError: If another answer has its id, it undoes what no answer is, or the disk refuses it.
        """
        by_id = {known.answer_id: known for known in self.answers()}
        if answer.verdict == UNDO and by_id.get(answer.undoes or "", answer).verdict == UNDO:
            raise InputError("There is no answer to undo.\n  Remedy: undo an answer of this ledger.")
        held = by_id.get(answer.answer_id)
        self._add([answer if held is None else answer.model_copy(update={"time": held.time})], "the answer")

    def merge(self, path: Path | str) -> int:
        """Add the answers of another ledger, all or none, and return how many are new.

        Raises:
            InputError: If the other file cannot be used, or holds another answer of an id that is here.
        """
        return self._add(read_answers(path), str(path))

    def import_csv(self, path: Path | str) -> int:
        """Add the answers of a table that :meth:`export_csv` wrote, all or none, and return how many are new.

        Raises:
            InputError: If the table cannot be used, or holds another answer of an id that is here.
        """
        return self._add(_read_table(Path(path)), str(path))

    def export_csv(self, path: Path | str) -> None:
        """Write all answers as a table whose name ends in ``.csv``, the whole of it or nothing.

        Raises:
            InputError: If it cannot be written, or its name is another one.
        """
        place = Path(path)
        if place.suffix.lower() != ".csv" or place.resolve() == self.path:
            why = "it is the ledger itself" if place.resolve() == self.path else "its name does not end in .csv"
            raise InputError(f"Answers are not written to {place}: {why}.\n  Remedy: name a file that ends in .csv.")
        write_table(
            pd.DataFrame([_row(answer) for answer in self.answers()], columns=list(_FIELDS), dtype=object), place
        )

    def _prepare(self) -> None:
        """Make the tables of a new file, and check those of any other before the file is changed in any way."""
        with _transaction(self._connection):
            if _is_empty(self._connection):
                for statement in (
                    *_SCHEMA,
                    f"PRAGMA application_id={_APPLICATION_ID}",
                    f"PRAGMA user_version={_VERSION}",
                ):
                    self._connection.execute(statement)
        _check(self._connection, self.path)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")

    def _add(self, answers: Iterable[Answer], source: str) -> int:
        names = ", ".join(_FIELDS)
        statement = f"INSERT INTO answers ({names}) VALUES ({', '.join('?' * len(_FIELDS))})"
        with _explained(self.path), _transaction(self._connection):
            before = _count(self._connection)
            for answer in answers:
                self._connection.execute(statement, _row(answer))
                held = f"SELECT {names} FROM answers WHERE answer_id = ?"
                if self._connection.execute(held, (answer.answer_id,)).fetchone() != _row(answer):
                    raise InputError(
                        f"{source} and {self.path} differ in the answer {answer.answer_id}; nothing was added.\n"
                        "  Remedy: one of the two was changed by hand: use its original."
                    )
            count = _count(self._connection)
            if count > _MAX_ANSWERS:
                raise InputError(
                    f"With {source}, {self.path} would hold more than {_MAX_ANSWERS:,} answers; nothing was added.\n"
                    "  Remedy: go on in a new ledger, `--ledger FILE`."
                )
            return count - before


def read_answers(path: Path | str) -> tuple[Answer, ...]:
    """Return the answers of a ledger that must exist, and leave it as it is; SQLite may put files of its own beside it.

    Args:
        path: Of the file, on a disk of this machine.

    Raises:
        InputError: If there is none, it is no ledger, is damaged, in use or out of reach.
    """
    place = _local(path)
    if not place.exists():
        raise InputError(f"There is no ledger {place}.\n  Remedy: correct the path, or answer first: `kedro review`.")
    with _explained(place), closing(_connect(place, "ro")) as connection:
        _check(connection, place)
        return tuple(_read(connection, 0, place))


def check_local(path: Path, mounts: str) -> None:
    """Check that a file is, or will be, on a disk of this machine: over a network, locks of SQLite may not hold.

    Args:
        path: Absolute, without links.
        mounts: As Linux has them in ``/proc/mounts``; empty: unknown, and all places will do.

    Raises:
        InputError: If it is not.
    """
    kind, longest = "", -1
    for line in mounts.splitlines():
        _, point, found, *_ = line.split(" ")
        place = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), point))
        if path.is_relative_to(place) and len(place.parts) >= longest:
            kind, longest = found, len(place.parts)
    if _REMOTE.fullmatch(kind):
        raise InputError(
            f"The ledger {path} is on a network drive ({kind}), where two writers could damage it.\n  Remedy: keep it "
            "on a disk of this machine, or copy it there."
        )


def _local(path: Path | str) -> Path:
    if _ADDRESS.match(str(path)):
        raise InputError(f"The ledger {path} is no file of this machine.\n  Remedy: name a file on a disk of it.")
    with _explained(Path(path)):
        place = Path(path).expanduser().resolve()
        check_local(place, Path("/proc/mounts").read_text("utf-8", "replace") if sys.platform == "linux" else "")
        if place.is_dir():
            raise InputError(f"{place} is a folder where a ledger should be.\n  Remedy: name the file itself.")
    return place


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a file in which nothing is trusted yet."""
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}", timeout=_WAIT_SECONDS, uri=True, isolation_level=None, check_same_thread=False
    )
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_BYTES)
    for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all that follows, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _is_empty(connection: sqlite3.Connection) -> bool:
    return not (_pragma(connection, "application_id") or _pragma(connection, "user_version") or _tables(connection))


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _count(connection: sqlite3.Connection) -> int:
    count: int = connection.execute("SELECT count(*) FROM answers").fetchone()[0]
    return count


def _tables(connection: sqlite3.Connection) -> set[tuple[Any, ...]]:
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


def _expected_tables() -> set[tuple[Any, ...]]:
    with closing(sqlite3.connect(":memory:")) as memory:
        for statement in _SCHEMA:
            memory.execute(statement)
        return _tables(memory)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Check all of a file but its answers."""
    is_ledger, version = _pragma(connection, "application_id") == _APPLICATION_ID, _pragma(connection, "user_version")
    if is_ledger and version > _VERSION:
        raise InputError(f"The ledger {path} is of a later version of Skinbit.\n  Remedy: install that one.")
    if not is_ledger or version != _VERSION or _tables(connection) != _expected_tables():
        raise InputError(
            f"{path} is no ledger of answers, or something was added to it.\n  Remedy: name another file, or put a "
            "sound copy in its place; it was left as it is."
        )
    found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise _damaged(path, str(found))
    count, first, last = connection.execute("SELECT count(*), min(number), max(number) FROM answers").fetchone()
    if count > _MAX_ANSWERS or (count and (first, last) != (1, count)):
        raise _damaged(path, f"its answers are not numbered from 1 to {min(count, _MAX_ANSWERS)}")


def _read(connection: sqlite3.Connection, n_known: int, path: Path) -> list[Answer]:
    """Return the answers after those that are known."""
    query = f"SELECT number, {', '.join(_FIELDS)} FROM answers WHERE number > ? ORDER BY number"
    found = []
    for number, *values in connection.execute(query, (n_known,)):
        try:
            found.append(_answer(dict(zip(_FIELDS, values, strict=True))))
        except ValidationError as error:
            raise _damaged(path, f"answer {number}: {in_words(error)}") from error
    return found


def _damaged(path: Path, what: str) -> InputError:
    return InputError(
        f"The ledger {path} is damaged: {what}.\n  Remedy: put a sound copy in its place; it was left as it is."
    )


def write_table(table: pd.DataFrame, place: Path) -> None:
    """Write a table, the whole of it or nothing.

    Raises:
        InputError: If it cannot be written.
    """
    with _explained(place), replaced(str(place)) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def _row(answer: Answer) -> tuple[Any, ...]:
    parts = "|".join(" ".join(part) for part in answer.parts)
    values = answer.model_dump(exclude={"shown"}) | answer.shown.model_dump() | {"parts": parts}
    return tuple(values[name] for name in _FIELDS)


def _answer(values: Mapping[Hashable, Any]) -> Answer:
    """Return an answer from the fields of a row, whatever they hold.

    Raises:
        ValidationError: If they are no answer.
    """
    parts = values["parts"]
    if isinstance(parts, str):
        parts = tuple(tuple(part.split(" ")) for part in parts.split("|")) if parts else ()
    shown = {name: values[name] for name in ("model", "probability", "cut")}
    return Answer(**{name: values[name] for name in _FIELDS if name not in shown} | {"parts": parts, "shown": shown})


def _read_table(path: Path) -> list[Answer]:
    try:
        with _explained(path):
            table = pd.read_csv(path, dtype=str, keep_default_na=False, compression=None)
        if tuple(table.columns) != _FIELDS:
            raise ValueError(f"its columns are not {','.join(_FIELDS)}")
        return [_parsed(row, values) for row, values in enumerate(table.to_dict("records"), 2)]
    except InputError:
        raise
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{path} is no table of answers: {error}.\n  Remedy: export it anew; nothing was added."
        ) from error


def _parsed(row: int, values: Mapping[Hashable, Any]) -> Answer:
    try:
        changed: dict[Hashable, Any] = {name: float(values[name]) if values[name] else None for name in _NUMBERS}
        return _answer({**values, **changed, "undoes": values["undoes"] or None})
    except ValidationError as error:
        raise ValueError(f"row {row}: {in_words(error)}") from error
    except ValueError as error:
        raise ValueError(f"row {row}: {error}") from error


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what makes a file unusable into one message."""
    try:
        yield
    except sqlite3.Error as error:
        what, remedy = explain_database(error, "the path")
        raise InputError(
            f"The ledger {path} {what} ({error}).\n  Remedy: {remedy}. No answer in it is lost."
        ) from error
    except OSError as error:
        why, remedy = explain_reading(error)
        raise InputError(f"{path} cannot be used: {why}.\n  Remedy: {remedy}.") from error
