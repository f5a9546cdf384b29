"""Metadata, photographs, splits, and synthetic photographs."""
