"""On-demand prices of SageMaker training, in USD per instance and hour: a dated table, for limits and estimates.

From AWS's public price list (offer AmazonSageMaker, usage type `Train`), as public projects copied it between
2026-09-24 and 2026-09-27; where the copies overlap they agree to a tenth of a percent. Prices change and depend on the
region: the authority is https://aws.amazon.com/sagemaker/ai/pricing/. What is not here, or not what you pay, belongs in
the workspace's `prices`, which win over this table.
"""

from collections.abc import Mapping

PRICE_LIST_DATE = "2026-09-24"
"""Date of the price list, the earliest of those that the rows were copied from."""

USD_PER_HOUR: Mapping[str, Mapping[str, float]] = {
    "us-east-1": {
        "ml.m5.large": 0.115, "ml.m5.xlarge": 0.23, "ml.m5.2xlarge": 0.461, "ml.m5.4xlarge": 0.922,
        "ml.m5.12xlarge": 2.765, "ml.m5.24xlarge": 5.53,
        "ml.m6i.large": 0.115, "ml.m6i.xlarge": 0.23, "ml.m6i.2xlarge": 0.461, "ml.m6i.4xlarge": 0.922,
        "ml.m6i.8xlarge": 1.843, "ml.m6i.12xlarge": 2.765, "ml.m6i.16xlarge": 3.686, "ml.m6i.24xlarge": 5.53,
        "ml.c5.xlarge": 0.204, "ml.c5.2xlarge": 0.408, "ml.c5.4xlarge": 0.816, "ml.c5.9xlarge": 1.836,
        "ml.c5.18xlarge": 3.672,
        "ml.c6i.xlarge": 0.204, "ml.c6i.2xlarge": 0.408, "ml.c6i.4xlarge": 0.816, "ml.c6i.8xlarge": 1.632,
        "ml.c6i.12xlarge": 2.448, "ml.c6i.16xlarge": 3.264, "ml.c6i.24xlarge": 4.896,
        "ml.r5.large": 0.151, "ml.r5.xlarge": 0.302, "ml.r5.2xlarge": 0.605, "ml.r5.4xlarge": 1.21,
        "ml.r5.8xlarge": 2.419, "ml.r5.12xlarge": 3.629, "ml.r5.16xlarge": 4.838, "ml.r5.24xlarge": 7.258,
        "ml.g4dn.xlarge": 0.736, "ml.g4dn.2xlarge": 0.94, "ml.g4dn.4xlarge": 1.505,
    },
    "ap-south-1": {
        "ml.m5.xlarge": 0.242, "ml.m5.4xlarge": 0.97, "ml.m6i.4xlarge": 0.97, "ml.c6i.8xlarge": 1.632,
        "ml.r5.4xlarge": 1.248, "ml.g4dn.xlarge": 0.811,
    },
}  # fmt: skip
