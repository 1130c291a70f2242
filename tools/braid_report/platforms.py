# SPDX-License-Identifier: Apache-2.0
"""braid-report platforms: softwarewrighter/mHC-poc's published numbers beside those of the same runs here, on CPUs and GPUs,
with Adam's bias correction and without."""

import pathlib

import numpy as np

from .runs import read_run
from .trouble import Trouble

HELP = "The public experiment's numbers beside braid's own, on CPUs and GPUs: a table in Markdown."
EXAMPLE = "  braid-report platforms --cpu runs/cpu --gpu runs/gpu"

# Folder → (what it is, run → (public CUDA, public MLX)) of final losses, from that repository's cuda/docs/results.md,
# cuda/README.md and its MLX results; None: not published. Its 800-step CUDA sweep was not published whole.
DEMO = {"": ("0.118", None)}
TINY = {"": ("0.00215", None)}
VARIANTS = ("baseline", "hc", "mhc")
CUDA_200 = {12: ("0.0008", "0.0004", "0.0005"), 24: ("0.0011", "0.0004", "0.0005"), 48: ("0.0016", "NaN", "0.0005")}
MLX_800 = {12: ("1.78", "0.0001", "0.002"), 24: ("1.86", "0.0001", "0.0002"), 48: ("3.79", "5.54", "0.0002")}


def sweep(cuda, mlx):
    """Run → published numbers of a depth sweep."""
    places = [(depth, at, variant) for depth in (12, 24, 48) for at, variant in enumerate(VARIANTS)]
    return {f"{depth}l_{variant}_s0": (cuda[depth][at] if cuda else None, mlx[depth][at] if mlx else None)
            for depth, at, variant in places}  # fmt: skip


ROWS = [("demo", "demo, 24 layers, mHC, 50 steps", DEMO), ("tiny_24l_mhc_500", "24 layers, mHC, 500 steps", TINY),
        ("sweep_200", "sweep, 200 steps", sweep(CUDA_200, None)), ("sweep_800", "sweep, 800 steps", sweep(None, MLX_800))]  # fmt: skip
COLUMNS = ("public CUDA", "public MLX", "braid CPU", "braid GPU", "braid CPU, uncorrected", "braid GPU, uncorrected")


def add_arguments(parser):
    for name, what in (("cpu", "CPUs"), ("gpu", "a GPU")):
        parser.add_argument(f"--{name}", metavar="DIR", type=pathlib.Path,
                            help=f"folder of the runs on {what}: demo, tiny_24l_mhc_500, sweep_200, sweep_800 and each "
                                 "with _uncorrected behind")  # fmt: skip


def digits(value):
    return f"{value:.4f}" if value >= 0.01 else f"{value:.2g}"


def last_loss(folder):
    """The loss of the last step in words; – where there is no run, with a note where it has not come to its end."""
    if not (folder / "run.h5").exists():
        return "–"
    run = read_run(folder)
    loss = run.final("loss")
    if loss is None:
        return run.state
    words = digits(loss) if np.isfinite(loss) else "NaN"
    first = run.bad_steps()
    words += f" (from step {first[0]})" if len(first) and words == "NaN" else ""
    return words if run.state in ("done", "diverged") else f"{words} ({run.state}, step {run.steps_done()})"


def line(title, published, places):
    cells = [words or "–" for words in published] + [last_loss(place) if place else "–" for place in places]
    return "| " + " | ".join([title, *cells]) + " |"


def lines(cpu, gpu):
    yield "| last loss (nats/token) | " + " | ".join(COLUMNS) + " |"
    yield "|---|" + "---|" * len(COLUMNS)
    for folder, title, found in ROWS:
        for name, published in found.items():
            places = [root and root / (folder + more) / name for more in ("", "_uncorrected") for root in (cpu, gpu)]
            yield line(f"{title}: {name.removesuffix('_s0').replace('_', ' ')}" if name else title, published, places)


def run(options):
    if options.cpu is None and options.gpu is None:
        raise Trouble("expected --cpu DIR, --gpu DIR or both")
    for root in filter(None, (options.cpu, options.gpu)):
        if not root.is_dir():
            raise Trouble(f"{root}: no such folder")
    print("\n".join(lines(options.cpu, options.gpu)))
    return 0
