"""The audit of a data set: copies, leaks between subsets and doubtful labels, which would falsify F1."""
