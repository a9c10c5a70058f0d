"""The checks of a table before a training job is started."""
