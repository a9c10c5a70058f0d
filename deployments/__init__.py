"""What puts the flow into production."""
