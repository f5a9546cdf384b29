"""Labels of a study as answers correct them."""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinbit.decisions.answers import Answer
from skinbit.decisions.verdicts import Verdicts, weigh_answers
from skinbit.matching.clustering.merges import components
from skinbit.matching.labels import LabelArray, first_of_lesion, lesion_labels

_NAME_LENGTH = 12


@dataclass(frozen=True)
class CorrectedLabels:
    """The lesions of photographs, as far as answers determine them.

    Attributes:
        lesion_ids: Of each photograph; empty where nobody knows it.
        undecided: Lesions that answers contradict without saying what is right; they are as they were labelled.
        verdicts: What the answers say.
    """

    lesion_ids: list[str]
    undecided: tuple[str, ...]
    verdicts: Verdicts


def correct_labels(lesion_ids: Sequence[str], hashes: Sequence[str], answers: Collection[Answer]) -> CorrectedLabels:
    """Return the labels of photographs that fit the answers; the order of rows and answers does not matter.

    Photographs of one lesion by answers get one label. A lesion is split if answers leave only one way: its photographs
    fall into parts, no answer separates two of a part, and answers separate every two parts.

    Args:
        lesion_ids: ``n`` labels, empty where nobody knows the lesion.
        hashes: ``n``, the SHA-256 of each photograph.
        answers: All of a ledger.
    """
    verdicts = weigh_answers(answers, hashes)
    must, cannot = verdicts.as_arrays()
    labels = np.array(lesion_ids, dtype=object)
    known = np.where(labels == "", -1, lesion_labels(list(lesion_ids)))
    joined = components(len(labels), must)
    related = components(len(labels), np.concatenate([must, first_of_lesion(known)]))
    # By hash, so that no name depends on the order of rows.
    order = np.lexsort((labels.astype(str), np.array(hashes, dtype=str)))
    order = order[np.isin(related[order], related[np.concatenate([must, cannot])])]
    corrected, undecided = labels.copy(), set[str]()
    for name in np.unique(related[order]).tolist():
        rows = order[related[order] == name]
        parts = _parts(joined[rows], known[rows], joined[cannot])
        if parts is None:
            undecided |= {*labels[rows].tolist()} - {""}
        else:
            corrected[rows] = _name_parts(parts, labels[rows], [hashes[row] for row in rows.tolist()])
    return CorrectedLabels(corrected.tolist(), tuple(sorted(undecided)), verdicts)


def _parts(joined: LabelArray, known: LabelArray, apart: LabelArray) -> NDArray[np.int32] | None:
    """Return the part of each related photograph; None where answers leave several ways to part them.

    Args:
        joined: ``(n,)`` what answers join.
        known: ``(n,)`` the label of each photograph, -1 where it has none.
        apart: ``(m, 2)`` of ``joined``: what answers keep apart.
    """
    from scipy.sparse.csgraph import connected_components

    names, group_of = np.unique(joined, return_inverse=True)
    apart = np.searchsorted(names, apart[np.isin(apart, names).all(axis=1)])
    is_apart = np.zeros((len(names), len(names)), dtype=bool)
    is_apart[apart[:, 0], apart[:, 1]] = is_apart[apart[:, 1], apart[:, 0]] = True
    numbers, label_of = np.unique(known[known >= 0], return_inverse=True)
    has_label = np.zeros((len(names), len(numbers)), dtype=np.float32)
    has_label[group_of[known >= 0], label_of] = 1
    may_be_one = (has_label @ has_label.T > 0) & ~is_apart
    parts = connected_components(may_be_one.astype(np.int8), directed=False)[1]
    return None if (is_apart & (parts[:, None] == parts)).any() else parts[group_of]


def _name_parts(parts: NDArray[np.int32], labels: NDArray[np.object_], hashes: Sequence[str]) -> list[str]:
    """Return the new label of related photographs: a part keeps the most frequent one that it has most of."""
    counts = {label: np.bincount(parts[labels == label]) for label in sorted({*labels.tolist()} - {""})}
    names: dict[int, str] = {}
    for label, of_parts in sorted(counts.items(), key=lambda item: (-item[1].max(), item[0])):
        names.setdefault(int(of_parts.argmax()), label)
    for part in np.unique(parts).tolist():
        rows = np.flatnonzero(parts == part)
        is_known = len(rows) > 1 or labels[rows[0]] != ""
        names.setdefault(part, name_lesion([hashes[row] for row in rows.tolist()]) if is_known else "")
    return [names[part] for part in parts.tolist()]


def name_lesion(hashes: Iterable[str]) -> str:
    """Return the id of a lesion that only answers know, by the SHA-256 of its photographs: always the same one."""
    digest = hashlib.sha256(" ".join(sorted(hashes)).encode()).hexdigest()
    return f"reviewed_{digest[:_NAME_LENGTH]}"
