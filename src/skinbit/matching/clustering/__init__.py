"""Groups that merge as a cut on distance grows."""
