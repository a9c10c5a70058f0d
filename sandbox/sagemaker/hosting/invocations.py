"""InvokeEndpoint: a request to an endpoint, its answer from the container of a fleet, and the runtime API's errors."""

import json
import time
from typing import Any

from werkzeug.wrappers import Response

from linear_learner.serving.inference_container import Answer
from sandbox.account import ACCOUNT, REGION
from sandbox.api_call import runtime_error
from sandbox.cloudwatch.service import CloudWatch
from sandbox.sagemaker.hosting.capture import DataCapture, Invocation
from sandbox.sagemaker.hosting.containers import ContainerError, Containers
from sandbox.sagemaker.hosting.deployment import Fleet
from sandbox.sagemaker.hosting.endpoints import Endpoints
from sandbox.storage import read_body

MAX_BYTES = 25 << 20
MAX_SERVERLESS_BYTES = 4 << 20
MAX_MESSAGE_LENGTH = 2048
DEFAULT_CONTENT_TYPE = "text/csv"
"""Of a request without Content-Type; the service's default is not documented."""


class Invocations:
    """Answers requests to endpoints; several at the same time."""

    def __init__(
        self, endpoints: Endpoints, containers: Containers, capture: DataCapture, cloudwatch: CloudWatch
    ) -> None:
        self._endpoints = endpoints
        self._capture = capture
        self._cloudwatch = cloudwatch
        self._containers = containers

    def respond(self, name: str, environ: dict[str, Any]) -> Response:
        """The response to InvokeEndpoint of this endpoint."""
        body, fleet = read_body(environ), self._endpoints.route(name)
        if fleet is None:
            return runtime_error(400, "ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.")
        variant = str(fleet.variant["VariantName"])
        target = str(environ.get("HTTP_X_AMZN_SAGEMAKER_TARGET_VARIANT", variant))
        if error := _find_problem(name, fleet, target, body):
            return error
        start = time.perf_counter()
        content_type = environ.get("CONTENT_TYPE") or DEFAULT_CONTENT_TYPE
        answer = self._answer(fleet, body, content_type, environ.get("HTTP_ACCEPT") or "*/*")
        microseconds = 1e6 * (time.perf_counter() - start)
        self._cloudwatch.record_invocation(name, variant, answer.status, microseconds)
        if answer.status >= 400:
            return _model_error(name, answer)
        headers = {"x-Amzn-Invoked-Production-Variant": variant}
        inference_id = environ.get("HTTP_X_AMZN_SAGEMAKER_INFERENCE_ID")
        if inference_id:
            headers["X-Amzn-SageMaker-Inference-Id"] = inference_id
        self._capture.add(Invocation(name, fleet, body, content_type, answer.body, answer.content_type, inference_id))
        return Response(answer.body, 200, headers, content_type=answer.content_type)

    def _answer(self, fleet: Fleet, body: bytes, content_type: str, accept: str) -> Answer:
        if fleet.delay_seconds:
            time.sleep(fleet.delay_seconds)
        try:
            container = self._containers.get(fleet.model, fleet.variant["VariantName"])
        except ContainerError as error:  # the data was deleted while the sandbox was stopped
            return Answer(500, "text/plain", str(error).encode())
        answer = container.invoke(body, content_type, accept)
        return _make_wrong(answer) if fleet.answers_wrong and answer.status == 200 else answer


def _find_problem(name: str, fleet: Fleet, target: str, body: bytes) -> Response | None:
    """The error for a request that does not reach the container; the wordings are inferred."""
    limit = MAX_SERVERLESS_BYTES if "ServerlessConfig" in fleet.variant else MAX_BYTES
    if len(body) > limit:
        message = f"Request size {len(body)} bytes exceeded the limit of {limit} bytes."
        return runtime_error(413, "ValidationError", message)
    if target != fleet.variant["VariantName"]:
        return runtime_error(400, "ValidationError", f"Variant {target} of endpoint {name} not found.")
    return None


def _model_error(name: str, answer: Answer) -> Response:
    text = answer.body.decode(errors="replace")[:MAX_MESSAGE_LENGTH]
    group = f"/aws/sagemaker/Endpoints/{name}"
    console = f"https://{REGION}.console.aws.amazon.com/cloudwatch/home?region={REGION}#logEventViewer:group={group}"
    side = "client" if answer.status < 500 else "server"
    message = (
        f'Received {side} error ({answer.status}) from primary with message "{text}". See {console} in account '
        f"{ACCOUNT} for more information."
    )
    stream = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}"
    members = {"OriginalStatusCode": answer.status, "OriginalMessage": text, "LogStreamArn": stream}
    return runtime_error(424, "ModelError", message, **members)


def _make_wrong(answer: Answer) -> Answer:
    """The answer with other scores: 95% of each, plus 0.01. Answers in RecordIO are not changed."""
    if answer.content_type not in ("application/json", "application/jsonlines"):
        return answer

    def change(row: dict[str, Any]) -> dict[str, Any]:
        score = row.get("score")
        if isinstance(score, list):
            return row | {"score": [0.95 * one + 0.01 for one in score]}
        return row | {"score": 0.95 * score + 0.01} if score is not None else row

    decode = json.JSONDecoder(object_hook=change).decode
    if answer.content_type == "application/json":
        return answer._replace(body=json.dumps(decode(answer.body.decode())).encode())
    lines = [json.dumps(decode(line)) + "\n" for line in answer.body.decode().splitlines()]
    return answer._replace(body="".join(lines).encode())
