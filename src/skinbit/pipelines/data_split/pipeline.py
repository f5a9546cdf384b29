"""data_split: metadata and images -> checked metadata, lesion-disjoint test subset and folds."""

from kedro.pipeline import Node, Pipeline

from skinbit.pipelines.data_split.nodes import assign_images, index_images, tabulate_split


def create_pipeline() -> Pipeline:
    """Wire the pipeline; its namespace is one box in Kedro-Viz and renames no dataset."""
    return Pipeline(
        [
            Node(
                assign_images,
                ["raw_metadata", "params:data", "params:split", "params:seed"],
                "assignment",
                name="assign_images",
            ),
            Node(index_images, ["assignment", "images", "params:data"], "image_index", name="index_images"),
            Node(
                tabulate_split,
                ["assignment", "image_index"],
                ["metadata", "split", "rejected"],
                name="tabulate_split",
            ),
        ],
        namespace="data_split",
        prefix_datasets_with_namespace=False,
    )
