"""What notebooks need to look at a study."""
