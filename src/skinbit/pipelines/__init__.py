"""The Kedro pipelines: thin nodes and their wiring; the other packages do the work."""
