"""Training: every model at once, as the container does it."""
