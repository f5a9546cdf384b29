"""Nodes: what people have answered about the photographs."""

import logging
from collections.abc import Callable

import pandas as pd

from skinbit.config import ClusterParams
from skinbit.decisions.answers import Answer
from skinbit.decisions.verdicts import Verdicts, weigh_answers
from skinbit.errors import SHOWN_PER_KIND, InputError
from skinbit.matching.labels import known_labels

logger = logging.getLogger(__name__)

Ledgers = Callable[[str | None], tuple[Answer, ...]]


def read_decisions(
    decision_files: Ledgers,
    new_photographs: pd.DataFrame,
    known_photographs: pd.DataFrame,
    cluster: ClusterParams,
) -> Verdicts:
    """Return what all answers of a ledger say of new, then of known photographs.

    Args:
        decision_files: Looks ledgers up.
        new_photographs: ``image_id, file, sha256``.
        known_photographs: Likewise, and ``lesion_id``.
        cluster: Names the ledger; none: the root's, if it is there. Whether contradictions end the run.

    Raises:
        InputError: If the ledger cannot be used, or answers contradict each other and shall not.
    """
    answers = decision_files(cluster.decisions)
    listed = pd.concat([new_photographs, known_photographs])
    known = known_labels(known_photographs["lesion_id"].tolist(), len(new_photographs))
    found = weigh_answers(answers, listed["sha256"].tolist(), known)
    if answers:
        logger.info(
            "%d answers are obeyed; %d are about photographs that are not here", found.n_obeyed, found.n_elsewhere
        )
    if found.contradictory:
        _explain(listed["image_id"].iloc[list(found.contradictory)].tolist(), is_strict=cluster.strict_decisions)
    return found


def _explain(image_ids: list[str], *, is_strict: bool) -> None:
    more = f" and {len(image_ids) - SHOWN_PER_KIND} more" if len(image_ids) > SHOWN_PER_KIND else ""
    named = f"answers about {len(image_ids)} photographs contradict each other: {', '.join(image_ids[:SHOWN_PER_KIND])}"
    if is_strict:
        raise InputError(
            f"{named[0].upper()}{named[1:]}{more}.\n  Remedy: undo wrong answers or answer once more (`kedro review`); "
            "without cluster.strict_decisions these photographs are grouped as if unanswered."
        )
    logger.warning("%s%s; they are grouped as if unanswered, and marked", named, more)
