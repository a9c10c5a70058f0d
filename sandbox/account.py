"""The sandbox's AWS account."""

REGION = "us-east-1"
ACCOUNT = "123456789012"
BUCKET = "linear-learner-sandbox"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/linear-learner-training"
KEY_ID = SECRET_KEY = "sandbox"  # noqa: S105 - any key is accepted; this one is shown to the user
USER_ARN = f"arn:aws:iam::{ACCOUNT}:user/{KEY_ID}"
"""The identity of every caller, whatever its access key."""
SAGEMAKER_ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:"
"""Prefix of the ARN of every SageMaker resource."""
SERVING_IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/linear-learner-serve:1"
"""Any image but SageMaker's own is run as the one that `deployments/Dockerfile` builds as target `serve`."""
