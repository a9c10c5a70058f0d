"""The command line of Linear Learner: train a job's folder, predict or serve, inspect a model, read logs."""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from linear_learner.errors import LinearLearnerError

if TYPE_CHECKING:
    from linear_learner.logs.reader import LogReport
    from linear_learner.model import LinearModel
    from linear_learner.schema import Schema

Coefficients = dict[str, float | dict[str, float]]

_JSON_DOCUMENT = re.compile(rb'\s*\{\s*"instances"')
_MODEL_HELP = "model.tar.gz, the folder that contains it, or model_algo-1"
_BROKEN_PIPE_EXIT_CODE = 128 + 13  # a shell's exit code for a process ended by SIGPIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; 2, with one sentence on stderr, for invalid input."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed the pipe; without a redirection Python prints an error when it flushes stdout at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE_EXIT_CODE
    except LinearLearnerError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    return code


def _refuse(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m linear_learner", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train the job in a folder, as SageMaker's container does")
    train.add_argument("base", type=Path, nargs="?", default=Path("/opt/ml"), help="contains input/; default /opt/ml")

    predict = commands.add_parser("predict", help="predict rows by column name; prints JSON lines")
    predict.add_argument("model", type=Path, help=_MODEL_HELP)
    predict.add_argument(
        "file",
        type=Path,
        nargs="?",
        help='CSV with a header, {"instances": [{"COLUMN": VALUE, …}, …]} or JSON lines of such objects; default stdin',
    )
    predict.add_argument(
        "--by-position",
        action="store_true",
        help="the rows are features without names, in the order of training: CSV without header and label, JSON, JSON "
        "lines or RecordIO; the default without a schema.json beside the model",
    )

    inspect = commands.add_parser("inspect", help="describe a model, largest coefficients first")
    inspect.add_argument("model", type=Path, help=_MODEL_HELP)
    inspect.add_argument("--json", action="store_true", help="print JSON")

    metrics = commands.add_parser("metrics", help="summarise a training job's log as JSON")
    metrics.add_argument("log", type=Path, help="log file from CloudWatch, a notebook or this program")

    compare = commands.add_parser("compare", help="compare two logs of the same training; exit code 1 if they differ")
    compare.add_argument("logs", type=Path, nargs=2, metavar="LOG")
    compare.add_argument("--tolerance", type=float, default=1e-4, help="largest relative difference; default 1e-4")

    serve = commands.add_parser("serve", help="answer HTTP requests with a model, as SageMaker's container does")
    _add_serve_arguments(serve)
    for command, run in zip((train, predict, inspect, metrics, compare, serve), _COMMANDS, strict=True):
        command.set_defaults(run=run)
    return parser


def _add_serve_arguments(serve: argparse.ArgumentParser) -> None:
    default = Path("/opt/ml/model")
    serve.add_argument("model", type=Path, nargs="?", default=default, help=f"{_MODEL_HELP}; default {default}")
    port = os.environ.get("SAGEMAKER_BIND_TO_PORT") or "8080"
    serve.add_argument("--port", type=int, default=port, help="default $SAGEMAKER_BIND_TO_PORT or 8080; 0: a free one")
    host = os.environ.get("LINEAR_LEARNER_HOST") or "127.0.0.1"
    serve.add_argument("--host", default=host, help="default $LINEAR_LEARNER_HOST or 127.0.0.1, this machine only")
    serve.add_argument("--workers", type=int, help="number of processes; default one for each processor, 1 for port 0")


# Commands import what they need, so that --help and usage errors are fast.
def _train(options: argparse.Namespace) -> int:
    from linear_learner.container import run

    if not options.base.is_dir():
        return _refuse(f"{options.base} is not a folder: give the folder that contains input/")
    return run(options.base, sys.stdout)


def _predict(options: argparse.Namespace) -> int:
    from linear_learner.predictor import find_model_file
    from linear_learner.schema import Schema

    path = find_model_file(options.model)
    has_schema = path.with_name(Schema.FILE_NAME).is_file()
    with options.file.open("rb") if options.file else contextlib.nullcontext(sys.stdin.buffer) as stream:
        if has_schema and not options.by_position:
            _predict_by_name(path, stream)
        else:
            reason = "as requested" if has_schema else f"as there is no {Schema.FILE_NAME} beside {path}"
            _predict_by_position(path, stream, reason)
    return 0


def _predict_by_name(path: Path, stream: BinaryIO) -> None:
    from linear_learner.formats.named_rows import read_named_rows
    from linear_learner.predictor import Predictor

    predictor = Predictor.read(path)
    needed = predictor.schema.feature_columns if predictor.schema else ()
    row = 1
    for rows in read_named_rows(stream, needed):
        outputs = predictor.predict(rows, row)
        values = zip(*(column.tolist() for column in outputs.values()), strict=True)
        _write("".join(json.dumps(dict(zip(outputs, one, strict=True))) + "\n" for one in values))
        row += len(rows)


