"""See ``pipeline.py``."""

from skinbit.pipelines.data_split.pipeline import create_pipeline

__all__ = ["create_pipeline"]
