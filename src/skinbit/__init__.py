"""Skinbit finds dermoscopic photographs of the same lesion, and measures how well it does so."""

__version__ = "0.1.0"
