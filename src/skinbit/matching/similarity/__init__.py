"""Corrections of the cosine similarity: whitening, local scaling against hubs, re-ranking, calibration."""
