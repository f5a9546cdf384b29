"""Metric learning: augmentation, lesion batches, losses, and the training loop."""
