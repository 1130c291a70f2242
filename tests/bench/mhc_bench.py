# SPDX-License-Identifier: Apache-2.0
"""launch/bench mhc: what connections of several streams cost beside the plain residual, in braid and in PyTorch
(mhc_torch.py), see launch/bench."""

import json
import pathlib
import statistics
import sys

import bench_common as common
from bench_common import BenchError

CONFIG = common.ROOT / "configs" / "mhc" / "paper_mhc.toml"
PAPER_OVERHEAD = 0.067  # arXiv 2512.24880, section 4.3: of a training step, four streams, on the authors' GPUs
FIRST_LOSS = {"fp32": 1e-5, "bf16": 2e-3}  # relative, between programs that start from the same weights
FORMS = {
    "residual": ["model.residual=residual"],
    "mhc": ["model.residual=mhc"],
    "permutations": ["model.residual=mhc", "model.manifold=permutations"],
    "hc": ["model.residual=hc"],
}
AGAINST = {"eager": [], "compiled": ["--compile"]}
MIB = 2**20
EXAMPLES = """  launch/bench mhc --widths 256,512,1024 --json mhc.json
  launch/bench mhc --widths 1024 --precision fp32 --forms residual,mhc --against eager
  launch/bench mhc --device cuda --widths 1024,2048,4096 --tokens 8192 --context 1024
  launch/bench mhc --quick                              # does it work here

A Llama-style decoder of --layers layers on the counting task, 64 numbers a head, MLPs 8/3 as wide as the model, streams and
coefficients in the form of the papers. Overhead: a step's time over that of the plain residual in the same program and
round, less 1; the median over rounds, with the lowest and the highest. A step's time is the median after the warm-up.
Programs of one form start from the same weights: losses that differ at step 0 are refused. HC has no twin in PyTorch.
The paper reports 6.7 % for four streams. Memory is the process's peak on CPUs, the allocator's on GPUs."""


