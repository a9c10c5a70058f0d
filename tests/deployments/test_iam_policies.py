"""Policies are read as IAM reads them."""

from typing import Any

import pytest

from sandbox.account import ROLE_ARN
from tests.deployments.iam_policies import evaluate_policy

ANY = {"Effect": "Allow", "Action": "*", "Resource": "*"}
TO_SAGEMAKER = {"StringEquals": {"iam:PassedToService": ["ec2.amazonaws.com", "sagemaker.amazonaws.com"]}}


@pytest.mark.parametrize(
    ("statements", "decision"),
    [
        ([ANY], "allowed"),
        ([ANY | {"Action": ["s3:Get*", "IAM:Pass*"], "Resource": "arn:aws:iam::*:role/linear-*"}], "allowed"),
        ([ANY | {"Action": "s3:*"}], "implicitDeny"),
        ([ANY | {"Resource": "arn:aws:iam::*:role/LINEAR-*"}], "implicitDeny"),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], "implicitDeny"),
        ([{"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::*"}], "allowed"),
        ([ANY, ANY | {"Effect": "Deny"}], "explicitDeny"),
        ([ANY | {"Condition": TO_SAGEMAKER}], "allowed"),
        ([ANY | {"Condition": {"StringLike": {"iam:PassedToService": "ec2.*"}}}], "implicitDeny"),
        ([ANY, ANY | {"Effect": "Deny", "Condition": TO_SAGEMAKER}], "explicitDeny"),
    ],
)
def test_policies_are_read_as_iam_does(statements: list[Any], decision: str) -> None:
    context = {"iam:PassedToService": ["sagemaker.amazonaws.com"]}
    assert evaluate_policy({"Statement": statements}, "iam:PassRole", ROLE_ARN, context) == decision
