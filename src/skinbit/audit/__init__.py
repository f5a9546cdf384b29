"""What in photographs, metadata and split would falsify the F1."""
