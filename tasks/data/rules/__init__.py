"""What a table must fulfil before anything is paid for."""
