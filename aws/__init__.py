"""Everything that talks to AWS. No tasks, no flows, nothing about the algorithm's inside."""
