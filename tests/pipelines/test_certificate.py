"""Answers about drawn pairs certify the groups from which they were drawn, in every later run."""

import numpy as np
import pandas as pd
import pytest

from skinbit.config import ClusterParams, GeometryParams, MemoryParams, SimilarityParams
from skinbit.decisions.answers import Answer
from skinbit.decisions.certified import Frozen, Sample
from skinbit.decisions.verdicts import weigh_answers
from skinbit.embedding.checkpoints import Checkpoint
from skinbit.embedding.tables import Features
from skinbit.matching.assembly import Matching
from skinbit.matching.cuts.operating_points import KnownCuts
from skinbit.matching.expected.candidates import read_candidates
from skinbit.matching.expected.odds import LogOdds, fit_odds
from skinbit.matching.expected.prior import PoolPrior
from skinbit.matching.labels import unit_vectors
from skinbit.matching.pairs.pool import Pool
from skinbit.pipelines.cluster_images.nodes.certificate import certify_groups
from skinbit.pipelines.cluster_images.nodes.groups import group_photographs
from tests.report.test_cluster_gallery import HEADER

CUTS = KnownCuts(method="average", given=None, value=None, operating_points=())
CLUSTER, MEMORY = ClusterParams(images="photographs"), MemoryParams()
COLUMNS = ["image_id", "file", "sha256", "lesion_id"]


def vectors(n_lesions, seed):
    """Return unit vectors of two photographs of each lesion."""
    random = np.random.default_rng(seed)
    lesions = np.repeat(random.normal(size=(n_lesions, 8)), 2, axis=0)
    return unit_vectors(lesions + random.normal(scale=0.35, size=lesions.shape))


class Archive:
    """Photographs, a model of which their lesions have no part, and a ledger."""

    def __init__(self, n_lesions=30):
        self.lesions = np.repeat(np.arange(n_lesions), 2)
        image_ids = tuple(f"p{row:03}" for row in range(2 * n_lesions))
        self.features = Features(image_ids, vectors(n_lesions, 0), image_ids, {})
        odds = (fit_odds(Pool(vectors(n_lesions, seed)), self.lesions)[0] for seed in (1, 2, 3))
        matching = Matching(
            **{"operating_points": {}, "max_group_size": None, "similarity": SimilarityParams()},
            **{"geometry": GeometryParams(), "calibration": None, "odds": tuple(odds)},
        )
        self.model = Checkpoint({}, HEADER.model_copy(update={"matching": matching}))
        ids = pd.Series(image_ids)
        self.listed = pd.DataFrame({"image_id": ids, "file": ids + ".png"})
        self.listed["sha256"] = [f"{row:064x}" for row in range(len(ids))]
        self.answers = []

    def inputs(self):
        pairs = pd.DataFrame(columns=["row_a", "row_b", "inliers", "zoom"], dtype=float)
        return self.model, self.features, pairs

    def certify(self, listed=None):
        listed = self.listed if listed is None else listed
        known, columns = pd.DataFrame(columns=COLUMNS, dtype=str), self.listed[["image_id"]]
        ledger = tuple(self.answers)
        given = (listed, known, columns, CUTS, lambda _: ledger, CLUSTER, True, MEMORY)
        return certify_groups(*self.inputs(), *given)

    def group(self):
        """Return a run's groups document, and the pairs that it draws from."""
        known, columns = pd.DataFrame(columns=COLUMNS, dtype=str), self.listed[["image_id"]]
        verdicts = weigh_answers(self.answers, self.listed["sha256"].tolist())
        given = (known, columns, CUTS, verdicts, self.certify(), CLUSTER, True, 4, MEMORY)
        table, _, candidates, document, _ = group_photographs(*self.inputs(), *given)
        return table["cluster_id"].to_numpy(), candidates, document

    def sample(self, groups, candidates, document):
        """Return the sample that `kedro review` would draw from a run."""
        prior = PoolPrior(LogOdds(**document["log_odds"]), 0.0, self.model.matching.odds)
        n_obeyed = (document["answers"] or {"read": 0})["read"]
        hashes = self.listed["sha256"].tolist()
        return Sample(Frozen(groups, read_candidates(candidates), hashes, prior, n_obeyed), self.answers)

    def answer(self, sample, n):
        for _ in range(n):
            for question in sample.questions(self.answers):
                self.say(*question.rows, question.reason)

    def say(self, first, second, reason=""):
        one, other = self.listed["sha256"][[first, second]]
        is_same = self.lesions[first] == self.lesions[second]
        parts = ((one, other),) if is_same else ((one,), (other,))
        verdict = "same lesion" if is_same else "different lesions"
        self.answers.append(Answer(verdict=verdict, parts=parts, reason=reason))


@pytest.fixture
def archive():
    return Archive()


def test_a_run_without_answers_about_drawn_pairs_has_no_certificate(archive):
    archive.say(0, 1)
    _, _, document = archive.group()
    assert document["certificate"] is None
    assert document["answers"]["read"] == 1


def test_the_next_run_certifies_the_groups_from_which_pairs_were_drawn(archive, caplog):
    archive.say(0, 2)
    sample = archive.sample(*archive.group())
    archive.answer(sample, 12)
    shown = sample.certify(archive.answers)
    archive.say(1, 3, "an answer of the queue changes nothing of it")
    caplog.set_level("INFO")
    _, _, document = archive.group()
    assert document["certificate"] == shown.model_dump(mode="json")
    assert document["answers"]["read"] == len(archive.answers)
    assert f"certified by {shown.n_sampled} answers about pairs drawn from these groups: precision" in caplog.text


def test_groups_that_obey_a_sample_are_certified_by_a_sample_of_their_own(archive):
    first = archive.sample(*archive.group())
    archive.answer(first, 10)
    run = archive.group()
    second = archive.sample(*run)
    assert second.reason != first.reason
    assert second.certify(archive.answers) is None
    archive.answer(second, 5)
    found = archive.certify()["certificate"]
    assert found == second.certify(archive.answers).model_dump(mode="json")
    assert found["n_census"] >= 10


def test_other_photographs_than_those_of_the_sample_have_no_certificate(archive, caplog):
    archive.answer(archive.sample(*archive.group()), 4)
    caplog.set_level("INFO")
    others = archive.listed.assign(sha256=[f"{row + 1:064x}" for row in range(len(archive.listed))])
    assert archive.certify(others) == {"certificate": None}
    assert archive.certify()["certificate"]["n_sampled"] > 0
