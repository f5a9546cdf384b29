"""See ``pipeline.py``."""

from skinbit.pipelines.metric_learning.pipeline import create_pipeline

__all__ = ["create_pipeline"]
