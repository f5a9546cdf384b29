"""Contracts of the JSON documents that nodes exchange; the catalog names one per entry.

A document may contain more than its contract: only what readers rely on is checked.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from skinbit.config import GeometryParams
from skinbit.decisions.certified import CertifiedGroups
from skinbit.embedding.headers import Sha256
from skinbit.embedding.preprocessing import Preprocessing
from skinbit.matching.expected.odds import LogOdds, PairOdds
from skinbit.matching.expected.own_cut import Expected
from skinbit.matching.methods import CutValue, MethodName, Similarity
from skinbit.matching.scoring.mistakes import Mistake

Picture = Annotated[str, Field(pattern=r"^data:image/(jpeg|png);base64,[A-Za-z0-9+/]*={0,2}$")]
"""A ``data:`` address, so that a page with it loads nothing."""

Thumbnails = dict[str, Picture]
"""By image id."""


class Document(BaseModel):
    """Base of all contracts."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())


class Description(Document):
    """A backbone: :func:`skinbit.embedding.features.describe_backbone`."""

    model: str
    weights_sha256: Sha256
    feature_dim: PositiveInt
    preprocessing: Preprocessing
    pooling: dict[str, Any]
    test_views: dict[str, Any]
    compute: dict[str, Any]
    versions: dict[str, str]


class Averages(Document):
    """Means over the folds of an experiment; None where no fold has a value."""

    cosine_threshold: CutValue | None
    dbscan_eps: CutValue | None
    average_cut: CutValue | None
    complete_cut: CutValue | None
    best_epoch: Annotated[float, Field(ge=1)] | None = None


class MistakesDocument(Document):
    """Misclassified pairs: :func:`skinbit.matching.scoring.mistakes.mistakes_document`."""

    experiment: str
    method: MethodName
    threshold: CutValue | None = None
    eps: CutValue | None = None
    possible_label_error_from: Similarity | None
    counts: dict[str, NonNegativeInt | None]
    pairs: list[Mistake]


class MatchDrawing(Document):
    """Two misclassified photographs with matched keypoints."""

    image_a: str
    image_b: str
    inliers: NonNegativeInt
    drawing: Picture | None


MatchDrawings = list[MatchDrawing]


class Summary(Document):
    """What a report shows about an experiment; None where a metric is undefined."""

    settings: dict[str, Any]
    figures: dict[str, dict[str, float | None]]
    strata: list[dict[str, float | str | None]]
    columns: list[tuple[str, NonNegativeFloat, NonNegativeFloat]]
    reliability: list[dict[str, NonNegativeFloat]]
    resampled_f1: dict[str, list[float | None]]
    curves: dict[str, dict[str, dict[str, list[float]]]]
    groups_by_size: dict[str, dict[str, NonNegativeInt]]
    histories: dict[str, dict[str, list[float | None]]]


_Probability = Annotated[float, Field(ge=0, le=1)]


class ClusterCut(Document):
    """The cut at which photographs are grouped: :func:`skinbit.matching.expected.documents.settle_cut`."""

    method: MethodName
    cut: CutValue | None
    similarity: float | None
    unsure_from: float | None
    unsure_to: float | None
    expected: Expected | None
    log_odds: LogOdds | None


class ClusterGroup(Document):
    """A group of new photographs."""

    cluster_id: NonNegativeInt
    lesion_id: str
    image_ids: Annotated[list[str], Field(min_length=1)]
    known_ids: list[str]
    contradictory_ids: list[str]
    margin: NonNegativeFloat | None
    probability_inside: _Probability | None
    probability_outside: _Probability | None
    doubts: list[str]


class ClusterAnswers(Document):
    """What people have answered, and how many pairs of photographs that holds together or apart."""

    obeyed: NonNegativeInt
    elsewhere: NonNegativeInt
    pairs_together: NonNegativeInt
    pairs_apart: NonNegativeInt
    contradictory: NonNegativeInt
    read: NonNegativeInt


class ClusterCertificate(Document):
    """What answers about drawn pairs say of groups; None where nobody has answered any."""

    certificate: CertifiedGroups | None


class ClusterGroups(ClusterCut, ClusterCertificate):
    """All groups, and the nearest photograph of each; None where nobody has answered anything."""

    answers: ClusterAnswers | None
    groups: list[ClusterGroup]
    nearest: list[str]


class ClusterLink(Document):
    """Two photographs of a group with matched keypoints."""

    cluster_id: NonNegativeInt
    image_ids: tuple[str, str]
    inliers: NonNegativeInt
    drawing: Picture | None


ClusterLinks = list[ClusterLink]


class ClusterReview(Document):
    """What a review of the groups rests on: :func:`skinbit.pipelines.cluster_images.nodes.groups.note_for_review`."""

    images: str
    known_images: str | None
    model: str
    geometry: GeometryParams
    evidence: list[str]
    odds: tuple[PairOdds, ...]
