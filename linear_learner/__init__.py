"""Amazon SageMaker's Linear Learner in numpy: hyperparameters, engine, artifact, logs, records, inference formats.

Needs numpy and pydantic only; knows neither Prefect nor AWS. `python -m linear_learner --help` is its command line.
"""
