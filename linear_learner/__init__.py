"""Amazon SageMaker's Linear Learner in numpy: hyperparameters, training, model artifacts, logs, data formats.

Requires numpy and pydantic only; imports neither Prefect nor boto3. Command line: `python -m linear_learner --help`.
"""
