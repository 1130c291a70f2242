# SPDX-License-Identifier: Apache-2.0
"""The protocols of an Engram experiment, a row each: launch/engram_table.py OUT [--markdown].

Reads OUT/*/engram.h5 and the run that each belongs to (run/run.h5, or run.h5 beside it)."""

import argparse
import math
import pathlib
import tomllib

import h5py

HEADINGS = ["protocol", "examples", "epochs", "seconds", "first loss", "last loss", "base", "tuned", "p", "tuned, trained on",
            "ms mean", "median", "p95", "prefill", "decode"]  # fmt: skip


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def percent(score):
    return f"{score['right']}/{score['of']} = {100 * score['share']:.1f} % [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"


def mcnemar(examples):
    """Exact two-sided p of as many changes one way, were both ways as likely."""
    gained = int(((examples["base_prefix"] == 0) & (examples["tuned_prefix"] == 1)).sum())
    lost = int(((examples["base_prefix"] == 1) & (examples["tuned_prefix"] == 0)).sum())
    changed = gained + lost
    tail = sum(math.comb(changed, k) for k in range(min(gained, lost) + 1)) / 2**changed
    return min(1.0, 2 * tail)


def training(folder):
    """Examples, epochs, seconds, and the mean loss of the first and of the last ten steps."""
    path = next((p for p in (folder / "run/run.h5", folder / "run.h5") if p.exists()), None)
    if path is None:
        return ["-"] * 5
    with h5py.File(path, "r", swmr=True, locking=False) as f:
        steps, epoch = f["train"][:], int(f.attrs["epoch_samples"])
        batch = tomllib.loads(text(f.attrs["config"]))["train"]["batch"]
    losses = steps["loss"]
    return [epoch, f"{len(steps) * batch / epoch:.1f}", f"{steps['step_seconds'].sum():.1f}", f"{losses[:10].mean():.3f}",
            f"{losses[-10:].mean():.3f}"]  # fmt: skip


def row(file):
    with h5py.File(file, "r") as f:
        scores = {tuple(text(s[k]) for k in ("model", "items", "match")): s for s in f["scores"][:]}
        latency = {(text(r["model"]), text(r["phase"])): r for r in f["latency"][:]}
        p = mcnemar(f["examples"][:])
    whole = latency["tuned", "whole"]
    return [file.parent.name, *training(file.parent), percent(scores["base", "all", "prefix"]), percent(scores["tuned", "all", "prefix"]),
            f"{p:.2g}", percent(scores["tuned", "verbatim", "prefix"]) if scores["tuned", "verbatim", "prefix"]["of"] else "-",
            *(f"{whole[k]:.1f}" for k in ("mean", "median", "p95")),
            *(f"{latency['tuned', phase]['mean']:.1f}" for phase in ("prefill", "decode"))]  # fmt: skip


def show(rows, markdown):
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    lines = [[str(cell).ljust(width) for cell, width in zip(row, widths)] for row in rows]
    if markdown:
        lines.insert(1, ["-" * width for width in widths])
    for line in lines:
        print("| " + " | ".join(line) + " |" if markdown else "  ".join(line).rstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    files = sorted(options.folder.glob("*/engram.h5"), key=lambda file: file.stat().st_mtime)
    show([HEADINGS, *map(row, files)], options.markdown)


if __name__ == "__main__":
    main()
