"""Answers to an endpoint's requests, and the HTTP server of SageMaker's container contract."""
