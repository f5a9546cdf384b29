"""See ``pipeline.py``."""

from skinbit.pipelines.final_model.pipeline import create_pipeline

__all__ = ["create_pipeline"]
