"""The sandbox's SageMaker: training jobs, the Model Registry and endpoints."""
