"""`python -m flows.train`, and the servers that a laptop lacks."""
