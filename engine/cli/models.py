"""Commands on artifacts: train, probe, and the group `models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli import deployment, options
from engine.cli.options import configured, overriding

if TYPE_CHECKING:
    from engine.artifacts import Difference, Found
    from engine.config import Config
    from engine.reports.probe_page import Probe


@click.command()
@click.option(
    "--teacher",
    metavar="MODEL",
    help="smollm2, a folder, a GGUF file or a name on the hub; or a control: labels, one-student, kd, fitnets, "
    "random, no-body.  [train.teacher.model]",
)
@click.option("--instrument", "instruments", multiple=True, help="Instrument to train on; several are allowed.")
@click.option("--train", "train_dates", help="Training days: a,b or a..b.")
@click.option("--valid", "valid_dates", help="Later days that choose epochs and judge the probe [end of --train].")
@click.option("--calibrate", "calibrate_dates", help="Later days that fit the fusion of the students [end of --train].")
@click.option("--test", "test_dates", help="Later days, used once, for the model card.")
@click.option("--folds", type=click.IntRange(min=1), default=1, help="Walk forward over --train; keep the last fold.")
@overriding("--groups", "train.probe.groups")
@click.option("--quick", is_flag=True, help="All stages on the simulated market, with few windows.")
@options.as_json
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the artifact.")
@configured
def train(
    config: Config,
    teacher: str | None,
    instruments: tuple[str, ...],
    train_dates: str | None,
    valid_dates: str | None,
    calibrate_dates: str | None,
    test_dates: str | None,
    folds: int,
    quick: bool,
    as_json: bool,
    out: Path,
) -> None:
    """Distil a language model into an ensemble and write it as an artifact.

    The same command continues a training that was killed.
    """
    from engine.cli import console
    from engine.training.request import Request
    from engine.training.train import train_artifact

    request = Request(
        out=out,
        teacher=teacher,
        instruments=[name for text in instruments for name in text.split(",")],
        dates={"train": train_dates, "valid": valid_dates, "calibrate": calibrate_dates, "test": test_dates},
        folds=folds,
        quick=quick,
    )
    manifest = train_artifact(config, request, console.PROGRESS)
    summary = {"artifact": str(out), "hash": manifest.hash, **manifest.summary}
    console.emit(summary, as_json, lambda: _show_card(out, manifest.hash))


@click.command()
@click.argument("folder", metavar="ARTIFACT", type=click.Path(path_type=Path))
@options.as_json
def probe(folder: Path, as_json: bool) -> None:
    """Show what the layers of an artifact's teacher know; writes probe.html and probe.png into it."""
    from engine.cli import console
    from engine.reports.probe_page import show_probe

    found = show_probe(folder)
    pages = {"page": str(found.page), "pictures": [str(path) for path in found.pictures]}
    console.emit(found.measured | pages, as_json, lambda: _show_probe(folder, found))


def _show_probe(folder: Path, found: Probe) -> None:
    from engine.cli import console
    from engine.reports.probe_page import CONTROLS, claims

    rows: list[list[object]] = []
    for cell in found.measured["cells"]:
        best = [cell["best"], cell["response"][0], *(cell["controls"].get(name) for name in CONTROLS)]
        rows.append([cell["regime"], cell["task"], str(cell["peak_layer"]), *best, cell["snr"], *claims(cell)])
    columns = ["regime", "task", "best layer", "response", "embedding", *CONTROLS, "SNR", "shares of groups", "P(win)"]
    groups = ", ".join(f"{a}–{b}" for a, b in found.measured["groups"])
    console.show_table(f"probe {folder}: layer groups {groups}", columns, rows)
    console.say(f"page {found.page}")


@click.group()
def models() -> None:
    """Artifacts: list, show, verify, compare; shadow, promote, rollback in a running trader."""


for _command in (deployment.shadow, deployment.promote, deployment.rollback):
    models.add_command(_command)


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@configured
def models_list(config: Config, as_json: bool) -> None:
    """List the artifacts under the runs folder, and the shipped one."""
    from engine.artifacts import list_artifacts
    from engine.cli import console

    found = [_brief(one) for one in list_artifacts(config)]
    console.emit(found, as_json, lambda: _show_list(found))


def _brief(one: Found) -> dict[str, Any]:
    from models.features.scores import METRICS

    m = one.manifest
    if m is None:
        return {"path": str(one.path), "error": one.error}
    return {
        "path": str(one.path),
        "name": m.name,
        "hash": m.hash,
        "kind": m.kind,
        "teacher": m.teacher,
        "instruments": m.instruments,
        "last_day": max(m.seen, default=None),
        **{name: m.summary.get(name) for name in ("reported_on", "gate_passed", *METRICS)},
    }


def _show_list(found: list[dict[str, Any]]) -> None:
    from engine.cli import console

    rows = [
        [m["path"], m.get("hash", "–"), m.get("kind", m.get("error")), ", ".join(m.get("instruments", [])),
         m.get("last_day", "–"), m.get("ic_mid"), "passed" if m.get("gate_passed") else "not passed"]
        for m in found
    ]  # fmt: skip
    columns = ["artifact", "hash", "kind", "instruments", "trained to", "IC mid", "gate"]
    console.show_table("artifacts", columns, rows)


@models.command("show")
@click.argument("folder", metavar="ARTIFACT", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print splits and all metrics as JSON.")
def models_show(folder: Path, as_json: bool) -> None:
    """Print the model card."""
    import msgspec

    from engine.artifacts import Found
    from engine.cli import console
    from models.ensemble import artifact

    manifest = artifact.read(folder)
    metrics = msgspec.json.decode((folder / artifact.METRICS).read_bytes())
    found = _brief(Found(folder, manifest)) | {"splits": manifest.splits, "metrics": metrics}
    console.emit(found, as_json, lambda: _show_card(folder, manifest.hash))


def _show_card(folder: Path, identity: str) -> None:
    from models.ensemble import artifact

    click.echo((folder / artifact.CARD).read_text())
    click.echo(f"artifact {folder}, hash {identity}")


@models.command("verify")
@click.argument("folder", metavar="ARTIFACT", type=click.Path(path_type=Path))
def models_verify(folder: Path) -> None:
    """Check file hashes, feature specification and expected output, and that the graph answers."""
    from engine.artifacts import verify_artifact

    done = verify_artifact(folder)
    files = ", ".join(sorted(done.manifest.files))
    click.echo(
        f"{folder}: sound; hash {done.manifest.hash}; {files}; output as expected; {done.trials} random inputs finite"
    )


@models.command("diff")
@click.argument("one", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models_diff(one: Path, other: Path, as_json: bool) -> None:
    """Compare two artifacts: settings, data, metrics and forecasts."""
    from engine.artifacts import compare_artifacts
    from engine.cli import console

    found = compare_artifacts(one, other)
    console.emit(found, as_json, lambda: _show_difference(one, other, found))


def _show_difference(one: Path, other: Path, found: Difference) -> None:
    from engine.cli import console
    from models.ensemble import artifact

    if found.same:
        click.echo(f"{one} and {other} are the same artifact ({artifact.read(one).hash})")
        return
    rows = [[key, _short(was), _short(now)] for key, (was, now) in found.changed.items()]
    console.show_table("differences", ["", str(one), str(other)], rows)
    if found.forecasts is None:
        click.echo("their features are computed differently: forecasts cannot be compared")
        return
    agreement = ", ".join(f"{name} {value:.3f}" for name, value in found.forecasts.items())
    click.echo(f"correlation of their forecasts on the same random inputs: {agreement}")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"
