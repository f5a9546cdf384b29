"""The nodes of the evaluation, by theme."""
