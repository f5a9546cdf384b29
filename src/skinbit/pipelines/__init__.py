"""Pipelines: thin nodes and their wiring; the science is in the packages beside."""
