"""SageMaker as the sandbox serves it: training jobs that really train, and the Model Registry."""
