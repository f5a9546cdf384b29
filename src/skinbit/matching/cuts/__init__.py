"""Cuts (thresholds and distances): the best one on a labelled pool, and its transfer to other pools."""
