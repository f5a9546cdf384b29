"""The audit: what in photographs, metadata and split would falsify the F1, as a table, a summary and a page."""
