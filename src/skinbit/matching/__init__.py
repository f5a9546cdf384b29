"""From embeddings to groups of one lesion: similarities, pairs, cuts, clustering, and the metrics of all these."""
