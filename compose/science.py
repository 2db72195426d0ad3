"""Commands for those who make models: train, evaluate."""

import typer

train_app = typer.Typer(no_args_is_help=True)
evaluate_app = typer.Typer(no_args_is_help=True)
