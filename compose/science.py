"""Commands for those who make models: train, evaluate, build, package."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

console = Console()
train_app = typer.Typer(no_args_is_help=True)
evaluate_app = typer.Typer(no_args_is_help=True)
package_app = typer.Typer(no_args_is_help=True)
build_app = typer.Typer(no_args_is_help=True)

Images = Annotated[
    Path, typer.Option("--data", help="Folder with index.csv, images/ and labels/", exists=True, file_okay=False)
]
TRAINING = "; install the training packages: pip install 'cytobus[train]'"


@contextmanager
def _said(*errors: type[Exception], remedy: str = "") -> Iterator[None]:
    """What goes wrong is said in its own words, with the remedy where those have none, and the command fails."""
    try:
        yield
    except errors as error:
        console.print(f"[red]{escape(f'{error}{remedy}')}[/red]", soft_wrap=True)
        raise typer.Exit(1) from None


@train_app.callback()
def _train() -> None:
    """Train a model from images with ground truth."""


@evaluate_app.callback()
def _evaluate() -> None:
    """Measure a model on images with ground truth."""


@package_app.callback()
def _package() -> None:
    """Pack a pipeline's model for servers."""


@package_app.command("bento")
def package_bento(
    pipeline: Annotated[str, typer.Argument(help="nuclei")],
    out: Annotated[Path, typer.Option(help="A folder of its own is made in this one")] = Path(),
    bentoml: Annotated[
        Path | None, typer.Option(help="The command bentoml of another environment than this one")
    ] = None,
) -> None:
    """Build a bento: code and model in one folder, for ``bentoml serve FOLDER``; without the network."""
    from pipelines.model_folder import BrokenModel
    from pipelines.nuclei.package import NotPacked, bento

    if pipeline != "nuclei":
        raise typer.BadParameter(f"{pipeline!r} has no model; nuclei has", param_hint="PIPELINE")
    with _said(NotPacked, BrokenModel, OSError):
        folder = bento(out, bentoml)
    console.print(f"bento: {folder}", soft_wrap=True)


@build_app.callback()
def _build() -> None:
    """Make of a trained model what runs, once."""


@train_app.command("nuclei")
def train_nuclei(
    data: Images,
    out: Annotated[Path, typer.Option(help="Where checkpoints and the exported model go")] = Path("nuclei-model"),
    network: Annotated[str, typer.Option(help="dense-unet or m2unet")] = "dense-unet",
    epochs: Annotated[int, typer.Option(min=1)] = 60,
    seed: int = 7,
    rate: Annotated[float, typer.Option(min=0, help="Highest learning rate")] = 4e-3,
    start: Annotated[Path | None, typer.Option(help="Checkpoint whose averaged weights are the first ones")] = None,
    threads: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Train, export to ONNX and OpenVINO, quantise to INT8, and evaluate on the validation split."""
    with _said(ImportError, remedy=TRAINING):
        from pipelines.training.export import export
        from pipelines.training.train import train
    from pipelines.model_folder import ModelFolder
    from pipelines.training.evaluate import evaluate, table

    with _said(ValueError, OSError):
        checkpoint = train(data, out, network, epochs, seed, rate, start, threads)
        folder = export(checkpoint, out / "model", data)
        report = evaluate(data, "val", folder=ModelFolder(folder))
    console.print(table(report))
    console.print(f"model: {folder}")


Cells = Annotated[
    Path, typer.Option("--data", help="Folder with cells.csv and the sets that it names", exists=True, file_okay=False)
]


@train_app.command("bloodcells")
def train_bloodcells(
    data: Cells,
    out: Annotated[Path, typer.Option(help="Where crops, checkpoint and the exported model go")] = Path("bloodcells"),
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    seed: int = 7,
    version: Annotated[str, typer.Option(help="Names the exported model's folder")] = "1",
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Train the classifier of single blood cells, export it in FP32 and INT8, and write its card."""
    with _said(ImportError, remedy=TRAINING):
        from pipelines.training.bloodcells.export import export
        from pipelines.training.bloodcells.train import Plan, train
    with _said(ValueError, OSError):
        folder = export(train(data, out, Plan(epochs=epochs, seed=seed), threads), out / version, data)
    console.print(f"model: {folder}; its figures: {folder / 'CARD.md'}")


@evaluate_app.command("bloodcells")
def evaluate_bloodcells(
    data: Cells,
    split: Annotated[str, typer.Option(help="train, val or test")] = "test",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here")] = None,
    model: Annotated[Path | None, typer.Option(help="Folder of another model than the shipped one")] = None,
) -> None:
    """Accuracy and F1 by class, of FP32 and INT8."""
    from pipelines.model_folder import BrokenModel, ModelFolder
    from pipelines.training.bloodcells.evaluate import evaluate, rounded

    with _said(ValueError, OSError, BrokenModel):
        report = rounded(evaluate(data, split, ModelFolder(model) if model else None))
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=2) + "\n")
    console.print_json(data=report)


@evaluate_app.command("nuclei")
def evaluate_nuclei(
    data: Images,
    split: Annotated[str, typer.Option(help="A split named in index.csv")] = "test",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here too")] = None,
    model: Annotated[Path | None, typer.Option(help="Folder of another model than the shipped one")] = None,
) -> None:
    """F1 at IoU 0.5, AP at IoU 0.5 to 0.9 and count error of FP32 and INT8, by group."""
    from pipelines.model_folder import BrokenModel, ModelFolder
    from pipelines.training.evaluate import evaluate, table

    with _said(ValueError, OSError, BrokenModel):
        report = evaluate(data, split, json_file=json_file, folder=ModelFolder(model) if model else None)
    Console(width=max(console.width, 130)).print(table(report))


