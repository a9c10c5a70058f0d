"""The sandbox's SageMaker: training jobs and the Model Registry."""
