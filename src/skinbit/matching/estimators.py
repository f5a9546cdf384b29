"""Matching in scikit-learn's conventions: groups of vectors, and the best cut for vectors of known lesions.

```python
selector = CutSelector(method="average").fit(known_vectors, lesion_ids)
groups = LesionClusterer(method="average", cut=selector.cut_).fit_predict(new_vectors)
```

Neither ever holds the similarities of all pairs, and both give what the whole matrix would.
"""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import validate_data

from skinbit.matching.blocked import Limits, evaluate_embeddings_in_blocks
from skinbit.matching.blocks import BLOCK_BYTES, similarity_tiles
from skinbit.matching.clustering import MergeTree, clusters_at, components
from skinbit.matching.methods import CUTS
from skinbit.matching.neighbours import MOST_PAIRS, NeighbourGraph, neighbours_above, spanning_forest
from skinbit.matching.pairs import FloatArray, LabelArray, unit_vectors
from skinbit.matching.sparse_linkage import linkage_forest
from skinbit.matching.survey import MutualPairs
from skinbit.params import EvaluationParams

GroupMethod = Literal["dbscan", "average", "complete", "mutual"]

_BELOW_CUT = 1e-11
"""A graph reaches a little less far than its floor; see :attr:`skinbit.matching.neighbours.NeighbourGraph.reach`."""


