"""See ``pipeline.py``."""

from skinbit.pipelines.audit.pipeline import create_pipeline

__all__ = ["create_pipeline"]