Sets = Annotated[
    Path, typer.Option("--data", help="Folder of bloodcells/, dsb2018/ and brightfield/", exists=True, file_okay=False)
]


@train_app.command("cells")
def train_cells(
    data: Sets,
    out: Annotated[Path, typer.Option(help="Where crops, checkpoints and the encoder go")] = Path("cells-model"),
    objective: Annotated[str, typer.Option(help="supervised, or vicreg, which looks at no labels")] = "supervised",
    network: Annotated[str, typer.Option(help="resnet or convnext")] = "resnet",
    epochs: Annotated[int, typer.Option(min=1)] = 16,
    steps: Annotated[int, typer.Option(min=1, help="Batches in an epoch")] = 200,
    seed: int = 7,
    batch: Annotated[int, typer.Option(min=2)] = 64,
    rate: Annotated[float, typer.Option(min=0, help="Highest learning rate")] = 3e-3,
    start: Annotated[Path | None, typer.Option(help="Checkpoint whose averaged weights are the first ones")] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Train an encoder of cells, export it to OpenVINO, judge it, and fit its map."""
    try:
        from pipelines.training.cells.build import build
        from pipelines.training.cells.train import Plan
    except ImportError as error:
        console.print(f"[red]{error}; install the training packages: pip install 'cytobus[train]'[/red]")
        raise typer.Exit(1) from None
    command = (
        f"`cytobus train cells --objective {objective} --network {network} --epochs {epochs} --steps {steps} "
        f"--batch {batch} --rate {rate:g} --seed {seed}`"
    )
    try:
        plan = Plan(objective, network, epochs, seed, batch, steps, rate)
        folder = build(data, out, plan, command, threads, console.print, start)
    except (ValueError, OSError) as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(1) from None
    console.print(f"model: {folder}")


@evaluate_app.command("cells")
def evaluate_cells(
    data: Sets,
    split: Annotated[str, typer.Option(help="train, val or test")] = "test",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here too")] = None,
    model: Annotated[Path | None, typer.Option(help="Folder of another encoder than the shipped one")] = None,
) -> None:
    """Accuracy of classes, k-NN accuracy and retrieval of an encoder of cells."""
    from pipelines.backends.errors import BackendError
    from pipelines.embedding.model import Encoder
    from pipelines.nuclei.model import ModelFolder
    from pipelines.training.cells.card import markdown
    from pipelines.training.cells.data import collected
    from pipelines.training.cells.evaluate import evaluate

    try:
        report = evaluate(collected(data), Encoder(ModelFolder(model) if model else None), split)
    except (ValueError, OSError, BackendError) as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(1) from None
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    Console(width=max(console.width, 130)).print(markdown(report))


@build_app.command("nuclei")
def build_nuclei(
    data: Images,
    to: Annotated[list[str], typer.Option(help="What to build: openvino-int8, onnx-int8, tensorrt-int8 … (several)")],
    out: Annotated[Path, typer.Option(help="Model repository, as OpenVINO Model Server and Triton read it")] = Path(
        "models"
    ),
    model: Annotated[Path | None, typer.Option(help="Folder of another model than the shipped one")] = None,
    limit: Annotated[float, typer.Option(min=0, max=1, help="Loss of F1 to FP32, as a share; more is refused")] = 0.001,
    number: Annotated[int, typer.Option("--model-version", min=0, help="Of what is built; 0: the next")] = 0,
    calibration: Annotated[
        int, typer.Option(min=1, help="Crops of the training split that ranges are read from")
    ] = 192,
    seed: int = 10,
    split: Annotated[str, typer.Option(help="Judged by; layers are chosen on val")] = "test",
    engine: Annotated[bool, typer.Option("--engine/--without-engine", help="Compile for this machine's GPU")] = True,
    compare: Annotated[bool, typer.Option(help="With other libraries, and speeds")] = True,
    compile_seconds: Annotated[float, typer.Option(min=0, help="For torch.compile; 0: leave it out")] = 300,
    threads: Annotated[int, typer.Option(min=1, help="That speeds are measured with")] = 2,
    images: Annotated[int, typer.Option(min=0, help="Judge by so many of a split only; 0: by all")] = 0,
    report: Annotated[Path | None, typer.Option(help="Write the figures here, as JSON")] = None,
    card: Annotated[Path | None, typer.Option(help="Write the table into this card")] = None,
    package: Annotated[Path | None, typer.Option(help="Write a package for the page of pipelines here (.zip)")] = None,
) -> None:
    """PyTorch to ONNX to each target; in INT8 calibrated on real images, layers that cost accuracy in FP32, then
    judged on images that chose nothing. What loses more than the limit is not published, and the command fails."""
    with _said(ImportError, remedy=TRAINING):
        from pipelines.build import reported
    order = reported.Order(limit=limit, calibration=calibration, seed=seed, engine=engine)
    plan = reported.Plan(threads=threads, streams=threads)
    contest = reported.Contest(split, plan, compile_seconds, compare)
    wanted = reported.Wanted(tuple(to), out, number, report, card, package)
    with _said(*reported.FAILURES):
        outcome = reported.built(model, data, wanted, order, contest, images or None, console.print)
    Console(width=max(console.width, 150)).print(outcome.report.table())
    for name, folder in outcome.folders.items():
        console.print(f"{name}: {folder}", soft_wrap=True)
    for why in outcome.refused.values():
        console.print(f"[red]{escape(str(why))}[/red]", soft_wrap=True)
    if outcome.refused:
        raise typer.Exit(1)
