"""data_split: metadata and images -> checked metadata, lesion-disjoint test subset and folds."""

from kedro.pipeline import Node, Pipeline

from skinbit.params import Parameters
from skinbit.pipelines.data_split.nodes import (
    assign_images,
    draw_distractors,
    index_distractors,
    index_images,
    tabulate_split,
)


def create_pipeline(parameters: Parameters) -> Pipeline:
    """Wire the pipeline; its namespace is one box in Kedro-Viz and renames no dataset."""
    distractors = [
        Node(
            draw_distractors,
            ["assignment", "params:evaluation.distractors", "params:seed"],
            "distractors",
            name="draw_distractors",
        ),
        Node(
            index_distractors,
            ["assignment", "distractors", "images", "params:data"],
            "distractor_index",
            name="index_distractors",
        ),
    ]
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
            *(distractors if parameters.has_distractors else []),
        ],
        namespace="data_split",
        prefix_datasets_with_namespace=False,
    )
