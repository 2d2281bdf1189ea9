"""What came of a search: the table and the picture of its trials, and the command for the best."""

from __future__ import annotations

import csv
import io
import shlex
from pathlib import Path
from typing import Any

from selfsort import pictures, recipes
from selfsort.checkpoints import write_text
from selfsort.runs.callbacks import Row
from selfsort.runs.request import Request

RECIPE = "joint"
TRIALS, TABLE, PICTURE = FILES = ("trials.csv", "sweep.md", "trials.png")
COLUMNS = (
    "trial",
    "state",
    "multiplier",
    "learning_rate",
    "accuracy",
    "reconstruction_mse",
    "epochs",
)


def done(study: Any) -> list[Any]:
    """Return the trials that came to an end of their own."""
    from optuna.trial import TrialState

    return list(study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED]))


def parameters_of(proposed: dict[str, float]) -> dict[str, float]:
    """Return the estimator's parameters for a trial's.

    Examples
    --------
    >>> parameters_of({"multiplier": 0.5, "learning_rate": 0.01})["classification_weight"]
    0.5
    """
    weights = recipes.multiplier_parameters(proposed["multiplier"])
    return {**weights, "learning_rate": proposed["learning_rate"]}


def write(folder: Path, request: Request, trials: list[Any]) -> None:
    """Write table and picture of the trials."""
    rows = [_row(trial) for trial in trials]
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / TRIALS, buffer.getvalue())
    complete = [row for row in rows if row["state"] == "complete"]
    write_text(folder / TABLE, _table(request, rows, complete))
    pictures.save_trials(folder / PICTURE, rows)


def _row(trial: Any) -> Row:
    reported = trial.intermediate_values
    complete = trial.state.name == "COMPLETE"
    return {
        "trial": trial.number,
        "state": "complete" if complete else "given up",
        "multiplier": trial.params["multiplier"],
        "learning_rate": trial.params["learning_rate"],
        "accuracy": trial.value if complete else reported[max(reported)] if reported else None,
        "reconstruction_mse": trial.user_attrs.get("reconstruction_mse"),
        "epochs": trial.user_attrs.get("epochs"),
    }


def _table(request: Request, rows: list[Row], complete: list[Row]) -> str:
    """Return the trials in Markdown, the best first, and the command for the best."""
    lines = [
        f"{len(rows)} trials of '{RECIPE}', {len(complete)} of them to the end; accuracy on a "
        "fifth of the labelled training images, held out. No test image was looked at.",
        "",
        "| trial | multiplier | learning rate | accuracy | MSE | epochs | |",
        "|---|---|---|---|---|---|---|",
    ]
    best_first = sorted(rows, key=lambda row: (row["state"] != "complete", -(row["accuracy"] or 0)))
    for row in best_first:
        accuracy, error = row["accuracy"], row["reconstruction_mse"]
        lines.append(
            f"| {row['trial']} | {row['multiplier']:.3f} | {row['learning_rate']:.4g} | "
            f"{'–' if accuracy is None else f'{100 * accuracy:.2f} %'} | "
            f"{'–' if error is None else f'{error:.4f}'} | {row['epochs'] or '–'} | "
            f"{'' if row['state'] == 'complete' else 'given up'} |"
        )
    if complete:
        command = shlex.join(command_of(request, best_first[0]))
        lines += ["", "To train with the best, on all training images:", "", f"    {command}"]
    return "\n".join(lines) + "\n"


def command_of(request: Request, row: Row) -> list[str]:
    """Return the words of the command that trains with a trial's multipliers."""
    words = ["selfsort", "train", request.data, "--recipe", RECIPE, "--seed", str(request.seed)]
    options = {"--labels": request.labels, "--epochs": request.epochs, "--size": request.size}
    for option, value in options.items():
        words += [] if value is None else [option, str(value)]
    for name, number in parameters_of(row).items():
        words += ["--set", f"{name}={number!r}"]
    return words
