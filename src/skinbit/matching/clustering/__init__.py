"""Clustering: trees of merges, by linkage or by mutual neighbours, that are cut at a distance."""
