"""Endpoints: what is served, how it is compared offline, and how an update is checked."""
