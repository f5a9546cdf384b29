"""The base of all parameter blocks: frozen, without unknown keys, with readable error messages."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from skinbit.errors import SHOWN_PER_KIND

NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
"""Names become folders, namespaces and pipeline names: lower case, digits, underscores."""

Name = Annotated[str, Field(pattern=NAME_PATTERN)]


def _no_number(value: Any) -> Any:
    if isinstance(value, int | float):
        raise ValueError("a path that looks like a number is read as a number: begin it with ./, as in ./2019")
    return value


PathText = Annotated[str, BeforeValidator(_no_number)]
"""A path; ``~`` is allowed. Kedro's ``--params`` strips zeros from what looks like a number, so numbers are refused."""

MEMBERS = "members"
"""Key of the members' settings, in the settings of a combination and in the header of its model."""

LICENCES = "weights_licences"
"""Key of the licences of weights, in the settings of an experiment as a machine ran them."""

MAX_MEMBERS = 16
"""The most members that a combination may have."""


class Block(BaseModel):
    """A block of parameters: unknown keys are refused, values cannot change during a run."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


def split_joined(value: Any) -> Any:
    """Return ``a+b``, a list or a single value as a tuple, as Kedro's ``--params`` cannot pass lists."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split("+"))
    return tuple(value) if isinstance(value, list | tuple) else (value,)


Columns = Annotated[tuple[str, ...], BeforeValidator(split_joined)]
"""Names of columns of a table, as a list or joined by +."""

AnyBlock = TypeVar("AnyBlock", bound=Block)


def overridden(block: AnyBlock, overrides: dict[str, Any]) -> AnyBlock:
    """Return a copy of a block with some values replaced at any depth, validated again."""
    return type(block).model_validate(_merged(block.model_dump(), overrides))


def _merged(values: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for name, value in overrides.items():
        nested = isinstance(value, dict) and isinstance(values.get(name), dict)
        merged[name] = _merged(values[name], value) if nested else value
    return merged


@contextmanager
def located(place: str) -> Iterator[None]:
    """Prefix validation errors with a place, for values that are merged from several places."""
    try:
        yield
    except ValidationError as error:
        raise ValueError(f"{place}: {in_words(error)}") from error


def in_words(error: ValidationError) -> str:
    """Return the problems that pydantic found, in one line: where each is, and what it is."""
    problems = [
        ": ".join(filter(None, (".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, "))))
        for problem in error.errors()
    ]
    more = f" and {len(problems) - SHOWN_PER_KIND} more" if len(problems) > SHOWN_PER_KIND else ""
    return "; ".join(problems[:SHOWN_PER_KIND]) + more


def require(names: Iterable[str], known: dict[str, Any], where: str, kind: str) -> None:
    """Check that all names are known; the ``ValueError`` names the first unknown one."""
    for name in names:
        if name not in known:
            raise ValueError(f"{where} names the unknown {kind} {name!r}; declared: {', '.join(sorted(known))}")
