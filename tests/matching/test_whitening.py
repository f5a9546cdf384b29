"""Whitening against scikit-learn and plain loops over positive pairs."""

from functools import cache
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from skinbit.matching.labels import unit_vectors
from skinbit.matching.pairs.pool import Pool, similarity_matrix
from skinbit.matching.similarity.whitening import Whitening, fit_whitening

KINDS = pytest.mark.parametrize("kind", ["pca", "learned"])


def lesions(n_lesions=40, dim=6, seed=0):
    """Two to four photographs per lesion that differ most along the first direction, which tells nothing."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_lesions), generator.integers(2, 5, n_lesions))
    noise = generator.normal(size=(len(labels), dim)) * 0.1
    noise[:, 0] *= 30
    return unit_vectors(generator.normal(size=(n_lesions, dim))[labels] + noise + 1.0), labels


def cosines_of(embeddings):
    return similarity_matrix(Pool(embeddings))


def share_with_partner_nearest(embeddings, labels):
    similarities = similarity_matrix(Pool(embeddings))
    np.fill_diagonal(similarities, -2)
    return float(np.mean(labels[similarities.argmax(axis=1)] == labels))


def project(whitening, embeddings):
    return (embeddings.astype(np.float64) - whitening.mean) @ whitening.projection


@cache
def fitted(kind, dim):
    embeddings, labels = lesions(n_lesions=20, dim=dim)
    whitening = fit_whitening(embeddings, labels, kind=kind, shrinkage=0.3)
    return whitening, embeddings, whitening.apply(embeddings)


def is_sphere(covariance):
    return np.allclose(covariance / covariance[0, 0], np.eye(len(covariance)), atol=1e-4)


def test_pca_is_that_of_scikit_learn():
    embeddings, _ = lesions()
    whitening = fit_whitening(embeddings, kind="pca", dim=4, shrinkage=0)
    expected = PCA(4, whiten=True).fit_transform(embeddings.astype(np.float64))
    np.testing.assert_allclose(cosines_of(whitening.apply(embeddings)), cosines_of(unit_vectors(expected)), atol=1e-5)


def test_learned_makes_a_sphere_of_the_differences_of_positive_pairs():
    embeddings, labels = lesions()
    whitened = project(fit_whitening(embeddings, labels, kind="learned", shrinkage=0), embeddings)
    pairs = [(i, j) for i, j in combinations(range(len(labels)), 2) if labels[i] == labels[j]]
    assert is_sphere(sum(np.outer(whitened[i] - whitened[j], whitened[i] - whitened[j]) for i, j in pairs))


def test_learned_keeps_the_directions_in_which_images_differ_most():
    embeddings, labels = lesions()
    spread = project(fit_whitening(embeddings, labels, kind="learned", shrinkage=0), embeddings).std(axis=0)
    assert (np.diff(spread) < 1e-3).all()


def test_learned_finds_partners_that_a_telling_nothing_direction_hides():
    embeddings, labels = lesions()
    unseen, unseen_labels = lesions(seed=1)
    whitening = fit_whitening(embeddings, labels, kind="learned", shrinkage=0.1)
    plain = share_with_partner_nearest(unseen, unseen_labels)
    assert share_with_partner_nearest(whitening.apply(unseen), unseen_labels) > plain + 0.2


@KINDS
def test_fewer_dimensions_are_the_first_ones_of_all(kind):
    embeddings, labels = lesions()
    every, few = (fit_whitening(embeddings, labels, kind=kind, dim=dim) for dim in (None, 2))
    np.testing.assert_array_equal(few.projection, every.projection[:, :2])
    assert few.apply(embeddings).shape == (len(embeddings), 2)


@KINDS
def test_each_direction_s_largest_weight_is_positive(kind):
    embeddings, labels = lesions()
    projection = fit_whitening(embeddings, labels, kind=kind).projection
    assert (np.take_along_axis(projection, np.abs(projection).argmax(axis=0)[None], axis=0) > 0).all()


def test_full_shrinkage_only_centres():
    embeddings, _ = lesions()
    whitening = fit_whitening(embeddings, kind="pca", shrinkage=1)
    centred = unit_vectors(embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64))
    np.testing.assert_allclose(cosines_of(whitening.apply(embeddings)), cosines_of(centred), atol=1e-5)


@KINDS
@given(rows=st.lists(st.integers(0, 30), min_size=1, max_size=9), dim=st.sampled_from([1, 5, 64, 512]))
def test_an_image_s_embedding_does_not_depend_on_the_images_beside_it(kind, rows, dim):
    whitening, embeddings, whitened = fitted(kind, dim)
    np.testing.assert_array_equal(whitening.apply(embeddings[rows]), whitened[rows])


@KINDS
def test_products_with_the_directions_are_exact(kind):
    embeddings, labels = lesions(n_lesions=20, dim=300)
    whitening = fit_whitening(embeddings, labels, kind=kind, shrinkage=0.01)
    forward, backward = (
        (embeddings[:, order].astype(np.float64) - whitening.mean[order]) @ whitening.projection[order]
        for order in (np.arange(300), np.arange(300)[::-1])
    )
    np.testing.assert_array_equal(forward, backward)


@KINDS
def test_fewer_images_than_dimensions_need_shrinkage(kind):
    embeddings, labels = lesions(n_lesions=5, dim=64)
    assert np.isfinite(fit_whitening(embeddings, labels, kind=kind, shrinkage=0.1).apply(embeddings)).all()
    with pytest.raises(ValueError, match="Remedy: raise shrinkage"):
        fit_whitening(embeddings, labels, kind=kind, shrinkage=0)


def test_arrays_are_all_there_is_to_keep():
    embeddings, labels = lesions()
    whitening = fit_whitening(embeddings, labels, kind="learned")
    rebuilt = Whitening(whitening.mean.copy(), whitening.projection.copy())
    np.testing.assert_array_equal(rebuilt.apply(embeddings), whitening.apply(embeddings))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim is 0"),
        ({"dim": 7}, "Remedy: set 1 to 6"),
        ({"shrinkage": 1.5}, "shrinkage is 1.5"),
        ({"kind": "learned"}, "Remedy: pass labels"),
        ({"kind": "learned", "labels": np.arange(4)}, "no two images show one lesion"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_a_remedy(options, message):
    with pytest.raises(ValueError, match=message):
        fit_whitening(lesions()[0][:4], **options)


def test_one_image_is_refused():
    with pytest.raises(ValueError, match="at least 2 images"):
        fit_whitening(lesions()[0][:1])


def test_embeddings_of_another_model_are_refused():
    with pytest.raises(ValueError, match="fitted on dimension 6"):
        fit_whitening(lesions()[0]).apply(lesions(dim=5)[0])
