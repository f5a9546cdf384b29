"""The methods that predict pairs: by a threshold, or by grouping images."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

MethodName = Literal["cosine", "dbscan", "average", "complete", "mutual"]


@dataclass(frozen=True)
class Method:
    """A method that predicts which images show the same lesion.

    Attributes:
        title: Name for readers.
        cut: Metric with the method's cut; None if it needs none.
        word: What the cut is called; empty if there is none.
        is_group: Whether it puts every image into one group, so that its pairs are transitive.
    """

    title: str
    cut: str | None
    word: str
    is_group: bool


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "cosine": Method("Cosine threshold", "cosine_threshold", "threshold", is_group=False),
        "dbscan": Method("DBSCAN", "dbscan_eps", "eps", is_group=True),
        "average": Method("Average linkage", "average_cut", "cut", is_group=True),
        "complete": Method("Complete linkage", "complete_cut", "cut", is_group=True),
        "mutual": Method("Mutual nearest", None, "", is_group=True),
    }
)
"""In the order of reports. A threshold is a similarity, every other cut a distance, 1 - similarity."""

CUTS: Mapping[str, str] = MappingProxyType({name: method.cut for name, method in METHODS.items() if method.cut})
"""Metric with the cut, by method that has one."""


def _with_a_cut(method: str) -> str:
    if method not in CUTS:
        raise ValueError(f"there is no method {method!r} with a cut")
    return method


MethodWithCut = Annotated[str, AfterValidator(_with_a_cut)]

CutValue = Annotated[float, Field(ge=-1, le=2)]
"""A threshold or a distance, depending on the method."""

Similarity = Annotated[float, Field(ge=-1.01, le=1.01)]
"""Rounding may move a cosine out of [-1, 1] by this much."""

PAGED = ("cosine", "dbscan")
"""Methods with pages of misclassified test pairs."""
