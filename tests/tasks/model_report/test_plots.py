"""Plots are small PNGs of the data that is available; every name can be drawn without errors or warnings."""

import subprocess
import sys
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from linear_learner.logs.reader import EpochReport
from linear_learner.model import LinearModel, Predictions, PredictorType
from tasks.data.numbers import format_number
from tasks.evaluation.assessment import assess
from tasks.model_report import plots as module
from tasks.model_report.style import LINES, STYLE, plain_text
from tasks.parameters import Gate
from tests.tasks.model_report.conftest import PLOTS, PLOTS_OF_CLASSES, Case, MakeCase

MAX_CHARACTERS = 300_000


def pixels(url: str) -> NDArray[np.uint8]:
    png = b64decode(url.removeprefix("data:image/png;base64,"))
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def with_rows(case: Case, model: LinearModel, labels: NDArray[np.float32], predictions: Predictions) -> Case:
    """The case with other test rows."""
    evaluation = assess(model, labels, predictions, Gate())
    return replace(case, model=model, labels=labels, predictions=predictions).change(evaluation=evaluation)


@pytest.mark.parametrize("kind", PLOTS)
def test_each_type_has_its_plots_as_small_pngs(make_case: MakeCase, kind: PredictorType) -> None:
    plots = make_case(kind).plots()
    assert set(plots) == PLOTS[kind]
    for url in plots.values():
        image = pixels(url)
        assert image.shape[1] == 1280
        assert (image.min() < 80, image.max() > 240) == (True, True)  # dark text on a light background
    assert sum(map(len, plots.values())) < MAX_CHARACTERS


def test_the_largest_reports_stay_small(make_case: MakeCase) -> None:
    names = tuple(f"{index} {'wide_name' * 9}" for index in range(40))
    regressor = make_case(names=names)
    random = np.random.default_rng(0)
    labels, scores = (random.normal(size=50_000).astype(np.float32) for _ in range(2))
    largest = (
        replace(regressor, labels=labels, predictions=Predictions(scores, None)),
        make_case("binary_classifier", names=names),
        make_case("multiclass_classifier", names=names, classes=20),
    )
    for case in largest:
        assert sum(map(len, case.plots().values())) < MAX_CHARACTERS


@pytest.mark.usefixtures("coarse_plots")
@pytest.mark.parametrize("kind", PLOTS)
def test_every_name_can_be_drawn(make_case: MakeCase, kind: PredictorType) -> None:
    names = (
        "a|b",
        "$x_1^{",
        "$x$ and $y$",
        "a\nb\x00",
        "🦆 duck",
        "راتب",
        "工资",
        "\ud800",
        "x_" * 500,
        "",
        "\\$",
        "%",
    )
    case = make_case(kind)
    profile = case.run.table.profile
    columns = tuple(profile.columns[0].model_copy(update={"name": name}) for name in names)
    weights = np.ones((len(names), len(case.model.bias)), np.float32)
    for target in ("$راتب 🦆$_1^{", "x_" * 500):
        changed = profile.model_copy(update={"target": target, "columns": columns})
        renamed = case.change_log(case.summary.model_copy(update={"objective": target})).change(
            table=case.run.table.model_copy(update={"profile": changed})
        )
        plots = replace(renamed, model=replace(case.model, weights=weights, feature_names=names)).plots()
        assert set(plots) == PLOTS[kind]


def test_plain_text_is_one_short_line() -> None:
    assert plain_text("a\nb") == "a b"
    assert plain_text("$5 to $6") == "$5 to $6"
    assert plain_text("x" * 100, 10) == "x" * 9 + "…"
    assert plain_text("pay 🦆") == "pay □"
    assert plain_text("\n") == "(no name)"
    assert plain_text("Größe_in_µm") == "Größe_in_µm"


@pytest.mark.usefixtures("coarse_plots")
def test_without_a_log_there_is_no_learning_curve(make_case: MakeCase) -> None:
    case = make_case()
    assert "learning-curve" not in case.change_log(None).plots()
    assert "learning-curve" not in case.change_log(case.summary.model_copy(update={"epochs": ()})).plots()


@pytest.mark.usefixtures("coarse_plots")
@pytest.mark.parametrize("epochs", [1, 200])
def test_any_number_of_epochs_has_a_learning_curve(make_case: MakeCase, epochs: int) -> None:
    case = make_case()
    curve = tuple(EpochReport(index=n, train={0: 10.0**-n}) for n in range(epochs))
    summary = case.summary.model_copy(update={"epochs": curve, "saved_epoch": None})
    assert "learning-curve" in case.change_log(summary).plots()


