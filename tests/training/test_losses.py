"""Losses and miners against plain loops over pairs and triplets, written from the formulas in `make_loss`."""

import math

import numpy as np
import pytest
import torch

from skinbit.config import ContrastiveParams, InfonceParams, TripletParams
from skinbit.training.losses import make_loss

LESION_SIZES = (2, 3, 4, 2)
ZERO_IN_FLOAT32 = 2.0**-25
"""A logarithm of 1 and less than this more is 0."""


def labels_of(sizes=LESION_SIZES):
    return np.repeat(np.arange(len(sizes)), sizes)


def random_embeddings(seed, spread=0.7, sizes=LESION_SIZES, n_dims=6):
    """Unit vectors around a direction per lesion, shuffled with their lesions."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(labels_of(sizes))
    vectors = rng.normal(size=(len(sizes), n_dims))[labels] + spread * rng.normal(size=(len(labels), n_dims))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels


def mean_of_positive(terms):
    terms = [term for term in terms if term > 0]
    return math.fsum(terms) / len(terms) if terms else 0.0


def pairs(labels, same):
    n_images = len(labels)
    return [(i, j) for i in range(n_images) for j in range(n_images) if i != j and (labels[i] == labels[j]) == same]


def hardest_negatives(similar, labels):
    """For each anchor its most similar image of another lesion."""
    negatives = {i: [j for j in range(len(labels)) if labels[j] != labels[i]] for i in range(len(labels))}
    return [(i, max(others, key=lambda j: similar[i, j])) for i, others in negatives.items()]


def contrastive(similar, labels, margin, miner):
    negatives = pairs(labels, same=False) if miner == "all" else hardest_negatives(similar, labels)
    pull = mean_of_positive(1 - similar[pair] for pair in pairs(labels, same=True))
    return pull + mean_of_positive(similar[pair] - margin for pair in negatives)


def triplet(similar, labels, margin, miner):
    terms = []
    for a, p in pairs(labels, same=True):
        for n in range(len(labels)):
            if labels[n] == labels[a]:
                continue
            lead = similar[a, p] - similar[a, n]  # how much closer the positive is
            mined = {"all": True, "hard": lead <= 0, "semihard": 0 < lead <= margin}[miner]
            if mined:
                terms.append(max(0.0, margin - lead))
    return mean_of_positive(terms)


def infonce(similar, labels, temperature, miner):
    negatives = pairs(labels, same=False) if miner == "all" else hardest_negatives(similar, labels)
    anchors = []
    for a in range(len(labels)):
        positives = [j for i, j in pairs(labels, same=True) if i == a]
        others = [*positives, *(j for i, j in negatives if i == a)]
        total = math.fsum(math.exp(similar[a, other] / temperature) for other in others)
        anchors.append(np.mean([math.log(total) - similar[a, p] / temperature for p in positives]))
    return float(np.mean([term for term in anchors if term > ZERO_IN_FLOAT32]))


CASES = [
    *(
        (ContrastiveParams(margin=margin, miner=miner), contrastive)
        for margin in (0.0, 0.5)
        for miner in ("all", "hard")
    ),
    *((TripletParams(margin=m, miner=miner), triplet) for m in (0.1, 0.6) for miner in ("all", "semihard", "hard")),
    *((InfonceParams(temperature=t, miner=miner), infonce) for t in (0.07, 0.5) for miner in ("all", "hard")),
]


def setting_of(params):
    return params.temperature if isinstance(params, InfonceParams) else params.margin


def loss_of(params, embeddings, labels):
    return float(make_loss(params)(torch.tensor(embeddings, dtype=torch.float32), torch.from_numpy(labels)))


@pytest.mark.parametrize(("params", "oracle"), CASES, ids=lambda value: getattr(value, "__name__", str(value)))
@pytest.mark.parametrize("spread", [0.2, 0.7, 2.0], ids=lambda spread: f"spread={spread}")
def test_loss_equals_a_loop_over_pairs_or_triplets(params, oracle, spread):
    for seed in range(5):
        embeddings, labels = random_embeddings(seed, spread)
        expected = oracle(embeddings @ embeddings.T, labels, setting_of(params), params.miner)
        assert loss_of(params, embeddings, labels) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("params", "oracle"), CASES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_gradient_points_along_the_finite_difference(params, oracle):
    embeddings, labels = random_embeddings(3)
    images = torch.tensor(embeddings, dtype=torch.float64, requires_grad=True)
    make_loss(params)(images, torch.from_numpy(labels)).backward()
    gradient = images.grad.numpy()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 1e-3
    step = 1e-6 * np.random.default_rng(0).normal(size=embeddings.shape)
    moved = [embeddings + sign * step for sign in (1, -1)]
    unit = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in moved]
    values = [oracle(vectors @ vectors.T, labels, setting_of(params), params.miner) for vectors in unit]
    assert (values[0] - values[1]) / 2 == pytest.approx(float((gradient * step).sum()), rel=1e-3, abs=1e-12)


@pytest.mark.parametrize(("params", "oracle"), CASES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_the_order_of_images_has_no_influence(params, oracle):
    embeddings, labels = random_embeddings(1)
    order = np.random.default_rng(9).permutation(len(labels))
    moved = loss_of(params, embeddings[order], labels[order])
    assert moved == pytest.approx(loss_of(params, embeddings, labels), rel=1e-5)


@pytest.mark.parametrize("params", [params for params, _ in CASES if not isinstance(params, InfonceParams)], ids=str)
def test_lesions_that_are_told_apart_cost_nothing_and_still_have_a_gradient(params):
    images = torch.eye(3).repeat_interleave(2, dim=0).requires_grad_()
    loss = make_loss(params)(images, torch.tensor([0, 0, 1, 1, 2, 2]))
    loss.backward()
    assert loss.item() == 0
    assert not images.grad.any()


SQUARE = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]])
"""Similarities: 0-1 0, 2-3 0.96, 0-2 and 1-3 0.8, 0-3 and 1-2 0.6; lesions are {0, 1} and {2, 3}."""


@pytest.mark.parametrize(
    ("params", "by_hand"),
    [
        # Pulled together: 1 - 0 and 1 - 0.96; apart: 0.8 - 0.5 and 0.6 - 0.5.
        (ContrastiveParams(margin=0.5), (1 + 0.04) / 2 + (0.3 + 0.1) / 2),
        (ContrastiveParams(margin=0.7), (1 + 0.04) / 2 + 0.1),
        (ContrastiveParams(margin=0.5, miner="hard"), (1 + 0.04) / 2 + 0.3),
        # Anchors 0 and 1: positive 0, negatives 0.8 and 0.6; anchors 2 and 3: positive 0.96, negatives 0.8 and 0.6.
        (TripletParams(margin=0.2, miner="all"), (2 * (1.0 + 0.8) + 2 * 0.04) / 6),
        (TripletParams(margin=0.2, miner="semihard"), 0.04),
        (TripletParams(margin=0.2, miner="hard"), 0.9),
        (
            InfonceParams(temperature=0.2),
            (math.log(1 + math.exp(4) + math.exp(3)) + math.log(1 + math.exp(-0.8) + math.exp(-1.8))) / 2,
        ),
        (InfonceParams(temperature=0.2, miner="hard"), (math.log(1 + math.exp(4)) + math.log(1 + math.exp(-0.8))) / 2),
    ],
    ids=str,
)
def test_four_images_by_hand(params, by_hand):
    assert loss_of(params, SQUARE, np.array([0, 0, 1, 1])) == pytest.approx(by_hand, rel=1e-4)
