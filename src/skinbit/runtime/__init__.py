"""What surrounds Kedro: configuration, sessions, catalog, datasets, provenance, locks, tracking."""
