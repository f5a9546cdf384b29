"""cluster_images: a folder of new photographs + a trained model -> groups, as a table and as a page."""

from kedro.pipeline import Node, Pipeline

from skinbit.config import Parameters
from skinbit.pipelines.cluster_images.nodes import (
    check_cuts,
    choose_cut,
    compare_photographs,
    complete_checkpoint,
    draw_links,
    embed_new,
    group_photographs,
    open_checkpoint,
    read_known,
    read_photographs,
    write_gallery,
)
from skinbit.pipelines.evaluation.pipeline import TILES


def create_pipeline(parameters: Parameters) -> Pipeline:
    """Wire the chosen model to the chosen folder.

    Args:
        parameters: Their ``cluster`` names an experiment, or a checkpoint.

    Returns:
        The pipeline.
    """
    opened, checkpoint = _model(parameters)
    folders, read = "photograph_folders", ["known_cuts", "params:cluster", "params:data", "params:report"]
    known = ["known_photographs", "known_thumbnails"]
    photographs = ["new_photographs", "known_photographs"]
    computing = ["params:cluster", "params:loader", "params:compute", "params:data"]
    nodes = [
        *opened,
        Node(check_cuts, [checkpoint, "params:cluster"], "known_cuts", name="check_cuts"),
        Node(
            read_photographs,
            [folders, *read],
            ["new_photographs", "unreadable", "new_thumbnails"],
            name="read_photographs",
        ),
        Node(read_known, [folders, "metadata_files", *read], known, name="read_known"),
        Node(
            choose_cut,
            ["known_cuts", *photographs, "params:cluster", "params:evaluation"],
            "cluster_cut",
            name="choose_cut",
        ),
        Node(
            embed_new,
            [checkpoint, folders, *photographs, "feature_cache", *computing],
            "clusters_features",
            name="embed_new",
        ),
        Node(
            compare_photographs,
            [
                *(checkpoint, "clusters_features", folders, *photographs),
                *("params:cluster", "params:compute", "params:data", TILES),
            ],
            "cluster_shortlist",
            name="compare_photographs",
        ),
        Node(
            group_photographs,
            [
                checkpoint,
                "clusters_features",
                "cluster_shortlist",
                *photographs,
                "cluster_cut",
                "params:data",
                "params:memory",
            ],
            ["clustered_images", "cluster_groups"],
            name="group_photographs",
        ),
        Node(
            draw_links,
            [
                *(checkpoint, "cluster_shortlist", "cluster_groups", folders, *photographs),
                *("params:cluster", "params:compute", "params:data", "params:report"),
            ],
            "cluster_links",
            name="draw_links",
        ),
        Node(
            write_gallery,
            [
                *("clustered_images", "cluster_groups", "known_photographs", "unreadable"),
                *("new_thumbnails", "known_thumbnails", "cluster_links", checkpoint, "params:report"),
            ],
            "clusters_page",
            name="write_gallery",
        ),
    ]
    return Pipeline(nodes, namespace="cluster_images", prefix_datasets_with_namespace=False)


def _model(parameters: Parameters) -> tuple[list[Node], str]:
    """Give the nodes that open the model, and the dataset that holds all its weights."""
    cluster = parameters.cluster
    name = cluster.experiment
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
