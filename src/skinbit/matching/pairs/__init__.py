"""The pairs of a pool of images: similarities tile by tile, near pairs, ranks of positive pairs."""
