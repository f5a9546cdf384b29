"""The queue: which pair of photographs is asked about next, so that few answers correct most pairs of the groups.

First comes the question that is expected to change most pairs. A link that holds a group together is worth the pairs
that would part, times the probability that it is wrong; a link between two groups is worth the pairs that would join,
times its probability. Probabilities err, so the answers correct them: questions of a kind that change more than was
expected count for more from then on, and those that change less for less. And some questions have shares of their own:
five of twenty go to pairs whose keypoints agree although the groups are apart (a witness that embeddings, labels or
columns contradict), one to pairs whose keypoints were never compared, and one repeats an earlier one, to learn how
often a reviewer agrees. An answer that changes groups although it was improbable is asked for twice: it may be a slip.
Nothing is asked that follows from the answers. No second link between two groups is asked about for safety: errors of a
person are found by repeats, errors of a method by another one.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from skinbit.decisions.verdicts import Verdicts
from skinbit.matching.clustering.merges import components, root_of
from skinbit.matching.expected.candidates import CANNOT_TELL, NOTHING_SAID, SAME, SURE_POINTS, Candidates, Said
from skinbit.matching.labels import LabelArray
from skinbit.matching.similarity.calibration import Values

CONTRADICTION = "answers contradict each other"
LINK = "holds a group together"
MERGER = "may join two groups"
AGREEMENT = "keypoints agree, but the groups are apart"
NEVER_COMPARED = "the keypoints were never compared"
IMPROBABLE = "asked again, since the answer was improbable"
REPEAT = "asked again, for agreement"

_NO_VERDICTS = Verdicts()

_LEAST_AGE = 10
"""Questions after which one may be repeated."""

_MOST_TOLD = 4
"""Answers after which a contradictory pair is not asked about any more: another one would hardly settle it."""

_LEAST_PROBABLE = 0.05
"""An answer that changes groups is asked for again where the model gives it a smaller probability."""

_N_KINDS = 4
"""Of questions: about a link of a group; or between groups, by keypoints: never compared, do not agree, agree."""

_PSEUDO_CHANGES = 1.0
"""That are taken as expected and seen before a kind of question is judged by its answers."""


@dataclass(frozen=True)
class Question:
    """A pair of photographs to ask about.

    Attributes:
        rows: Of both photographs, the lower one first.
        reason: Why it is asked.
        probability: That both show one lesion, as the model says.
    """

    rows: tuple[int, int]
    reason: str
    probability: float


@dataclass(frozen=True)
class Outlook:
    """What answers leave of the groups, and what may still be asked about them.

    Attributes:
        settled: ``(n,)`` the group of each photograph that answers alone make, by any number.
        groups: ``(n,)`` likewise, with the links of the run that no answer forbids.
        places: Of the candidates that may be asked, that first which is expected to change most pairs.
        changes: Probability that the answer changes a group, of each of these.
        open_places: Those of them that would join two groups, the most probable first.
    """

    settled: LabelArray
    groups: LabelArray
    places: LabelArray
    changes: Values
    open_places: LabelArray


class Queue:
    """The order of questions about the groups of a run."""

    def __init__(self, groups: LabelArray, candidates: Candidates, seed: int = 0) -> None:
        """Prepare to ask.

        Args:
            groups: ``(n,)`` the group of each photograph before any answer, any numbers.
            candidates: What may be asked.
            seed: Draws which questions are repeated.
        """
        order = np.lexsort((candidates.pairs[:, 1], candidates.pairs[:, 0], -candidates.probabilities))
        self._pairs, self._probabilities = candidates.pairs[order], candidates.probabilities[order]
        self._inliers, self._n_images, self._seed = candidates.inliers[order], len(groups), seed
        self._keys = self._key(self._pairs)
        self._by_key = np.argsort(self._keys)
        first, second = self._pairs.T
        self._is_inside = groups[first] == groups[second]
        self._kinds = np.where(self._is_inside, 0, 1 + np.digitize(self._inliers, [0, SURE_POINTS]))
        inside = np.flatnonzero(self._is_inside)
        self._inside = inside
        self._groups, self._parted = groups, np.zeros(len(self._pairs), dtype=np.int64)
        every = _Groups(np.arange(self._n_images), np.ones(self._n_images, dtype=np.int64))
        self._merge(every, inside, self._parted)
        self._roots, self._sizes = every.roots(), np.array(every.sizes, dtype=np.int64)

    def questions(
        self, verdicts: Verdicts, history: Said = NOTHING_SAID, n: int = 1, outlook: Outlook | None = None
    ) -> list[Question]:
        """Return the next questions, the first of them first; fewer where there is nothing left to ask.

        Args:
            verdicts: What all answers say.
            history: What was said of single pairs.
            n: How many.
            outlook: From :meth:`look`, of the same verdicts and history, where it is there already.
        """
        outlook = outlook or self.look(verdicts, history)
        by_worth, open_pairs = outlook.places, outlook.open_places
        inliers = self._inliers[open_pairs]
        agreeing = open_pairs[np.argsort(-inliers, kind="stable")][: int((inliers >= SURE_POINTS).sum())]
        lists = {MERGER: by_worth, AGREEMENT: agreeing, NEVER_COMPARED: open_pairs[inliers < 0]}
        found: dict[tuple[int, int], Question] = {}
        for turn in range(len(history.verdicts), len(history.verdicts) + n):
            for reason in dict.fromkeys((CONTRADICTION, IMPROBABLE, _share_of(turn), MERGER)):
                if reason == CONTRADICTION:
                    asked = self._contradictory(verdicts, history)
                elif reason == IMPROBABLE:
                    asked = self._improbable(history)
                elif reason == REPEAT:
                    asked = self._repeated(history, turn)
                else:
                    asked = (self._ask(place, reason) for place in lists[reason].tolist())
                question = next((each for each in asked if each.rows not in found), None)
                if question is not None:
                    found[question.rows] = question
                    break
        return list(found.values())

    def look(self, verdicts: Verdicts, history: Said = NOTHING_SAID) -> Outlook:
        """Return what answers leave of the groups, and what may be asked.

        A pair that would join two groups is the most probable one between them, and no answer keeps them apart.

        Args:
            verdicts: What all answers say.
            history: What was said of single pairs.
        """
        told = np.array([*verdicts.must, *verdicts.cannot], dtype=np.int64).ravel()
        is_touched = np.isin(self._groups, self._groups[told])  # other groups are as they were before any answer
        groups = _Groups(
            np.where(is_touched, np.arange(self._n_images), self._roots), np.where(is_touched, 1, self._sizes), verdicts
        )
        asked, parted = self._key(history.pairs), self._parted.copy()
        self._merge(groups, self._inside[is_touched[self._pairs[self._inside, 0]]], parted)
        links = np.flatnonzero(parted)
        links = links[~np.isin(self._keys[links], asked)]

        roots, sizes = groups.roots(), np.array(groups.sizes)
        one, other = roots[self._pairs.T]
        first, second = np.minimum(one, other), np.maximum(one, other)
        of_groups = first * self._n_images + second
        is_open = (first != second) & ~np.isin(of_groups, groups.keys_apart()) & ~np.isin(self._keys, asked)
        places = np.flatnonzero(is_open)
        places = places[np.sort(np.unique(of_groups[places], return_index=True)[1])]
        joined = sizes[first[places]] * sizes[second[places]]

        may_ask = np.concatenate([places, links])
        changes = self._change(may_ask)
        n_changed = np.concatenate([joined, parted[links]]) * changes * self._corrections(history)[may_ask]
        order = np.argsort(-n_changed, kind="stable")
        settled = components(self._n_images, np.array(verdicts.must, dtype=np.int64).reshape(-1, 2))
        return Outlook(settled, roots, may_ask[order], changes[order], places)

    def _merge(self, groups: "_Groups", places: LabelArray, parted: LabelArray) -> None:
        """Merge the groups of some pairs, one after another, and note how many pairs each of them joins."""
        for place, (first, second) in zip(places.tolist(), self._pairs[places].tolist(), strict=True):
            parted[place] = groups.merge(first, second)

    def _change(self, places: LabelArray) -> Values:
        """Return the probability that an answer changes the groups that there were before all answers."""
        probabilities = self._probabilities[places]
        return np.where(self._is_inside[places], 1.0 - probabilities, probabilities)

    def _corrections(self, history: Said) -> Values:
        """Return, for every candidate, how many times more than expected questions of its kind have changed groups.

        Changes of a kind are taken as Poisson with an unknown factor, and the factor as gamma with mean 1.
        """
        is_told = history.verdicts != CANNOT_TELL
        places = self._places(history.pairs[is_told])
        said, places = history.verdicts[is_told][places >= 0], places[places >= 0]
        kinds = self._kinds[places]
        seen = np.bincount(kinds, (said == SAME) != self._is_inside[places], _N_KINDS)
        expected = np.bincount(kinds, self._change(places), _N_KINDS)
        corrections: Values = ((_PSEUDO_CHANGES + seen) / (_PSEUDO_CHANGES + expected))[self._kinds]
        return corrections

    def _contradictory(self, verdicts: Verdicts, history: Said) -> Iterator[Question]:
        """Yield pairs whose answers are part of a contradiction, those with the fewest answers first."""
        is_part = np.isin(history.pairs, verdicts.contradictory).all(axis=1)
        pairs, counts = np.unique(history.pairs[is_part], axis=0, return_counts=True)
        pairs = pairs[np.argsort(counts, kind="stable")][: int((counts < _MOST_TOLD).sum())]
        return (self._ask_again(pair, CONTRADICTION) for pair in pairs)

    def _improbable(self, history: Said) -> Iterator[Question]:
        """Yield pairs whose only answer changed groups, although that was improbable."""
        places = self._places(history.pairs)
        is_change = (history.verdicts == SAME) != self._is_inside[places]
        is_change &= (history.verdicts != CANNOT_TELL) & (places >= 0) & (self._change(places) < _LEAST_PROBABLE)
        _, which, counts = np.unique(places, return_inverse=True, return_counts=True)
        once = np.flatnonzero(is_change & (counts[which] == 1))
        return (self._ask_again(history.pairs[place], IMPROBABLE) for place in once)

    def _repeated(self, history: Said, turn: int) -> Iterator[Question]:
        """Yield pairs that were answered once, some time ago, in an order drawn from the seed."""
        _, which, counts = np.unique(self._key(history.pairs), return_inverse=True, return_counts=True)
        is_ripe = (counts[which] == 1) & (history.verdicts != CANNOT_TELL)
        ripe = np.flatnonzero(is_ripe[: max(0, len(is_ripe) - _LEAST_AGE)])
        drawn = np.random.default_rng([self._seed, turn]).permutation(ripe)
        return (self._ask_again(history.pairs[place], REPEAT) for place in drawn)

    def _ask(self, place: int, reason: str) -> Question:
        first, second = self._pairs[place].tolist()
        reason = LINK if reason == MERGER and self._is_inside[place] else reason
        return Question((first, second), reason, float(self._probabilities[place]))

    def _ask_again(self, pair: LabelArray, reason: str) -> Question:
        """Return a question about an answered pair; where it is no candidate, it is as good as impossible."""
        place = int(self._places(pair[None])[0])
        first, second = pair.tolist()
        return Question((first, second), reason, float(self._probabilities[place]) if place >= 0 else 0.0)

    def _places(self, pairs: LabelArray) -> LabelArray:
        """Return where pairs stand among the candidates, -1 where they do not."""
        keys = self._key(pairs)
        places = np.append(self._by_key, -1)[np.searchsorted(self._keys, keys, sorter=self._by_key)]
        found: LabelArray = np.where(np.append(self._keys, -1)[places] == keys, places, -1)
        return found

    def _key(self, pairs: LabelArray) -> LabelArray:
        keys: LabelArray = pairs[:, 0] * self._n_images + pairs[:, 1]
        return keys


def _share_of(turn: int) -> str:
    """Return whose share the question of a turn is."""
    shares: Mapping[int, str] = {9: NEVER_COMPARED, 18: REPEAT}
    return AGREEMENT if turn % 4 == 3 else shares.get(turn % 20, MERGER)


class _Groups:
    """Groups that merge unless answers keep them apart; photographs that must be together are so from the start."""

    def __init__(self, roots: LabelArray, sizes: LabelArray, verdicts: Verdicts = _NO_VERDICTS) -> None:
        """Begin with some groups.

        Args:
            roots: ``(n,)`` the row that stands for the group of each photograph.
            sizes: ``(n,)`` photographs of the groups of these rows.
            verdicts: What all answers say.
        """
        self._parents, self.sizes = roots.tolist(), sizes.tolist()
        self._apart: dict[int, set[int]] = defaultdict(set)
        for first, second in verdicts.must:
            self.merge(first, second)
        for first, second in verdicts.cannot:
            one, other = root_of(self._parents, first), root_of(self._parents, second)
            self._apart[one].add(other)
            self._apart[other].add(one)

    def merge(self, first: int, second: int) -> int:
        """Merge the groups of two photographs; return how many pairs that joins, 0 where they may not or are one."""
        one, other = root_of(self._parents, first), root_of(self._parents, second)
        if one == other or other in self._apart.get(one, ()):
            return 0
        n_pairs: int = self.sizes[one] * self.sizes[other]
        small, large = (one, other) if self.sizes[one] < self.sizes[other] else (other, one)
        self._parents[small] = large
        self.sizes[large] += self.sizes[small]
        for third in self._apart.pop(small, ()):
            self._apart[third].remove(small)
            self._apart[third].add(large)
            self._apart[large].add(third)
        return n_pairs

    def roots(self) -> LabelArray:
        """Return the row that stands for the group of each photograph."""
        roots = np.array(self._parents, dtype=np.int64)
        while (roots[roots] != roots).any():
            roots = roots[roots]
        return roots

    def keys_apart(self) -> LabelArray:
        """Return every two groups that answers keep apart as one number, by their rows, the lower one first."""
        keys = (one * len(self._parents) + other for one, all_ in self._apart.items() for other in all_ if one < other)
        return np.fromiter(keys, dtype=np.int64)
