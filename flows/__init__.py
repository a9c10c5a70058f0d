"""What a person or a schedule runs."""
