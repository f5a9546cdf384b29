"""The nodes of cluster_images, by theme."""
