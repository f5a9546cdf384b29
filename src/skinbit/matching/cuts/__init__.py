"""The best cut of each method, and what it is worth in other pools."""
