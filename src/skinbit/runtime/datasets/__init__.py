"""Kedro datasets: one class per kind of file; every save is atomic."""
