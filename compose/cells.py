"""Commands for the space of cells: embed stored cells again, fit the map anew, translate between encoders."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

console = Console()
cells_app = typer.Typer(no_args_is_help=True)

Tables = Annotated[
    Path, typer.Argument(help="Folder of tables of cells (*_cells.parquet), at any depth", exists=True, file_okay=False)
]
Model = Annotated[
    Path | None, typer.Option("--model", help="Folder of an encoder (default: the one that ships)", exists=True)
]


@contextmanager
def _explained() -> Iterator[None]:
    """What is wrong with files becomes a line in red, not a stack of calls."""
    from pipelines.backends.errors import BackendError

    try:
        yield
    except ImportError as error:
        console.print(f"[red]{error}; install the training packages: pip install 'cytobus[train]'[/red]")
        raise typer.Exit(1) from None
    except (ValueError, OSError, BackendError) as error:
        console.print(f"[red]{error}[/red]", soft_wrap=True)
        raise typer.Exit(1) from None


@cells_app.command("re-embed")
def re_embed(
    folder: Tables,
    out: Annotated[Path, typer.Option(help="Where the new tables go, in the same folders as the old")],
    model: Model = None,
) -> None:
    """Embed the cells of stored tables by another encoder, from the crops in them. Can be interrupted."""
    with _explained():
        from pipelines.embedding.again import embed_again, tables
        from pipelines.embedding.atlas import Atlas, has_map
        from pipelines.embedding.model import Encoder, shipped
        from pipelines.nuclei.model import ModelFolder

        own = ModelFolder(model) if model else shipped()
        atlas = Atlas(own) if has_map(own) else None
        cells, failed = 0, 0
        with Progress(console=console) as progress:
            bar = progress.add_task("tables", total=len(tables(folder)))
            for done in embed_again(folder, out, Encoder(own), atlas):
                cells += done.cells
                failed += bool(done.trouble)
                if done.trouble:
                    progress.console.print(f"[yellow]{done.table}: {done.trouble}[/yellow]", soft_wrap=True)
                progress.update(bar, advance=1, description=f"{cells:,} cells")
    console.print(f"{cells:,} cells embedded by version {own.metadata['version']}; {failed} tables left out")
    if failed:
        raise typer.Exit(1)


@cells_app.command("drift")
def drift(folder: Tables, model: Model = None) -> None:
    """Say whether the cells of stored tables still fall on the map: exit code 3 where it is time to fit it anew."""
    with _explained():
        from pipelines.embedding.again import novelties
        from pipelines.embedding.atlas import Atlas
        from pipelines.embedding.drift import Watch, verdict, watched
        from pipelines.embedding.model import shipped
        from pipelines.nuclei.model import ModelFolder

        own = ModelFolder(model) if model else shipped()
        reach, watch = Atlas(own).reach, Watch()
        for found in novelties(folder, own.sha256):
            watch = watched(watch, found, reach)
    told = verdict(watch, reach)
    surely = f"at least {told.at_least:.1%}; {reach.expected:.1%} expected"
    console.print(f"{told.share:.1%} of the cells lie off the map ({surely})")
    if told.drifted:
        console.print("[yellow]The map no longer fits: cytobus cells refit[/yellow]")
        raise typer.Exit(3)


@cells_app.command("refit")
def refit(
    folder: Tables,
    out: Annotated[Path, typer.Option(help="Where the encoder with its new map goes; its name becomes the version")],
    model: Model = None,
    most: Annotated[int, typer.Option(min=100, help="New cells taken for the map at most, at random")] = 20_000,
) -> None:
    """Fit the map anew with the cells of stored tables, laid over the old map. The result is uploaded as any model."""
    with _explained():
        from pipelines.embedding.model import shipped
        from pipelines.nuclei.model import ModelFolder
        from pipelines.training.cells.refit import refit

        figures = refit(folder, ModelFolder(model) if model else shipped(), out, most)
    console.print_json(json.dumps(figures))
    console.print(f"model: {out}")


@cells_app.command("translate")
def translate(
    folder: Tables,
    old: Annotated[Path, typer.Option(help="Folder of the old encoder", exists=True)],
    new: Annotated[Path, typer.Option(help="Folder of the new encoder", exists=True)],
    out: Annotated[Path, typer.Option(help="Where the translation goes")],
    most: Annotated[int, typer.Option(min=500, help="Cells embedded by both at most, at random")] = 10_000,
) -> None:
    """Learn the way from an old encoder's vectors to a new one's, and say whether it will do."""
    with _explained():
        from pipelines.nuclei.model import ModelFolder
        from pipelines.training.cells.refit import learn_translation

        figures = learn_translation(folder, ModelFolder(old), ModelFolder(new), out, most)
    console.print_json(json.dumps(figures))
    if figures["embed_again"]:
        console.print("[yellow]Too little is kept: embed the cells again (cytobus cells re-embed).[/yellow]")
