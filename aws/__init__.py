"""Access to AWS; this package does not import the tasks, the flows or the algorithm."""
