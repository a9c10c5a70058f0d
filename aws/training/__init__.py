"""Training jobs: requested, started or adopted, followed, stopped, paid for."""
