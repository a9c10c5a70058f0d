"""What Prefect's UI shows of a run besides its states: progress, events, links and failures."""
