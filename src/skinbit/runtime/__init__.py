"""What makes Kedro trustworthy: configuration, sessions, provenance, files, tracking."""
