"""The table: found, read, profiled, judged, divided into channels, shuffled and written."""
