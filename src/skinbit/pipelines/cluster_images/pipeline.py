"""cluster_images: a folder of new photographs + a trained model -> groups, as a table and as a page."""

from kedro.pipeline import Node, Pipeline

from skinbit.config import Parameters
from skinbit.pipelines.cluster_images.nodes.certificate import certify_groups
from skinbit.pipelines.cluster_images.nodes.decisions import read_decisions
from skinbit.pipelines.cluster_images.nodes.groups import draw_links, group_photographs, note_for_review, write_gallery
from skinbit.pipelines.cluster_images.nodes.model import (
    check_cuts,
    complete_checkpoint,
    open_checkpoint,
)
from skinbit.pipelines.cluster_images.nodes.photographs import (
    compare_photographs,
    embed_new,
    find_keypoints,
    read_columns,
    read_known,
    read_photographs,
)
from skinbit.pipelines.evaluation.pipeline import TILES
from skinbit.report.cluster_gallery import ClusterFiles

_LISTED = {
    "folders": "photograph_folders",
    "new_photographs": "new_photographs",
    "known_photographs": "known_photographs",
    "cluster": "params:cluster",
}
"""Inputs of nodes that read photographs again."""

_COMPUTING = {"compute": "params:compute", "data": "params:data"}


def create_pipeline(parameters: Parameters) -> Pipeline:
    """Wire the chosen model to the chosen folder.

    Args:
        parameters: All parameters; ``cluster`` names an experiment or a checkpoint.
    """
    opened, checkpoint = _model(parameters)
    nodes = [*opened, *_reading(checkpoint), *_looking(checkpoint), *_grouping(checkpoint)]
    return Pipeline(nodes, namespace="cluster_images", prefix_datasets_with_namespace=False)


def _model(parameters: Parameters) -> tuple[list[Node], str]:
    """Return the nodes that load the model, and the dataset with all of its weights."""
    cluster, name = parameters.cluster, parameters.grouping_experiment
    if name is None:
        node = Node(
            open_checkpoint, ["checkpoint_files", "params:cluster"], "cluster_checkpoint", name="open_checkpoint"
        )
        return [node], "cluster_checkpoint"
    if cluster.fold is None:
        return [], f"{name}.final.checkpoint"
    fold = f"{name}.fold_{cluster.fold}.checkpoint"
    if not parameters.recipes[name].is_frozen:
        return [], fold
    inputs = [fold, f"params:recipes.{name}.backbone", "params:seed"]
    return [Node(complete_checkpoint, inputs, "cluster_checkpoint", name="complete_checkpoint")], "cluster_checkpoint"


def _reading(checkpoint: str) -> list[Node]:
    """Return the nodes that read the photographs."""
    settings, thumbnail = ["params:cluster", "params:data"], "params:report.thumbnail"
    return [
        Node(
            check_cuts,
            [checkpoint, "column_files", "decision_files", "params:cluster"],
            "known_cuts",
            name="check_cuts",
        ),
        Node(
            read_photographs,
            ["photograph_folders", "known_cuts", "params:cluster.images", "params:data", thumbnail],
            ["new_photographs", "unreadable", "new_thumbnails"],
            name="read_photographs",
        ),
        Node(
            read_known,
            ["photograph_folders", "metadata_files", "known_cuts", *settings, thumbnail],
            ["known_photographs", "known_thumbnails"],
            name="read_known",
        ),
        Node(
            read_columns,
            {
                "checkpoint": checkpoint,
                "column_files": "column_files",
                "metadata_files": "metadata_files",
                "data": "params:data",
                **_LISTED,
            },
            "cluster_columns",
            name="read_columns",
        ),
        Node(
            read_decisions,
            ["decision_files", "new_photographs", "known_photographs", "params:cluster"],
            "cluster_decisions",
            name="read_decisions",
        ),
    ]


def _looking(checkpoint: str) -> list[Node]:
    """Return the nodes that embed the photographs, find their keypoints and compare them."""
    model = {"checkpoint": checkpoint, **_COMPUTING, **_LISTED}
    compared = {name: f"clusters_{name}" for name in ("features", "keypoints")}
    compared |= {"columns": "cluster_columns", "cluster": "params:cluster"}
    return [
        Node(
            embed_new,
            {"feature_cache": "feature_cache", "loader": "params:loader", "executor": "executor", **model},
            "clusters_features",
            name="embed_new",
        ),
        Node(
            find_keypoints,
            {"keypoint_cache": "clusters_keypoint_cache", "executor": "executor", **model},
            "clusters_keypoints",
            name="find_keypoints",
        ),
        Node(
            compare_photographs,
            {
                "checkpoint": checkpoint,
                **compared,
                "compute": _COMPUTING["compute"],
                "tile_megabytes": TILES,
                "pair_cache": "pair_cache",
                "executor": "executor",
            },
            "cluster_shortlist",
            name="compare_photographs",
        ),
    ]


def _grouping(checkpoint: str) -> list[Node]:
    """Return the nodes that group the photographs and make the page."""
    found = {"keypoints": "clusters_keypoints", "compared": "cluster_shortlist", "cluster_groups": "cluster_groups"}
    drawn = {**found, **_COMPUTING, **_LISTED}
    shown = {name: name for name in ClusterFiles.__annotations__}
    return [
        Node(
            certify_groups,
            [
                *(checkpoint, "clusters_features", "cluster_shortlist", "new_photographs", "known_photographs"),
                *("cluster_columns", "known_cuts", "decision_files", "params:cluster"),
                *("params:evaluation.pool_correction", "params:memory"),
            ],
            "cluster_certificate",
            name="certify_groups",
        ),
        Node(
            group_photographs,
            [
                *(checkpoint, "clusters_features", "cluster_shortlist", "known_photographs", "cluster_columns"),
                *("known_cuts", "cluster_decisions", "cluster_certificate"),
                *("params:cluster", "params:evaluation.pool_correction"),
                *("params:data.max_images_per_lesion", "params:memory"),
            ],
            ["clustered_images", "cluster_matches", "cluster_candidates", "cluster_groups", "cluster_cut"],
            name="group_photographs",
        ),
        Node(
            draw_links,
            {"checkpoint": checkpoint, "max_drawings": "params:report.max_drawings", **drawn},
            "cluster_links",
            name="draw_links",
        ),
        Node(note_for_review, [checkpoint, "params:cluster"], "cluster_review", name="note_for_review"),
        Node(
            write_gallery,
            {"checkpoint": checkpoint, "max_megabytes": "params:report.max_megabytes", **shown},
            "clusters_page",
            name="write_gallery",
        ),
    ]