def _predict_by_position(path: Path, stream: BinaryIO, reason: str) -> None:
    from linear_learner.formats.artifact import read_model
    from linear_learner.formats.inference import JSONLINES, parse_request, render_response

    model, body = read_model(path), stream.read()
    print(f"The rows are read by position, {reason}: features in the order of training.", file=sys.stderr)
    _write(render_response(model.predict(parse_request(body, _content_type(body))), JSONLINES).decode())


def _write(text: str) -> None:
    # In chunks: an unbuffered stdout may write a long text only in part, without an error.
    shutil.copyfileobj(io.StringIO(text), sys.stdout)


def _content_type(body: bytes) -> str:
    from linear_learner.formats.channels import CSV, RECORDIO
    from linear_learner.formats.inference import JSON, JSONLINES
    from linear_learner.formats.recordio_wire import MAGIC

    if body.startswith(MAGIC.to_bytes(4, "little")):
        return RECORDIO
    if _JSON_DOCUMENT.match(body):
        return JSON
    return JSONLINES if body.lstrip().startswith(b"{") else CSV


def _inspect(options: argparse.Namespace) -> int:
    from linear_learner.formats.artifact import read_model
    from linear_learner.predictor import find_model_file

    path = find_model_file(options.model)
    model = read_model(path)
    schema = _read_schema(path, len(model.weights))
    names = schema.features if schema else _feature_names(path, len(model.weights))
    model = dataclasses.replace(model, feature_names=names)
    coefficients = _group_coefficients(model, schema)
    properties = {
        "predictor_type": model.predictor_type,
        "loss": model.loss,
        "features": model.weights.shape[0],
        "outputs": model.weights.shape[1],
        "threshold": model.threshold,
        "bias": model.bias.tolist(),
    }
    if options.json:
        print(json.dumps(properties | {"coefficients": coefficients}, indent=2))
        return 0
    rows = [*properties.items(), *_coefficient_rows(coefficients)]
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:<{width}}  {value!s}" for name, value in rows))
    return 0


def _group_coefficients(model: "LinearModel", schema: "Schema | None") -> Coefficients:
    """The coefficients, the largest first; those of an encoded column of the table are together under its name."""
    named = model.coefficients()
    sources = schema.sources if schema else model.feature_names or tuple(named)
    outputs = model.weights.shape[1]
    columns: dict[str, dict[str, float]] = {}
    for index, (name, coefficient) in enumerate(named.items()):
        columns.setdefault(sources[index // outputs] if schema else name, {})[name] = coefficient
    ordered = sorted(columns.items(), key=lambda item: -max(map(abs, item[1].values())))
    found: Coefficients = {}
    for column, group in ordered:
        ranked = dict(sorted(group.items(), key=lambda item: -abs(item[1])))
        if len(ranked) == 1 and column in ranked:
            found[column] = ranked[column]
        else:
            found[column] = ranked
    return found


def _coefficient_rows(coefficients: Coefficients) -> Iterator[tuple[str, object]]:
    for name, found in coefficients.items():
        if isinstance(found, float):
            yield name, f"{found:.6g}"
            continue
        yield name, ""
        yield from ((f"  {feature}", f"{coefficient:.6g}") for feature, coefficient in found.items())


def _read_schema(model: Path, features: int) -> "Schema | None":
    """The schema.json beside the model; None if it is missing, invalid, or has another number of features."""
    from linear_learner.schema import Schema

    path = model.parent / Schema.FILE_NAME
    try:
        schema = Schema.parse(path.read_bytes(), str(path))
    except (OSError, LinearLearnerError):
        return None
    return schema if len(schema.features) == features else None


def _feature_names(model: Path, features: int) -> tuple[str, ...] | None:
    """The feature names in run.json beside the model; None if it is missing or does not match the model."""
    try:
        names = json.loads((model.parent / "run.json").read_bytes())["features"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if is_list and len(set(names)) == len(names) == features else None


def _metrics(options: argparse.Namespace) -> int:
    print(_read_log(options.log).model_dump_json(indent=2))
    return 0


def _compare(options: argparse.Namespace) -> int:
    from linear_learner.logs.comparison import compare_logs

    comparison = compare_logs(*map(_read_log, options.logs))
    equal = comparison.is_equal(options.tolerance)
    print(f"{comparison}\n\nThe logs are {'equal' if equal else 'not equal'} within {options.tolerance:g}.")
    return 0 if equal else 1


def _read_log(path: Path) -> "LogReport":
    from linear_learner.logs.reader import LogReader

    with path.open(encoding="utf-8", errors="replace") as lines:
        return LogReader.read(lines)


def _serve(options: argparse.Namespace) -> int:
    try:
        from linear_learner.serving.server import serve
    except ModuleNotFoundError as error:
        return _refuse(f"{error.name} is not installed: run `pip install 'train-linear-learner[serve]'`")
    workers = options.workers
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if options.port else 1
    return serve(options.model, options.host, options.port, max(1, workers))


_COMMANDS = (_train, _predict, _inspect, _metrics, _compare, _serve)


if __name__ == "__main__":
    sys.exit(main())
