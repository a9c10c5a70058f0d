"""The command line of the flows."""
