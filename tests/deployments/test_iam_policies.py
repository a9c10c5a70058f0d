"""Policies are evaluated as in IAM."""

from typing import Any

import pytest

from sandbox.account import ROLE_ARN
from tests.deployments.iam_policies import evaluate_policy

ALLOW_ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}
TO_SAGEMAKER = {"StringEquals": {"iam:PassedToService": ["ec2.amazonaws.com", "sagemaker.amazonaws.com"]}}


@pytest.mark.parametrize(
    ("statements", "decision"),
    [
        ([ALLOW_ALL], "allowed"),
        ([ALLOW_ALL | {"Action": ["s3:Get*", "IAM:Pass*"], "Resource": "arn:aws:iam::*:role/linear-*"}], "allowed"),
        ([ALLOW_ALL | {"Action": "s3:*"}], "implicitDeny"),
        ([ALLOW_ALL | {"Resource": "arn:aws:iam::*:role/LINEAR-*"}], "implicitDeny"),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], "implicitDeny"),
        ([{"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::*"}], "allowed"),
        ([ALLOW_ALL, ALLOW_ALL | {"Effect": "Deny"}], "explicitDeny"),
        ([ALLOW_ALL | {"Condition": TO_SAGEMAKER}], "allowed"),
        ([ALLOW_ALL | {"Condition": {"StringLike": {"iam:PassedToService": "ec2.*"}}}], "implicitDeny"),
        ([ALLOW_ALL, ALLOW_ALL | {"Effect": "Deny", "Condition": TO_SAGEMAKER}], "explicitDeny"),
    ],
)
def test_policies_are_evaluated_as_in_iam(statements: list[Any], decision: str) -> None:
    context = {"iam:PassedToService": ["sagemaker.amazonaws.com"]}
    assert evaluate_policy({"Statement": statements}, "iam:PassRole", ROLE_ARN, context) == decision
