"""Everything that talks to AWS; nothing here imports the tasks, the flows or the algorithm."""
