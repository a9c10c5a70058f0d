"""The parameters of the flows as Prefect's form shows them: with titles, and rarely changed fields in groups."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from aws.endpoints.settings import EndpointName, Guard, Hosting, Traffic
from aws.training.compute import Compute
from aws.training.submission import IfExists
from tasks.parameters import Dataset, Gate, Prediction, Registry, RequestedHyperparameters, Reuse, Split
from tasks.serving.parameters import Deployment

RARE_GROUP = "rarely_changed"
"""Name, in the values that the form submits, of the group of rarely changed fields of a parameter."""


@dataclass(frozen=True, repr=False)
class FormGroup:
    """A parameter of which the form shows the fields in `common` first, and all others in a group below them.

    As an annotation, it moves the rare fields of a model to that group in the JSON schema, from which Prefect makes the
    form, and accepts values with that group.
    """

    model: type[BaseModel]
    common: tuple[str, ...]

    def __repr__(self) -> str:
        return f"FormGroup({self.model.__name__})"  # in the signature of the flow

    def group(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the common fields of `values`, in order, with all others in a mapping under RARE_GROUP."""
        common = {name: values[name] for name in self.common}
        return common | {RARE_GROUP: {name: value for name, value in values.items() if name not in common}}

    def flatten(self, submitted: Any) -> Any:
        """Undo `group` for the values that a form submits.

        In the group the form shows the defaults, not the values that a deployment sets by the name of a field. A
        default in the group is therefore ignored; any other value in it was entered by a user, and applies.
        """
        if not isinstance(submitted, Mapping) or not isinstance(submitted.get(RARE_GROUP), Mapping):
            return submitted
        defaults = self.model().model_dump(mode="json")
        flat = {name: value for name, value in submitted.items() if name != RARE_GROUP}
        for name, value in submitted[RARE_GROUP].items():
            if name not in flat or name not in defaults or value != defaults[name]:
                flat[name] = value
        return flat

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.flatten, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        reference = handler(schema)
        form = handler.resolve_ref_schema(reference)
        properties = self.group(form["properties"])
        # Prefect's server validates parameters against this schema, and deployments set rare fields outside the group.
        # `patternProperties` allows that; the form ignores this keyword.
        form["patternProperties"] = {f"^{name}$": rare for name, rare in properties[RARE_GROUP].items()}
        properties[RARE_GROUP] = {
            "type": "object",
            "title": "Rarely changed",
            "description": "The defaults suit most tables. A value set by a deployment applies unless changed here.",
            "properties": properties[RARE_GROUP],
            "additionalProperties": False,
        }
        form["properties"] = properties
        return reference


class FormSchema(dict[str, Any]):
    """What the form shows instead of the name and the default of a parameter; short in the signature of the flow."""

    def __repr__(self) -> str:
        return f"FormSchema({self['title']!r})"


def form_field(title: str, group: FormGroup | None = None) -> Any:
    """Return the field of a parameter with a title, and with the default in the group of rarely changed fields.

    The flows use it in annotations that are no strings: Prefect's `serve` pickles flows without the names in strings.
    """
    default = {"default": group.group(group.model().model_dump(mode="json"))} if group else {}
    return Field(json_schema_extra=FormSchema(title=title, **default))


DATASET_FORM = FormGroup(Dataset, ("source", "target", "ignore", "categorical", "holdout"))
COMPUTE_FORM = FormGroup(Compute, ("instance_type", "max_runtime_seconds", "max_cost_usd", "spot"))
HYPERPARAMETERS_FORM = FormGroup(
    RequestedHyperparameters,
    (
        "predictor_type",
        "num_classes",
        "loss",
        "epochs",
        "mini_batch_size",
        "early_stopping_patience",
        "num_models",
        "learning_rate",
        "l1",
        "wd",
        "quantile",
        "binary_classifier_model_selection_criteria",
    ),
)
DatasetForm = Annotated[Dataset, DATASET_FORM, form_field("Data", DATASET_FORM)]
ComputeForm = Annotated[Compute, COMPUTE_FORM, form_field("Instances, time and money", COMPUTE_FORM)]
HyperparametersForm = Annotated[
    RequestedHyperparameters, HYPERPARAMETERS_FORM, form_field("Hyperparameters", HYPERPARAMETERS_FORM)
]
SplitForm = Annotated[Split, form_field("Split")]
GateForm = Annotated[Gate, form_field("Gate")]
RegistryForm = Annotated[Registry, form_field("Model registry")]
ReuseForm = Annotated[Reuse, form_field("Reuse")]
PredictionForm = Annotated[Prediction, form_field("Prediction")]
WorkspaceName = Annotated[str, form_field("Workspace")]
JobIfExists = Annotated[IfExists, form_field("If the training job exists")]
ModelFolder = Annotated[str, form_field("Model folder")]
DeploymentForm = Annotated[Deployment, form_field("Model and endpoint")]
HostingForm = Annotated[Hosting, form_field("Instances and cost")]
TrafficForm = Annotated[Traffic, form_field("How requests move")]
GuardForm = Annotated[Guard, form_field("Guards")]
EndpointForm = Annotated[EndpointName, form_field("Endpoint")]
