"""The parameters of the flows as Prefect's form shows them: with titles, and rarely changed fields in groups.

The flows name these types in annotations that are strings, so that `help(train_linear_learner)` shows the names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from aws.endpoints.settings import EndpointName, Guard, Hosting, Traffic
from aws.training.compute import Compute
from aws.training.submission import IfExists
from tasks.parameters import Dataset, Gate, Prediction, Registry, RequestedHyperparameters, Reuse, Split
from tasks.serving.parameters import Deployment


def form_title(title: str) -> Any:
    """Return the title of a parameter in the form, where Prefect would show its name."""
    return Field(json_schema_extra={"title": title})


RARE_GROUP = "rarely_changed"
"""Name, in the values that the form submits, of the group of rarely changed fields of a parameter."""


@dataclass(frozen=True)
class FormGroup:
    """A parameter of which the form shows the fields in `common` first, and all others in a group below them.

    As an annotation, it moves the rare fields of a model to that group in the JSON schema, from which Prefect makes the
    form.
    """

    model: type[BaseModel]
    title: str
    common: tuple[str, ...]

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

    @property
    def field(self) -> Any:
        """The title and the default of the parameter in the form."""
        default = self.group(self.model().model_dump(mode="json"))
        return Field(json_schema_extra={"title": self.title, "default": default})

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


DATASET_FORM = FormGroup(Dataset, "Data", ("source", "target", "ignore", "categorical", "holdout"))
COMPUTE_FORM = FormGroup(
    Compute, "Instances, time and money", ("instance_type", "max_runtime_seconds", "max_cost_usd", "spot")
)
HYPERPARAMETERS_FORM = FormGroup(
    RequestedHyperparameters,
    "Hyperparameters",
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
DatasetForm = Annotated[Dataset, BeforeValidator(DATASET_FORM.flatten), DATASET_FORM, DATASET_FORM.field]
ComputeForm = Annotated[Compute, BeforeValidator(COMPUTE_FORM.flatten), COMPUTE_FORM, COMPUTE_FORM.field]
HyperparametersForm = Annotated[
    RequestedHyperparameters,
    BeforeValidator(HYPERPARAMETERS_FORM.flatten),
    HYPERPARAMETERS_FORM,
    HYPERPARAMETERS_FORM.field,
]
SplitForm = Annotated[Split, form_title("Split")]
GateForm = Annotated[Gate, form_title("Gate")]
RegistryForm = Annotated[Registry, form_title("Model registry")]
ReuseForm = Annotated[Reuse, form_title("Reuse")]
PredictionForm = Annotated[Prediction, form_title("Prediction")]
WorkspaceName = Annotated[str, form_title("Workspace")]
JobIfExists = Annotated[IfExists, form_title("If the training job exists")]
ModelFolder = Annotated[str, form_title("Model folder")]
DeploymentForm = Annotated[Deployment, form_title("Model and endpoint")]
HostingForm = Annotated[Hosting, form_title("Instances and cost")]
TrafficForm = Annotated[Traffic, form_title("How requests move")]
GuardForm = Annotated[Guard, form_title("Guards")]
EndpointForm = Annotated[EndpointName, form_title("Endpoint")]
