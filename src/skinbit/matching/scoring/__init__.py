"""What a labelled pool is worth: pairs, groups, intervals, strata, mistakes."""
