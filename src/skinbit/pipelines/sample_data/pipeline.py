"""sample_data: synthetic photographs and their metadata, in the place of the user's."""

from kedro.pipeline import Node, Pipeline

from skinbit.config import SampleParams
from skinbit.pipelines.sample_data.nodes import make_sample


def create_pipeline(sample: SampleParams) -> Pipeline:
    """Wire the pipeline; its namespace is one box in Kedro-Viz and renames no dataset.

    Args:
        sample: Whether there are also unlabelled photographs.
    """
    unlabelled = ["unlabelled_images"] if sample.n_unlabelled else []
    node = Node(
        make_sample,
        ["raw_folder", "params:sample", "params:seed"],
        ["sample_manifest", "images", "raw_metadata", *unlabelled],
        name="make_sample",
    )
    return Pipeline([node], namespace="sample_data", prefix_datasets_with_namespace=False)
