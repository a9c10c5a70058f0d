"""SageMaker training jobs: request, start or adopt, follow, stop, and compute the cost."""
