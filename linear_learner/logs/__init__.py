"""The training log: written as the container writes it, and read again."""
