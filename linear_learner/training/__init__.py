"""Training of all models at once, as in the container."""
