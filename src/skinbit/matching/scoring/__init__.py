"""Metrics of a labelled pool: of pairs, groups, lesions and strata, with intervals; their tables; the leaderboard."""
