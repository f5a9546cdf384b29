"""A promise of docs/trust.md, in the part on relations: nothing is found where labels say nothing."""

import numpy as np
import pytest

from skinbit.config import EvaluationParams, RerankingParams, ScalingParams, SimilarityParams
from skinbit.matching.assembly import pool_of
from skinbit.matching.labels import unit_vectors
from skinbit.matching.methods import CUTS
from skinbit.matching.scoring.score import metrics_at_cuts, score

N_LESIONS, N_SHUFFLES = 8, 20
LESIONS = [f"L{lesion}" for lesion in range(N_LESIONS) for _ in range(3)]
SHARE = N_LESIONS * 3 / (len(LESIONS) * (len(LESIONS) - 1) / 2)
"""Of the pairs that show one lesion."""

SIMILARITIES = {
    "cosines": SimilarityParams(),
    "scaled": SimilarityParams(scaling=ScalingParams(share=0.1, least=2)),
    "reranked": SimilarityParams(reranking=RerankingParams(k1=3)),
}


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_with_shuffled_labels_f1_falls_to_chance(kind):
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(N_LESIONS, 16))
    vectors = unit_vectors(np.repeat(centres, 3, axis=0) + 0.1 * rng.normal(size=(len(LESIONS), 16)))
    pool = pool_of(vectors, SIMILARITIES[kind])
    true = score(pool, LESIONS, EvaluationParams()).metrics
    cuts = {method: true[cut] for method, cut in CUTS.items() if cut in true}
    assert min(true[f"{method}_f1"] for method in cuts) > 0.99
    shuffled = [score(pool, list(rng.permutation(LESIONS)), EvaluationParams(), cuts) for _ in range(N_SHUFFLES)]
    for method in cuts:
        f1 = [metrics_at_cuts(found, cuts)[f"{method}_f1"] for found in shuffled]
        # As many pairs are joined as show one lesion, of which a share by chance: precision = recall = F1.
        assert np.mean(f1) == pytest.approx(SHARE, abs=4 * np.std(f1) / np.sqrt(N_SHUFFLES))
