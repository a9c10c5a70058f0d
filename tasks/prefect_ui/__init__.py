"""What people see of a run in Prefect's UI beside the states: progress, events, links, failures."""
