"""Skinbit finds which dermoscopic photographs show the same lesion, and proves how well it does."""

__version__ = "0.1.0"
