"""Which results of earlier runs a step reuses, where they are stored, and why a step runs again."""
