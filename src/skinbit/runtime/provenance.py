"""The origin of a dataset as a hash: an output that would be made in the same way again need not be made again.

An origin names the function, the software, and the fingerprint of every input; its hash is the fingerprint of its
outputs. Inputs have fingerprints of the same kind, so one hash covers everything upstream (Merkle 1987): a change of a
parameter, a photograph or a fold affects exactly the datasets that depend on it.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

ABSENT = hashlib.sha256(b"absent").hexdigest()
"""Fingerprint of an optional input that does not exist."""

# Not matplotlib: a new release may draw curves differently, which is no reason to train again.
_SOFTWARE = (
    *("skinbit", "torch", "timm", "pytorch-metric-learning", "numpy", "scipy", "scikit-learn", "pillow", "pandas"),
    "opencv-python-headless",
)

_WEIGHTS = "weights"
"""Parameter that names a file, at any depth."""


class Origin(BaseModel):
    """How a dataset is made.

    Attributes:
        function: Full name of the function.
        bound: Arguments that the graph fixes, such as the fold.
        inputs: Name and fingerprint of each input, in the order of the arguments.
        outputs: Names of all outputs, in order.
        versions: Versions of the software that results depend on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    function: str
    bound: Any
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[str, ...]
    versions: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """Return the hash of all fields."""
        return hash_value(self)

    def differences(self, earlier: "Origin") -> tuple[str, ...]:
        """Return the names of inputs and software that differ from an earlier origin, else that of the function."""
        inputs = sorted({name for name, _ in set(self.inputs) ^ set(earlier.inputs)})
        software = sorted({name for name, _ in self.versions.items() ^ earlier.versions.items()})
        return (*inputs, *(f"version of {name}" for name in software)) or (self.function.rpartition(".")[2],)


class StoredFile(BaseModel):
    """The content of a file.

    Attributes:
        size: In bytes.
        sha256: Hash of its bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    sha256: str


class Record(BaseModel):
    """What is recorded about a dataset when it is saved.

    Attributes:
        origin: How it was made.
        content: Hash of the files, for datasets that others also write: photographs and metadata.
        file: Size and hash of the file, for datasets of one file that nobody else writes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    origin: Origin = Field(alias="recipe")  # its name in records on disk
    content: str | None = None
    file: StoredFile | None = None


class Step(Protocol):
    """A node of the graph."""

    @property
    def func(self) -> Callable[..., Any]:
        """The function, or a partial of it."""

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs, in the order of the function's arguments."""

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""


def plan_origins(steps: Iterable[Step], given: Mapping[str, str | None]) -> dict[str, Origin | None]:
    """Return how every output of a graph will be made.

    Args:
        steps: The nodes in an order in which inputs are made first.
        given: Fingerprints of the graph's inputs; None for unknown ones. Inputs that are missing here do not count:
            they affect how fast a result is made, not the result.

    Returns:
        Origins by output; None for outputs that depend on something unknown.
    """
    known = dict(given)
    origins: dict[str, Origin | None] = {}
    for step in steps:
        origin = _origin(step, known)
        origins.update(dict.fromkeys(step.outputs, origin))
        known.update(dict.fromkeys(step.outputs, origin.fingerprint if origin else None))
    return origins


def _origin(step: Step, known: Mapping[str, str | None]) -> Origin | None:
    inputs = []
    for name in step.inputs:
        fingerprint = known.get(name)
        if fingerprint is not None:
            inputs.append((name, fingerprint))
        elif name in known:
            return None
    function, bound = _unwrap(step.func)
    return Origin(
        function=f"{function.__module__}.{function.__qualname__}",
        bound=_plain(bound),
        inputs=tuple(inputs),
        outputs=tuple(step.outputs),
        versions=software_versions(),
    )


def _unwrap(function: Callable[..., Any]) -> tuple[Callable[..., Any], list[Any]]:
    if isinstance(function, partial):
        return function.func, [list(function.args), function.keywords]
    return function, []


@cache
def software_versions() -> dict[str, str]:
    """Return the versions of the software that results depend on, by name; for Python, major and minor version."""
    return {name: version(name) for name in _SOFTWARE} | {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}"
    }


def hash_value(value: Any) -> str:
    """Return the hash of a parameter or another plain value; a weights file counts by its content.

    Args:
        value: Plain values and pydantic models, at any depth.

    Returns:
        SHA-256 of the value as JSON with sorted keys.
    """
    return hashlib.sha256(json.dumps(_plain(value), sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): _plain(_named_file(entry) if key == _WEIGHTS else entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _named_file(path: Any) -> Any:
    """Return the name and hash of a file in place of its path, since moving a folder changes no result."""
    if not isinstance(path, str):
        return path
    content, place = None, os.path.expanduser(path)
    with suppress(OSError):  # the node that needs the file reports the error
        if os.path.isfile(place):  # reading a pipe would never end
            with open(place, "rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": Path(path).name, "sha256": content}
