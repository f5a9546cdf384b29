"""The ways in which pairs are predicted: by a threshold, or by putting images into groups."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

MethodName = Literal["cosine", "dbscan", "average", "complete", "mutual"]


@dataclass(frozen=True)
class Method:
    """One way to predict which images show the same lesion.

    Attributes:
        title: As a reader knows it.
        cut: The metric that holds its cut; None where it needs none.
        word: What the cut is called; empty where there is none.
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
"""In the order in which they are reported. A threshold is a similarity, every other cut a distance, 1 - similarity."""

CUTS: Mapping[str, str] = MappingProxyType({name: method.cut for name, method in METHODS.items() if method.cut})
"""Per method that has one, the metric that holds its cut."""


def _with_a_cut(method: str) -> str:
    if method not in CUTS:
        raise ValueError(f"there is no method {method!r} with a cut")
    return method


MethodWithCut = Annotated[str, AfterValidator(_with_a_cut)]

CutValue = Annotated[float, Field(ge=-1, le=2)]
"""A threshold, or a distance: a method knows which."""

Similarity = Annotated[float, Field(ge=-1.01, le=1.01)]
"""A cosine may leave [-1, 1] by rounding."""

PAGED = ("cosine", "dbscan")
"""Methods whose misclassified test pairs are shown on pages of their own."""
