"""What people have answered about photographs, kept for good."""
