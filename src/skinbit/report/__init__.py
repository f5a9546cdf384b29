"""Pages, charts and drawings that people look at."""
