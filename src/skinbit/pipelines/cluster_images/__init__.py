"""See ``pipeline.py``."""

from skinbit.pipelines.cluster_images.pipeline import create_pipeline

__all__ = ["create_pipeline"]
