"""Keypoints, and the one transform that many of them agree on."""
