"""The Kedro pipelines: thin nodes and their wiring; other packages do the work."""
