"""From photographs to features and embeddings: backbones, preprocessing, test views."""
