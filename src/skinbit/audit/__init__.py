"""The audit of a data set: copies, leaks between subsets and doubtful labels, all of which would falsify F1."""
