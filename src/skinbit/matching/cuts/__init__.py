"""Cuts (thresholds and distances): the best one of a labelled pool, and its transfer to other pools."""
