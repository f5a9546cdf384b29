"""A second implementation of what Skinbit measures: by brute force, and without a line of the rest of Skinbit.

It is written to be read beside `docs/protocol.md`, like the methods of a paper: one module for each step, loops over
pairs and matrices of all similarities. It imports nothing of Skinbit, so both have an error only if both make it.
"""
