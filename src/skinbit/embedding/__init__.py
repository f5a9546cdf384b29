"""From photographs to embeddings: preprocessing, backbones and their weights, features, heads, checkpoints."""
