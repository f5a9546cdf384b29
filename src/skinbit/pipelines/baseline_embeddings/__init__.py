"""See ``pipeline.py``."""

from skinbit.pipelines.baseline_embeddings.pipeline import create_pipeline

__all__ = ["create_pipeline"]
