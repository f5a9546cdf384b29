"""What the similarities of a pool that nobody has labelled say about it: its prior, its cut, its expected F1."""
