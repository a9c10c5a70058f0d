"""Find, read, profile, check, split, shuffle and write the table."""
