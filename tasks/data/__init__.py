"""The table: found, read, profiled, checked, divided into channels, shuffled and written."""
