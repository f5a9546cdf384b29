"""audit: photographs, metadata and the split on disk -> problems that would falsify F1, as a table and a page."""

from functools import partial, update_wrapper

from kedro.pipeline import Node, Pipeline

from skinbit.config import Parameters
from skinbit.pipelines.audit.nodes import find_findings, hash_photographs, show_findings
from skinbit.pipelines.baseline_embeddings.pipeline import create_comparison
from skinbit.pipelines.evaluation.pipeline import TILES


def create_pipeline(parameters: Parameters, experiment: str) -> Pipeline:
    """Wire the audit to a baseline's features, which it computes if they are missing.

    Args:
        parameters: All parameters.
        experiment: Name of a baseline.

    """
    features = f"{parameters.features_of(experiment)}_features"
    tables = ["metadata", "rejected", "image_index", "pixel_hashes", "split_on_disk"]
    settings = ["params:audit", "params:geometry", "params:compute", TILES, "pair_cache", "executor"]
    find = update_wrapper(partial(find_findings, experiment=experiment), find_findings)
    nodes = [
        Node(hash_photographs, ["images", "image_index", "params:data"], "pixel_hashes", name="hash_photographs"),
        Node(
            find,
            [*tables, features, "keypoints", *settings],
            ["audit_findings", "audit_summary"],
            name="find_findings",
        ),
        Node(
            show_findings,
            [
                *("images", "image_index", "keypoints", "audit_findings", "audit_summary"),
                *("params:report", "params:geometry", "params:data", "params:compute"),
            ],
            "audit_page",
            name="show_findings",
        ),
    ]
    audited = Pipeline(nodes, namespace="audit", prefix_datasets_with_namespace=False)
    return create_comparison(experiment, parameters).tag("baseline_embeddings") + audited.tag("audit")