class LesionClusterer(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Puts images into groups that show one lesion each, by the cosine similarity of their vectors.

    Attributes:
        labels_: ``(n,)`` the group of each image, 0, 1, … in the order in which rows first show them; an image without
            partner is a group of one. After ``fit``.
        n_features_in_: Dimension of the vectors. After ``fit``.
    """

    def __init__(
        self,
        method: GroupMethod = "average",
        cut: float = 0.2,
        max_group_size: int | None = None,
        block_memory: int = BLOCK_BYTES,
        most_pairs: int = MOST_PAIRS,
    ) -> None:
        """Set parameters; ``fit`` checks them.

        Args:
            method: ``dbscan`` with ``min_samples`` 1 or 2 (single linkage), ``average`` or ``complete`` linkage, or
                ``mutual`` nearest neighbours, which need no cut.
            cut: Largest distance, 1 - similarity, at which groups join, in [0, 2].
            max_group_size: Average and complete linkage make no larger groups, at least 1; none: of any size.
            block_memory: Bytes for similarities at any moment; changes speed, never a group.
            most_pairs: Pairs within the cut that are held at most.
        """
        self.method = method
        self.cut = cut
        self.max_group_size = max_group_size
        self.block_memory = block_memory
        self.most_pairs = most_pairs

    def fit(self, X: ArrayLike, y: Any = None) -> Self:  # noqa: N803
        """Put images into groups.

        Args:
            X: ``(n, d)`` vectors, finite, none all zero; their length does not matter.
            y: Not used.

        Returns:
            The estimator.

        Raises:
            ValueError: If a parameter is out of range, a vector has no direction, or more pairs lie within the cut than
                are held; with the remedy.
        """
        self._check_parameters()
        embeddings = unit_vectors(validate_data(self, X, dtype=np.float64))
        if self.method == "mutual":
            self.labels_ = self._mutual_groups(embeddings)
        else:
            graph = self._graph(embeddings)
            self.labels_ = clusters_at(self._merges(graph, embeddings), self.cut)
        return self

    def _check_parameters(self) -> None:
        if self.method not in ("dbscan", "average", "complete", "mutual"):
            raise ValueError(f"method is {self.method!r}. Remedy: dbscan, average, complete or mutual.")
        if not 0 <= self.cut <= 2:
            raise ValueError(f"cut is {self.cut}. Remedy: a cosine distance from 0 to 2.")
        if self.max_group_size is not None and self.max_group_size < 1:
            raise ValueError(f"max_group_size is {self.max_group_size}. Remedy: at least 1, or none.")
        if self.block_memory < 1 or self.most_pairs < 2:
            raise ValueError("block_memory or most_pairs is too small. Remedy: at least 1 byte and 2 pairs.")

    def _mutual_groups(self, embeddings: FloatArray) -> LabelArray:
        mutual = MutualPairs(len(embeddings))
        for tile in similarity_tiles(embeddings, self.block_memory):
            mutual.add(tile)
        return components(len(embeddings), mutual.pairs())

    def _graph(self, embeddings: FloatArray) -> NeighbourGraph:
        floor = np.nextafter(np.float32(1.0 - self.cut - _BELOW_CUT), np.float32(-np.inf))
        graph = neighbours_above(embeddings, max(-1.0, float(floor)), self.block_memory, self.most_pairs)
        if graph.reach < self.cut:
            raise ValueError(
                f"more than {self.most_pairs} pairs are within the cut {self.cut}. "
                "Remedy: a smaller cut, no images twice, or more most_pairs (some 40 bytes each)."
            )
        return graph

    def _merges(self, graph: NeighbourGraph, embeddings: FloatArray) -> MergeTree:
        if self.method == "dbscan":
            return spanning_forest(graph)
        return linkage_forest(
            graph, embeddings, self.max_group_size, "average" if self.method == "average" else "complete"
        )


class CutSelector(BaseEstimator):  # type: ignore[misc]
    """Finds the cut with the highest pairwise F1 for vectors of known lesions, among all cuts.

    Attributes:
        cut_: The cut: a similarity for ``cosine``, else a distance; NaN without a pair of one lesion. After ``fit``.
        f1_: Pairwise F1 there. After ``fit``.
        metrics_: All figures of the vectors, by name, as :func:`skinbit.matching.evaluation.evaluate_subset` gives
            them. After ``fit``.
        n_features_in_: Dimension of the vectors. After ``fit``.
    """

    def __init__(
        self,
        method: Literal["cosine", "dbscan", "average", "complete"] = "average",
        max_group_size: int | None = None,
        block_memory: int = BLOCK_BYTES,
        most_pairs: int = MOST_PAIRS,
    ) -> None:
        """Set parameters; ``fit`` checks them.

        Args:
            method: ``cosine``: a threshold on similarity; else as for :class:`LesionClusterer`.
            max_group_size: Average and complete linkage make no larger groups, at least 2; none: of any size.
            block_memory: Bytes for similarities at any moment; changes speed, never a figure.
            most_pairs: Near pairs that are held at most.
        """
        self.method = method
        self.max_group_size = max_group_size
        self.block_memory = block_memory
        self.most_pairs = most_pairs

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803
        """Find the cut.

        Args:
            X: ``(n, d)`` vectors, finite, none all zero; their length does not matter.
            y: ``(n,)`` the lesion of each, text or numbers.

        Returns:
            The estimator.

        Raises:
            ValueError: If a parameter is out of range, a vector has no direction, or certainty about the cut takes more
                pairs than are held; with the remedy.
        """
        if self.method not in CUTS:
            raise ValueError(f"method is {self.method!r}. Remedy: {', '.join(CUTS)}.")
        vectors, lesions = validate_data(self, X, y, dtype=np.float64)
        params = EvaluationParams(max_group_size=self.max_group_size)
        limits = Limits(self.block_memory, self.most_pairs)
        lesion_ids = np.asarray(lesions).astype(str).tolist()
        found = evaluate_embeddings_in_blocks(unit_vectors(vectors), lesion_ids, params, limits=limits)
        if self.method in found.uncertain:
            raise ValueError(
                f"a cut that takes more than {self.most_pairs} pairs might be better. Remedy: more most_pairs."
            )
        self.cut_, self.f1_ = found.metrics[CUTS[self.method]], found.metrics[f"{self.method}_f1"]
        self.metrics_ = dict(found.metrics)
        return self
