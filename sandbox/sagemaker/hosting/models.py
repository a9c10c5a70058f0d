"""SageMaker's models and endpoint configurations, stored on disk."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sandbox.sagemaker.api_model import Document, ServiceError, list_page, now, take_tags
from sandbox.sagemaker.hosting.resources import Resource, ResourceFolder
from sandbox.sagemaker.training_jobs import FAMILIES_WITH_EBS

MODEL, CONFIG = "ModelName", "EndpointConfigName"
Actions = Mapping[str, Callable[[dict[str, Any]], Document]]


class Models:
    """Models with one container; their data is read when an endpoint is created."""

    def __init__(self, folder: Path) -> None:
        self._models = ResourceFolder(folder, "model", "model", Resource)
        self.arn_prefixes = (self._models.arn_prefix,)
        self.actions: Actions = {
            "CreateModel": self._create,
            "DescribeModel": lambda request: self.get(request[MODEL]),
            "ListModels": self._list,
            "DeleteModel": self._delete,
        }

    def tagged_resource(self, arn: str) -> Resource:
        return self._models.get(arn)

    def get(self, name: str) -> Document:
        """The document of a model; raises ServiceError if there is none."""
        return self._models.get(name).document

    def _create(self, request: dict[str, Any]) -> Document:
        name = request[MODEL]
        self._models.check_is_new(name)
        _check_model(request)
        tags, arn = take_tags(request), f"{self._models.arn_prefix}{name}"
        added = {"ModelArn": arn, "CreationTime": now(), "EnableNetworkIsolation": False}
        # The service describes a single container as the primary one (inferred).
        container = request.get("PrimaryContainer") or request["Containers"][0]
        document = added | request | {"PrimaryContainer": {"Mode": "SingleModel"} | container}
        document.pop("Containers", None)
        model = Resource(self._models.record(name), document, tags)
        model.save()
        self._models.add(name, model)
        return {"ModelArn": arn}

    def _list(self, request: dict[str, Any]) -> Document:
        fields = {"Name": (MODEL,), "CreationTime": ("CreationTime", MODEL)}
        return list_page(
            "ListModels", {"SortOrder": "Descending"} | request, [model.document for model in self._models], fields
        )

    def _delete(self, request: dict[str, Any]) -> Document:
        self._models.get(request[MODEL])
        self._models.remove(request[MODEL])
        return {}


def _check_model(request: Mapping[str, Any]) -> None:
    """Raise ServiceError for a model that the sandbox or the service does not accept; the wordings are inferred."""
    containers = [request["PrimaryContainer"]] if "PrimaryContainer" in request else request.get("Containers", [])
    if len(containers) != 1:
        raise ServiceError("The sandbox serves models with exactly one container.")
    if containers[0].get("Mode") == "MultiModel":
        raise ServiceError("The sandbox does not implement the Mode MultiModel.")
    if not containers[0].get("Image"):
        raise ServiceError("The sandbox needs the Image of a container; it does not read ModelPackageName.")
    if not model_data_uri(containers[0]):
        raise ServiceError("The sandbox needs ModelDataUrl, or an S3DataSource of one Gzip object.")
    if "ExecutionRoleArn" not in request:
        raise ServiceError("The sandbox needs the ExecutionRoleArn of a model.")


def model_data_uri(container: Mapping[str, Any]) -> str | None:
    """The URI of the model.tar.gz of a container, None if it has none or another kind of data."""
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    if source.get("S3DataType") == "S3Object" and source.get("CompressionType") == "Gzip":
        return str(source["S3Uri"])
    uri = container.get("ModelDataUrl")
    return str(uri) if uri else None


class EndpointConfigs:
    """Endpoint configurations with one production variant."""

    def __init__(self, folder: Path, models: Models) -> None:
        self._configs = ResourceFolder(folder, "endpoint configuration", "endpoint-config", Resource)
        self._models = models
        self.arn_prefixes = (self._configs.arn_prefix,)
        self.actions: Actions = {
            "CreateEndpointConfig": self._create,
            "DescribeEndpointConfig": lambda request: self.get(request[CONFIG]),
            "ListEndpointConfigs": self._list,
            "DeleteEndpointConfig": self._delete,
        }

    def tagged_resource(self, arn: str) -> Resource:
        return self._configs.get(arn)

    def get(self, name: str) -> Document:
        """The document of a configuration; raises ServiceError if there is none."""
        return self._configs.get(name).document

    def _create(self, request: dict[str, Any]) -> Document:
        name = request[CONFIG]
        self._configs.check_is_new(name)
        if len(request["ProductionVariants"]) != 1 or request.get("ShadowProductionVariants"):
            raise ServiceError("The sandbox does not implement several variants: give one of ProductionVariants.")
        variant = {"InitialVariantWeight": 1.0} | request["ProductionVariants"][0]
        if MODEL not in variant:
            raise ServiceError("The sandbox does not implement inference components: give the variant's ModelName.")
        if unknown := {"AsyncInferenceConfig", "ExplainerConfig"} & request.keys():
            raise ServiceError(f"The sandbox does not implement {unknown.pop()}.")
        _check_config(request, variant, self._models.get(variant[MODEL]))
        tags, arn = take_tags(request), f"{self._configs.arn_prefix}{name}"
        added = {"EndpointConfigArn": arn, "CreationTime": now(), "ProductionVariants": [variant]}
        config = Resource(self._configs.record(name), request | added, tags)
        config.save()
        self._configs.add(name, config)
        return {"EndpointConfigArn": arn}

    def _list(self, request: dict[str, Any]) -> Document:
        fields = {"Name": (CONFIG,), "CreationTime": ("CreationTime", CONFIG)}
        documents = [config.document for config in self._configs]
        return list_page("ListEndpointConfigs", {"SortOrder": "Descending"} | request, documents, fields)

    def _delete(self, request: dict[str, Any]) -> Document:
        # Also a configuration that an endpoint uses, as on AWS, whose documentation warns of it.
        self._configs.get(request[CONFIG])
        self._configs.remove(request[CONFIG])
        return {}


def _check_config(request: Mapping[str, Any], variant: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Raise ServiceError for combinations that the service does not support; the wordings are inferred."""
    if "ServerlessConfig" not in variant:
        if "InstanceType" not in variant or "InitialInstanceCount" not in variant:
            raise ServiceError("A production variant needs InstanceType and InitialInstanceCount, or ServerlessConfig.")
        if "KmsKeyId" in request and variant["InstanceType"].split(".")[1] not in (*FAMILIES_WITH_EBS, "t2"):
            raise ServiceError("KMS key is not supported for NVMe instance storage")  # sagemaker-python-sdk#3677
        return
    for found, what in (
        ("InstanceType" in variant or "InitialInstanceCount" in variant, "instances"),
        ("DataCaptureConfig" in request, "DataCaptureConfig"),
        ("VpcConfig" in model or "VpcConfig" in request, "a model with VpcConfig"),
        ("KmsKeyId" in request, "KmsKeyId"),
    ):
        if found:
            raise ServiceError(f"A serverless endpoint variant does not support {what}.")
    memory = variant["ServerlessConfig"]["MemorySizeInMB"]
    if memory % 1024:
        raise ServiceError(f"MemorySizeInMB {memory} is not one of 1024, 2048, 3072, 4096, 5120 and 6144.")
