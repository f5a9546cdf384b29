"""From embeddings to pairs, groups and figures: similarities, sweeps, selection, metrics."""
