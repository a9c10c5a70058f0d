"""Real-time endpoints of SageMaker that serve Linear Learner models."""
