"""Plots are small, sharp PNGs of whatever there is to show, and no name makes them fail or warn."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from linear_learner.logs.training_summary import EpochPoint
from linear_learner.model import PredictorType
from tasks.evaluation.results import Curve, Density
from tasks.model_report.context import ReportContext
from tasks.model_report.plots import draw_plots, to_data_urls
from tasks.model_report.style import CAPTIONS, line_styles, plain_text

MakeContext = Callable[..., ReportContext]
OF_CLASSES = {"learning-curve", "roc", "precision-recall", "calibration", "effects"}
OF_KIND: dict[PredictorType, set[str]] = {
    "regressor": {"learning-curve", "predicted-and-actual", "residuals", "effects"},
    "binary_classifier": OF_CLASSES,
    "multiclass_classifier": {*OF_CLASSES, "confusion"},
}
MAX_CHARACTERS = 300_000


def pixels(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("kind", OF_KIND)
def test_each_type_has_its_plots_as_captioned_pngs(context_of: MakeContext, kind: PredictorType) -> None:
    plots = draw_plots(context_of(kind))
    assert set(plots) == OF_KIND[kind]
    assert set(plots) <= set(CAPTIONS)
    for png in plots.values():
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        image = pixels(png)
        assert image.shape[1] == 1280
        assert (image.min() < 80, image.max() > 240) == (True, True)  # dark ink on a light card
    assert sum(map(len, to_data_urls(plots).values())) < 200_000


def test_a_plot_is_a_data_url_of_a_png() -> None:
    assert to_data_urls({"roc": b"\x89PNG"}) == {"roc": "data:image/png;base64,iVBORw=="}


def test_the_largest_reports_stay_small(context_of: MakeContext) -> None:
    regression = context_of()
    assert regression.evaluation.regression is not None
    noise = np.random.default_rng(0).integers(0, 10**6, (80, 80))
    density = Density(edges=tuple(range(81)), counts=tuple(map(tuple, noise.tolist())))
    picture = regression.evaluation.regression.model_copy(update={"density": density})
    evaluation = regression.evaluation.model_copy(update={"regression": picture})
    names = tuple(f"{index} {'wide_name' * 9}" for index in range(40))
    largest = (
        replace(regression, evaluation=evaluation),
        context_of("binary_classifier", names=names),
        context_of("multiclass_classifier", names=names, classes=20),
    )
    for context in largest:
        assert sum(map(len, to_data_urls(draw_plots(context)).values())) < MAX_CHARACTERS


@pytest.mark.parametrize("kind", OF_KIND)
def test_no_name_makes_a_plot_fail_or_warn(context_of: MakeContext, kind: PredictorType) -> None:
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
    for target in ("$راتب 🦆$_1^{", "x_" * 500):
        assert set(draw_plots(context_of(kind, names=names, target=target))) == OF_KIND[kind]


def test_text_that_is_plain_is_one_short_line_without_formulas() -> None:
    assert plain_text("a\nb") == "a b"
    assert plain_text("$5 to $6") == r"\$5 to \$6"
    assert plain_text("x" * 100, 10) == "x" * 9 + "…"
    assert plain_text("pay 🦆") == "pay □"
    assert plain_text("\n") == "(no name)"
    assert plain_text("Größe_in_µm") == "Größe_in_µm"


def test_without_a_log_there_is_no_learning_curve(context_of: MakeContext) -> None:
    assert "learning-curve" not in draw_plots(context_of(summary=None))
    summary = context_of().summary
    assert summary is not None
    assert "learning-curve" not in draw_plots(context_of(summary=summary.model_copy(update={"curve": ()})))


@pytest.mark.parametrize("epochs", [1, 200])
def test_any_number_of_epochs_is_a_learning_curve(context_of: MakeContext, epochs: int) -> None:
    summary = context_of().summary
    assert summary is not None
    curve = tuple(EpochPoint(index=n, criterion=None, train=10.0**-n, validation=None) for n in range(epochs))
    assert "learning-curve" in draw_plots(
        context_of(summary=summary.model_copy(update={"curve": curve, "saved_epoch": None}))
    )


def test_curves_that_an_evaluation_lacks_are_not_drawn(context_of: MakeContext) -> None:
    context = context_of("binary_classifier")
    picture = context.evaluation.classification
    assert picture is not None
    lacking = picture.model_copy(update={"curves": (), "calibration": None, "confusion": None})
    evaluation = context.evaluation.model_copy(update={"classification": lacking})
    assert set(draw_plots(replace(context, evaluation=evaluation))) == {"learning-curve", "effects"}


def test_figures_that_are_not_defined_do_not_stop_the_plots(context_of: MakeContext) -> None:
    for kind, expected in OF_KIND.items():
        context = context_of(kind)
        none = {"value": None, "low": None, "high": None, "baseline": None, "champion": None}
        metrics = tuple(metric.model_copy(update=none) for metric in context.evaluation.metrics)
        classes = tuple(one.model_copy(update={"roc_auc": None}) for one in context.evaluation.classes)
        changed = context.evaluation.model_copy(update={"metrics": metrics, "classes": classes})
        assert set(draw_plots(replace(context, evaluation=changed))) == expected


def test_an_empty_density_and_calibration_are_drawn(context_of: MakeContext) -> None:
    regression, binary = context_of(), context_of("binary_classifier")
    assert regression.evaluation.regression is not None
    assert binary.evaluation.classification is not None
    nothing = Density(edges=(0.0, 1.0), counts=((0,),))
    picture = regression.evaluation.regression.model_copy(update={"density": nothing, "residual_quantiles": {}})
    changed = regression.evaluation.model_copy(update={"regression": picture})
    assert "predicted-and-actual" in draw_plots(replace(regression, evaluation=changed))
    curves = binary.evaluation.classification.model_copy(update={"calibration": Curve(x=(), y=())})
    changed = binary.evaluation.model_copy(update={"classification": curves})
    assert "calibration" in draw_plots(replace(binary, evaluation=changed))


def test_a_different_model_is_a_different_picture(context_of: MakeContext) -> None:
    context = context_of()
    flipped = replace(context, model=replace(context.model, weights=-context.model.weights))
    once, again, other = (draw_plots(one)["effects"] for one in (context, context, flipped))
    assert once == again
    assert not np.array_equal(pixels(once), pixels(other))


def test_features_of_unknown_spread_have_no_bar(context_of: MakeContext) -> None:
    context = context_of()
    bare = context.profile.model_copy(update={"columns": ()})
    assert "effects" not in draw_plots(replace(context, profile=bare))


def test_lines_are_distinguished_without_colour() -> None:
    looks = [(style.linestyle, style.marker) for style in line_styles(20)]
    assert len(set(looks)) == 20


def test_plotting_is_imported_when_something_is_drawn_and_never_opens_a_window() -> None:
    script = "import sys, tasks.model_report.plots; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"matplotlib", "PIL"} & set(run.stdout.split())


def test_drawing_shares_nothing_with_other_threads(context_of: MakeContext) -> None:
    draw_plots(context_of())
    assert "matplotlib.pyplot" not in sys.modules
