"""The training log: a writer in the container's format, and a reader."""
