"""Benchmarks: each compares Skinbit with the usual way in one run and prints a Markdown table."""
