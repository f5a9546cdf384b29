"""Figures that people look at."""
