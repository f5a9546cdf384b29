"""The gallery of the groups from cluster_images."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

import pandas as pd

from skinbit.embedding.checkpoints import Checkpoint
from skinbit.embedding.combination import members_of
from skinbit.matching.assembly import FITTED_ON_SYNTHETIC
from skinbit.matching.expected.documents import warn_of_unlike
from skinbit.matching.expected.odds import LogOdds
from skinbit.matching.methods import METHODS
from skinbit.matching.similarity.columns import columns_of, describe_rows
from skinbit.report.gallery import Gallery, GroupCard, Link, PhotographCard
from skinbit.report.thumbnails import within_size


class ClusterFiles(TypedDict):
    """The files that the gallery shows, by argument name."""

    clustered_images: pd.DataFrame
    cluster_groups: dict[str, Any]
    cluster_columns: pd.DataFrame
    cluster_links: list[dict[str, Any]]
    known_photographs: pd.DataFrame
    known_thumbnails: dict[str, str]
    new_thumbnails: dict[str, str]
    unreadable: pd.DataFrame


def assemble_gallery(files: ClusterFiles, checkpoint: Checkpoint, max_megabytes: float) -> Gallery:
    """Return the content of the page, with as many thumbnails, then drawings, as fit.

    Args:
        files: The groups, and images of their photographs.
        checkpoint: The model that made them.
        max_megabytes: Largest size of thumbnails and drawings.
    """
    clustered, document, unreadable = files["clustered_images"], files["cluster_groups"], files["unreadable"]
    groups = tuple(_group(plain) for plain in document["groups"])
    n_shared = sum(_n_photographs(group) > 1 for group in groups)
    _, evidence = columns_of(checkpoint.matching.similarity.context, ())
    said = describe_rows(files["cluster_columns"], evidence)
    needed = _by_need(groups, files["new_thumbnails"], files["known_thumbnails"])
    thumbnails = within_size(needed, max_megabytes)
    return Gallery(
        title=f"{len(clustered)} photographs, {n_shared} groups of two or more",
        settings=_settings(document, checkpoint),
        warning=warn_of_unlike(document["expected"]),
        photographs=_photographs(clustered, document["nearest"], files["known_photographs"], said),
        groups=groups,
        unreadable=tuple(zip(unreadable["file"], unreadable["reason"], strict=True)),
        thumbnails=thumbnails,
        csv_columns=tuple(clustered.columns),
        links=_links(files["cluster_links"], max_megabytes - sum(map(len, thumbnails.values())) / 1e6),
    )


def name_model(checkpoint: Checkpoint) -> str:
    """Return the backbones of a model and how they were trained, in words."""
    headers = [member.model for member in members_of(checkpoint)]
    return " + ".join(f"{header.backbone.model}, {header.loss}" for header in headers)


def _group(plain: Mapping[str, Any]) -> GroupCard:
    return GroupCard(
        cluster_id=plain["cluster_id"],
        lesion_id=plain["lesion_id"],
        image_ids=tuple(plain["image_ids"]),
        known_ids=tuple(plain["known_ids"]),
        margin=math.inf if plain["margin"] is None else plain["margin"],
        probabilities=(plain["probability_inside"], plain["probability_outside"]),
        needs_check=bool(plain["doubts"]),
        contradicts=bool(plain["contradictory_ids"]),
        reasons=tuple(plain["doubts"]),
    )


def _n_photographs(group: GroupCard) -> int:
    return len(group.image_ids) + len(group.known_ids)


def _photographs(
    clustered: pd.DataFrame, nearest: Sequence[str], known: pd.DataFrame, said: Sequence[str]
) -> tuple[PhotographCard, ...]:
    columns = ("image_id", "similarity_to_nearest", "probability_of_nearest")
    n_new = len(clustered)
    new = zip(*(clustered[column] for column in columns), nearest, said[:n_new], strict=True)
    labelled = zip(known["image_id"], known["lesion_id"], said[n_new:], strict=True)
    return (
        *(
            PhotographCard(image_id, _as_in_csv(similarity), _as_in_csv(probability), other, "", text)
            for image_id, similarity, probability, other, text in new
        ),
        *(PhotographCard(image_id, "", "", "", lesion_id, text) for image_id, lesion_id, text in labelled),
    )


def _as_in_csv(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _by_need(groups: Iterable[GroupCard], new: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """Return thumbnails ordered by need: groups to review first, images without a partner last."""
    ordered: dict[str, str] = {}
    for group in sorted(groups, key=lambda group: (not group.contradicts, _n_photographs(group) < 2, group.margin)):
        ordered |= {image_id: new[image_id] for image_id in group.image_ids}
        ordered |= {f"known:{image_id}": known[image_id] for image_id in group.known_ids}
    return ordered


def _links(records: Sequence[Mapping[str, Any]], megabytes: float) -> dict[int, tuple[Link, ...]]:
    """Return the links of each group, with as many drawings as fit."""
    drawn = {number: record["drawing"] for number, record in enumerate(records) if record["drawing"]}
    fitting = within_size(drawn, megabytes)
    links: dict[int, tuple[Link, ...]] = {}
    for number, record in enumerate(records):
        image_a, image_b = record["image_ids"]
        link = Link((image_a, image_b), record["inliers"], fitting.get(number))
        links[record["cluster_id"]] = (*links.get(record["cluster_id"], ()), link)
    return links


def _settings(document: Mapping[str, Any], checkpoint: Checkpoint) -> dict[str, str]:
    answers = _answers(document["answers"])
    name = {"model": name_model(checkpoint)}
    fitted = name | ({"fitted on": FITTED_ON_SYNTHETIC} if checkpoint.matching.is_synthetic else {})
    method = METHODS[document["method"]]
    if document["cut"] is None:
        return {**fitted, "method": f"{method.title.lower()}, which needs no cut", **answers}
    return {
        **fitted,
        **_expected(document["expected"]),
        **_certified(document),
        "method": f"{document['method']}, {method.word} {document['cut']:.4f}",
        **_joined_from(document),
        **answers,
    }


def _answers(counts: Mapping[str, int] | None) -> dict[str, str]:
    """Return how many pairs answers decide; nothing where nobody has answered."""
    if counts is None:
        return {}
    told = f"{counts['pairs_together']} pairs held together, {counts['pairs_apart']} held apart"
    if counts["contradictory"]:
        told += f"; {counts['contradictory']} photographs left out, whose answers contradict each other"
    return {"answers": told}


def _joined_from(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the cut in words, as a probability if that is known."""
    if document["log_odds"] is not None:
        percentage = LogOdds(**document["log_odds"]).percentage(document["similarity"])
        return {"joined from": f"a probability of {percentage} that they show the same lesion"}
    return {
        "joined from": f"similarity {document['similarity']:.4f}",
        "unsure between": f"similarities {document['unsure_from']:.4f} and {document['unsure_to']:.4f}",
    }


def _expected(document: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the expected metrics of groups by name; empty if there are none."""
    if document is None:
        return {}
    return {
        "expected without a partner": f"{document['single_share']:.0%} of the photographs",
        **_estimates("expected", document),
    }


def _certified(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the certificate by name, or that expected metrics are no certificate; empty if there are none."""
    certificate = document["certificate"]
    if certificate is None:
        return {} if document["expected"] is None else {"certificate": "none; calibration alone expects the above"}
    told = (
        f"on {certificate['last_answer'][:10]}, by answers about {certificate['n_sampled']} of "
        f"{certificate['n_drawn']} drawn pairs, for the groups before these answers, which the groups shown obey, too; "
        "in 95 of 100 archives like the folds of the study, but not in each of them (docs/protocol.md, The certificate)"
    )
    return {**_estimates("certified", certificate), "certified": told}


def _estimates(kind: str, document: Mapping[str, Any]) -> dict[str, str]:
    return {
        f"{kind} {title}": f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"
        for name, title in (("precision", "precision"), ("recall", "recall"), ("f1", "F1"))
        if (estimate := document[name]) is not None
    }