@pytest.mark.usefixtures("coarse_plots")
@pytest.mark.parametrize("kind", PLOTS)
@pytest.mark.parametrize("rows", [1, 5])
def test_small_and_constant_test_sets_are_drawn(make_case: MakeCase, kind: PredictorType, rows: int) -> None:
    case = make_case(kind)
    some = np.arange(rows)
    labels = case.predictions.labels
    predictions = Predictions(case.predictions.scores[some], None if labels is None else labels[some])
    for chosen in (case.labels[some], np.ones(rows, np.float32)):
        plots = with_rows(case, case.model, chosen, predictions).plots()
        assert set(plots) <= PLOTS[kind]
        assert ("roc" in plots) == (kind != "regressor" and len(set(chosen.tolist())) > 1)


@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=5), st.floats(-1e30, 1e30))
def test_a_histogram_includes_all_values(labels: list[float], predicted: float) -> None:
    values = np.array([*labels, predicted])
    edges, _ = module._edges(values)
    assert (np.diff(edges) >= 0).all()
    assert edges[0] < edges[-1]
    assert np.histogram(values, edges)[0].sum() == len(values)


def test_outliers_are_drawn_and_leave_half_of_the_axis_to_the_others() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    values[3] = 1e9
    edges, limit = module._edges(values)
    assert edges[-1] == 1e9
    assert limit is not None
    assert np.sum(np.abs(edges) <= limit) > module.CELLS / 2


def test_the_finding_of_each_plot_is_its_title(make_case: MakeCase) -> None:
    case = make_case()
    plots = case.draw()
    assert plots["learning-curve"].finding == "Stopped early after epoch 15; model saved at epoch 10"
    residuals = case.labels - case.predictions.scores
    furthest = format_number(float(residuals[np.abs(residuals).argmax()]))
    assert plots["residuals"].finding.endswith(f"; the largest: {furthest}")


def test_a_model_that_still_improves_is_the_finding_of_the_learning_curve(make_case: MakeCase) -> None:
    case = make_case()
    epochs = tuple(EpochReport(index=n, train={7: 1.0}, validation={7: 0.5**n}, value=0.5**n) for n in range(4))
    summary = case.summary.model_copy(
        update={"epochs": epochs, "stopped_early": False, "best_epoch": 3, "best_value": 0.125}
    )
    changed = case.change_log(summary)
    assert changed.draw()["learning-curve"].finding == "Still improving at the last epoch, 4: raise epochs"
    assert "The model was still improving when training ended: raise epochs." in changed.report()


@pytest.mark.usefixtures("coarse_plots")
def test_hinge_loss_has_no_calibration_and_one_class_has_no_curves(make_case: MakeCase) -> None:
    case = make_case("binary_classifier")
    hinge = replace(case.model, loss="hinge_loss")
    distances = replace(case.predictions, scores=case.predictions.scores - 0.4)
    assert set(with_rows(case, hinge, case.labels, distances).plots()) == PLOTS_OF_CLASSES - {"calibration"}
    ones = np.ones_like(case.labels)
    assert set(with_rows(case, case.model, ones, case.predictions).plots()) == PLOTS_OF_CLASSES - {
        "roc",
        "precision-recall",
    }


@pytest.mark.usefixtures("coarse_plots")
def test_many_classes_have_curves_but_no_confusion_matrix(make_case: MakeCase) -> None:
    assert set(make_case("multiclass_classifier", classes=21).plots()) == PLOTS_OF_CLASSES


def test_plots_are_reproducible_and_differ_between_models(make_case: MakeCase) -> None:
    case = make_case()
    flipped = replace(case, model=replace(case.model, weights=-case.model.weights))
    first, second, other = (one.plots()["effects"] for one in (case, case, flipped))
    assert first == second
    assert not np.array_equal(pixels(first), pixels(other))


@pytest.mark.usefixtures("coarse_plots")
def test_features_with_unknown_standard_deviation_have_no_bar(make_case: MakeCase) -> None:
    case = make_case()
    unknown = case.run.table.profile.model_copy(update={"columns": ()})
    table = case.run.table.model_copy(update={"profile": unknown})
    assert "effects" not in case.change(table=table).plots()


def test_lines_are_distinguished_without_colour() -> None:
    assert len({line["linestyle"] for line in LINES}) == len(LINES) == 5


def test_plotting_libraries_are_imported_only_when_drawing() -> None:
    script = "import sys, tasks.model_report.plots; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"matplotlib", "PIL", "sklearn"} & set(run.stdout.split())


@pytest.mark.usefixtures("coarse_plots")
def test_drawing_is_thread_safe(make_case: MakeCase) -> None:
    import matplotlib as mpl

    before = {name: mpl.rcParams[name] for name in STYLE}
    case = make_case(target="$x_1^{")
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: case.plots(), range(2))
    assert first == second
    assert {name: mpl.rcParams[name] for name in STYLE} == before
    assert "matplotlib.pyplot" not in sys.modules
