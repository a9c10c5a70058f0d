"""Production: automations, blocks, the worker, IAM policies, work pools and the container image."""
