"""The steps of a training run, one file each, named as the step."""
