"""The one way to look at pairs: a pool, its similarities in tiles, its near pairs."""
