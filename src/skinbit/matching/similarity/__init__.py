"""Stages of the similarity besides the cosine: whitening, local scaling, re-ranking, calibration."""
