"""Embeddings on a plane."""

import numpy as np
import pytest

from skinbit.matching.labels import unit_vectors
from skinbit.notebook.projection import project_to_plane


def groups(n_groups=4, n_images=6, dim=16):
    generator = np.random.default_rng(0)
    centres = np.repeat(np.eye(dim)[:n_groups], n_images, axis=0)
    return unit_vectors(centres + 0.05 * generator.normal(size=centres.shape)), np.repeat(np.arange(n_groups), n_images)


def test_neighbours_stay_neighbours():
    embeddings, labels = groups()
    points = project_to_plane(embeddings, seed=1)
    distances = np.linalg.norm(points[:, None] - points, axis=2) + np.diag(np.full(len(points), np.inf))
    assert (labels[distances.argmin(axis=1)] == labels).all()


def test_the_same_seed_gives_the_same_map():
    embeddings, _ = groups()
    assert np.array_equal(project_to_plane(embeddings, seed=1), project_to_plane(embeddings, seed=1))


@pytest.mark.parametrize("n_images", [1, 2, 3, 4])
def test_few_images_have_a_map_too(n_images):
    points = project_to_plane(groups()[0][:n_images], seed=1)
    assert points.shape == (n_images, 2)
    assert np.isfinite(points).all()