def parse(arguments):
    parser = common.Parser("mhc", "Connections of several streams beside the plain residual.", EXAMPLES)
    parser.add_argument("--widths", type=common.counts(64), default=[256, 512, 1024, 2048], metavar="WIDTHS",
                        help="multiples of 64 (default: 256,512,1024,2048)")  # fmt: skip
    parser.add_argument("--layers", type=common.at_least(1), default=4, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--tokens", type=common.at_least(1), default=1024, metavar="N", help="of a step (default: %(default)s)")
    parser.add_argument("--context", type=common.at_least(2), default=256, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--streams", type=int, choices=[2, 4, 8], default=4, help="(default: %(default)s)")
    parser.add_argument("--vocabulary", type=common.at_least(2), default=512, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--precision", type=common.words("fp32", "bf16"), default=["fp32", "bf16"], metavar="TYPES")
    parser.add_argument("--forms", type=common.words(*FORMS), default=None, metavar="FORMS",
                        help="of braid: some of " + ", ".join(FORMS) + "; residual is always measured (default: all)")  # fmt: skip
    parser.add_argument("--against", type=common.words(*AGAINST, "none"), default=list(AGAINST), metavar="PROGRAMS",
                        help="PyTorch's residual and mhc: eager, compiled or none (default: eager,compiled)")  # fmt: skip
    parser.add_argument("--steps", type=common.at_least(2), default=5, metavar="N", help="timed steps (default: %(default)s)")
    parser.add_argument("--warmup", type=common.at_least(1), default=2, metavar="N", help="steps before (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of all programs' configuration")
    common.add_common(parser)
    options = common.resolve(parser.parse_args(arguments))
    check(parser, options)
    return options


def check(parser, options):
    if options.quick:
        options.rounds, options.steps, options.warmup, options.layers = 1, 2, 1, 2
        options.widths, options.tokens, options.context, options.vocabulary = [64], 64, 16, 64
    for width in options.widths:
        if width % 64:
            parser.error(f"--widths {width}: not a multiple of 64")
    if options.tokens % options.context:
        parser.error(f"--tokens {options.tokens}: not a multiple of --context {options.context}")
    options.forms = [form for form in FORMS if form == "residual" or form in (options.forms or FORMS)]
    if options.streams == 8 and "permutations" in options.forms:  # of which there would be 40320
        options.forms.remove("permutations")


def programs_of(options):
    """(program, form), the plain residual of each first."""
    ours = [("braid", form) for form in options.forms]
    theirs = [(program, form) for program in options.against if program != "none" for form in ("residual", "mhc")]
    return ours + theirs


def sets_of(options, width, precision, form):
    model = {"dialect": "llama", "layers": options.layers, "width": width, "heads": width // 64,
             "mlp_width": (8 * width // 3 + 63) // 64 * 64, "vocabulary": options.vocabulary, "context": options.context,
             "streams": options.streams, "connection_form": "paper", "connection_start": "home", "stream_exit": "sum"}  # fmt: skip
    train = {"steps": options.warmup + options.steps, "batch": options.tokens // options.context, "eval_every": 0}
    optim = {"learning_rate": 1e-3, "weight_decay": 0.0, "beta2": 0.999, "schedule": "constant", "warmup_steps": 0, "clip_norm": 0.0}
    sets = [f"{table}.{key}={value}" for table, keys in {"model": model, "train": train, "optim": optim}.items() for key, value in keys.items()]
    return [*sets, "data.kind=incrementing", f"train.precision={precision}", *FORMS[form], *options.set]


def run_braid(options, sets, folder):
    table = common.braid_run(CONFIG, sets, folder / "run", 1, options)
    return table["step_seconds"], table["loss"], table["peak_memory_bytes"][-1]


def run_torch(options, program, sets, precision, folder):
    command = [sys.executable, str(common.HERE / "mhc_torch.py"), str(CONFIG), "--threads", str(options.threads), "--dtype",
               precision, "--device", options.device, "--out", str(folder / "steps.json"), *AGAINST[program]]  # fmt: skip
    for assignment in sets:
        command += ["--set", assignment]
    common.run(program, [command], common.environment(options.threads, options.wait_policy))
    result = json.loads((folder / "steps.json").read_text())
    steps = result["steps"]
    return [row["seconds"] for row in steps], [row["loss"] for row in steps], result["peak_memory_bytes"]


def run_one(options, width, precision, program, form):
    sets = sets_of(options, width, precision, form)
    with common.scratch() as folder:
        folder = pathlib.Path(folder)
        ours = program == "braid"
        seconds, losses, memory = run_braid(options, sets, folder) if ours else run_torch(options, program, sets, precision, folder)
    return {"seconds": statistics.median(seconds[options.warmup :]), "step_seconds": seconds, "loss_first": losses[0],
            "loss_last": losses[-1], "peak_memory_bytes": memory}  # fmt: skip


def require_same_start(what, runs, precision):
    """Sinkhorn's first matrices are those of permutations: they start alike, too."""
    for form in ("residual", "mhc"):
        alike = {form, "permutations"} if form == "mhc" else {form}
        first = {f"{p} {f}": run["loss_first"] for (p, f), run in runs.items() if f in alike}
        (name, ours), *others = first.items() or [("", 0)]
        for other, theirs in others:
            if not abs(ours - theirs) <= FIRST_LOSS[precision] * abs(ours):
                raise BenchError(f"{what}: not the same work: at step 0 the loss of {name} is {ours:.7g}, of {other} {theirs:.7g}")
        common.require_same(what, {f"{p} {f}": (run["loss_first"], run["loss_last"]) for (p, f), run in runs.items() if f == form}, precision)


def measure(options, width, precision):
    """All programs at one width: what summarise() makes of the rounds."""
    names, what = programs_of(options), f"width {width} {precision}"
    runs = {name: [] for name in names}
    for number in range(options.rounds):
        for name in common.rotated(names, number):
            runs[name].append(run_one(options, width, precision, *name))
            common.say(f"{what}, round {number + 1}/{options.rounds}: {' '.join(name)} {1e3 * runs[name][-1]['seconds']:.1f} ms a step")
        require_same_start(what, {name: rounds[-1] for name, rounds in runs.items()}, precision)
    return {"width": width, "precision": precision, "overrides": sets_of(options, width, precision, "mhc"),
            "programs": summarise(runs, options.tokens)}  # fmt: skip


def summarise(runs, tokens):
    programs = []
    for (program, form), rounds in runs.items():
        plain = [run["seconds"] for run in runs[program, "residual"]]
        seconds = common.spread([run["seconds"] for run in rounds])
        programs.append({"program": program, "form": form, "seconds": seconds, "tokens_per_second": tokens / seconds["median"],
                         "overhead": common.spread([run["seconds"] / p - 1 for run, p in zip(rounds, plain)]),
                         "peak_memory_bytes": max(run["peak_memory_bytes"] for run in rounds),
                         "first_step_seconds": statistics.median(run["step_seconds"][0] for run in rounds), "runs": rounds})  # fmt: skip
    return programs


def print_case(result, options):
    head = [f"width {result['width']} {result['precision']}", "ms/step", "lowest", "highest", "tokens/s", "overhead", "lowest",
            "highest", "MiB", "first step s"]  # fmt: skip
    rows = []
    for p in result["programs"]:
        ms = [f"{1e3 * p['seconds'][key]:.1f}" for key in ("median", "lowest", "highest")]
        over = [""] * 3 if p["form"] == "residual" else [f"{p['overhead'][key]:+.1%}" for key in ("median", "lowest", "highest")]
        rows.append([f"{p['program']} {p['form']}", *ms, f"{p['tokens_per_second']:.0f}", *over,
                     f"{p['peak_memory_bytes'] / MIB:.0f}", f"{p['first_step_seconds']:.2f}"])  # fmt: skip
    rows.append(["the paper's mhc, 4 streams", *[""] * 4, f"{PAPER_OVERHEAD:+.1%}", *[""] * 4])
    common.print_table(head, rows, options.markdown)


def main():
    options = parse(sys.argv[1:])
    facts = common.facts(options)
    print(common.describe(facts), flush=True)
    results = []
    for precision in options.precision:
        for width in options.widths:
            results.append(measure(options, width, precision))
            print_case(results[-1], options)
    common.write_json(options.json, {"bench": "mhc", **facts, "layers": options.layers, "tokens": options.tokens,
                                     "context": options.context, "streams": options.streams, "steps": options.steps,
                                     "warmup": options.warmup, "paper_overhead": PAPER_OVERHEAD, "cases": results})  # fmt: skip


if __name__ == "__main__":
    sys.exit(common.ends_well(main))
