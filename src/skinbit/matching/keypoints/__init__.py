"""SIFT keypoints: finding them, matching them between two photographs, and verifying proposed pairs by them."""
