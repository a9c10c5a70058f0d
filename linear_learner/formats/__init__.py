"""The algorithm's file and wire formats: channels, RecordIO, model artifacts, inference requests."""
