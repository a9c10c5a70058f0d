"""The steps of a training run, one module each."""
