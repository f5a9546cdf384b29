"""data_split: metadata and images -> checked metadata, lesion-disjoint test subset and folds."""

from kedro.pipeline import Node, Pipeline

from skinbit.config import Parameters
from skinbit.pipelines.data_split.nodes import (
    assign_images,
    check_contexts,
    check_images,
    check_rows,
    correct_labels,
    draw_distractors,
    tabulate_split,
)


def create_pipeline(parameters: Parameters) -> Pipeline:
    """Wire the pipeline; its namespace is one box in Kedro-Viz and renames no dataset."""
    answers = ["raw_metadata", "row_problems", "images", "study_answers", "params:data"]
    corrections = [Node(correct_labels, answers, "corrected_labels", name="correct_labels")]
    has_answers = parameters.study.decisions is not None
    corrected = ["corrected_labels"] if has_answers else []
    settings = ["params:data", "params:split", "params:seed"]
    distractors = [
        Node(
            draw_distractors,
            [
                *("raw_metadata", "problems", "images", "params:data", "params:evaluation.distractors", "params:seed"),
                *corrected,
            ],
            ["distractors", "distractor_index"],
            name="draw_distractors",
        )
    ]
    contexts = [
        Node(check_contexts, ["raw_metadata", "params:contexts", *corrected], "contexts", name="check_contexts")
    ]
    return Pipeline(
        [
            *(contexts if parameters.contexts.by_experiment else []),
            Node(check_rows, ["raw_metadata", "params:data", "params:split"], "row_problems", name="check_rows"),
            *(corrections if has_answers else []),
            Node(
                check_images,
                ["raw_metadata", "row_problems", "images", *settings, *corrected],
                ["problems", "checked_images"],
                name="check_images",
            ),
            Node(
                assign_images,
                ["raw_metadata", "problems", "checked_images", *settings, *corrected],
                "assignment",
                name="assign_images",
            ),
            Node(
                tabulate_split,
                ["assignment", "checked_images"],
                ["metadata", "split", "image_index", "rejected"],
                name="tabulate_split",
            ),
            *(distractors if parameters.has_distractors else []),
        ],
        namespace="data_split",
        prefix_datasets_with_namespace=False,
    )
