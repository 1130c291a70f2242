# SPDX-License-Identifier: Apache-2.0
"""launch/bench scale: what each way to spread a model over ranks costs in a step, beside PyTorch's, see launch/bench."""

import json
import os
import pathlib
import statistics
import sys

import bench_common as common
import step_bench
from bench_common import BenchError
from poc_torch import read_config

# What a scheme is called -> keys; tensor: as many ranks hold one model between them as there are, sequence: and share the tokens
# between its cut layers, context: they share the tokens of every sample.
SCHEMES = {
    "none": [],
    "optimizer": ["parallel.shard=optimizer"],
    "gradients": ["parallel.shard=gradients"],
    "parameters": ["parallel.shard=parameters"],
    "tensor": ["parallel.tensor={ranks}"],
    "sequence": ["parallel.tensor={ranks}", "parallel.sequence=true"],
    "context": ["parallel.context={ranks}"],
}
AGAINST = ["ddp", "fsdp"]
CONFIG = common.ROOT / "configs" / "mhc" / "tiny_12l_baseline.toml"
# Wider than it is there, with fewer tokens, so that there is something to send.
WIDE = ["model.layers=8", "model.width=512", "model.heads=8", "model.mlp_width=2048", "model.context=64", "train.batch=8"]
TINY = ["model.layers=2", "model.width=32", "model.heads=4", "model.mlp_width=64", "model.context=16", "train.batch=4"]
EXAMPLES = """  launch/bench scale --json scale.json                   # all schemes on 2 and 4 ranks, beside DDP and FSDP2
  launch/bench scale --ranks 2 --schemes none,parameters --against fsdp
  launch/bench scale --config configs/mhc/tiny_12l_mhc.toml --precision bf16
  launch/bench scale --quick                             # does it work here

All train one model on the same batches with the same threads a rank; losses that differ are refused. Without --config it is
tiny_12l_baseline 512 wide, 8 layers deep, 25 million parameters, on 512 tokens a step. Steps/s: the median step after the
warm-up, then the median over rounds, with the lowest and the highest. computing: a step of the same program whose calls to
other ranks end at once without a byte moved. exposed: a step's time less that, round by round; what of communication computing
did not hide. sent: what a rank hands to collectives in a step. Memory: the most that rank 0 held, its libraries included; on
GPUs what its allocator held."""


def parse(arguments):
    parser = common.Parser("scale", "Ways to spread a model over ranks, beside PyTorch's.", EXAMPLES)
    parser.add_argument("--config", metavar="FILE", help="of the kind that launch/bench step takes")
    parser.add_argument("--schemes", type=common.words(*SCHEMES), metavar="NAMES",
                        help=f"of {', '.join(SCHEMES)}: values of parallel.shard, or parallel.tensor, alone and with "
                             "parallel.sequence, or parallel.context (default: all that divide)")  # fmt: skip
    parser.add_argument("--ranks", type=common.counts(2), metavar="COUNTS", help="default: 2,4; on GPUs all of them")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="default: %(default)s")
    parser.add_argument("--against", type=common.words(*AGAINST, "none"), default=AGAINST, metavar="PROGRAMS",
                        help="ddp: DistributedDataParallel; fsdp: FSDP2, each block by itself; or none (default: ddp,fsdp)")  # fmt: skip
    parser.add_argument("--steps", type=common.at_least(2), default=6, metavar="N", help="timed steps (default: %(default)s)")
    parser.add_argument("--warmup", type=common.at_least(1), default=2, metavar="N", help="steps before (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of all programs' configuration")
    common.add_common(parser)
    options = common.resolve(parser.parse_args(arguments))
    check(parser, options)
    return options


def check(parser, options):
    gpus = len(common.gpu_names())
    shape = [] if options.config else WIDE
    if options.quick:
        options.rounds, options.steps, options.warmup, shape = 1, 2, 1, TINY
    options.config = step_bench.resolve_config(parser, options.config) if options.config else str(CONFIG)
    options.set = shape + options.set
    options.ranks = options.ranks or ([2, 4] if options.device == "cpu" else [gpus])
    if options.device == "cuda" and max(options.ranks) > gpus:
        parser.error(f"--ranks {max(options.ranks)}: there are {gpus} GPUs")
    config = read_config(options.config, options.set)
    for ranks in options.ranks:
        if config["train"]["batch"] % ranks:
            parser.error(f"--ranks {ranks}: a batch of {config['train']['batch']} is not shared evenly by them")
        for scheme in options.schemes or []:
            if not suits(scheme, config["model"], ranks):
                parser.error(f"--schemes {scheme}: {ranks} ranks do not divide the model's {DIVIDED[scheme]}")


DIVIDED = {"tensor": "heads and MLP", "sequence": "heads, MLP and tokens", "context": "tokens into two chunks for each"}


def suits(scheme, model, ranks):
    is_cut = model["heads"] % ranks == 0 and model["mlp_width"] % ranks == 0
    can = {"tensor": is_cut, "sequence": is_cut and model["context"] % ranks == 0, "context": model["context"] % (2 * ranks) == 0}
    return can.get(scheme, True)


def silent_steps():
    program = pathlib.Path(os.path.dirname(common.BRAID)) / "tests" / "silent_steps"
    if not program.exists():
        raise BenchError(f"{program} is not built")
    return str(program)


# --- runs ---


def programs_of(options, config, ranks):
    """(name, whether it is spoken between ranks), those of one scheme beside each other."""
    schemes = options.schemes or [name for name in SCHEMES if suits(name, config["model"], ranks)]
    ours = [(name, spoken) for name in SCHEMES if name in schemes for spoken in (True, False)]
    return ours + [(name, True) for name in options.against if name != "none"]


def run_scheme(options, ranks, scheme, spoken, folder):
    sets = [*options.set, f"train.steps={options.warmup + options.steps}", f"train.precision={options.precision}",
            *(key.format(ranks=ranks) for key in SCHEMES[scheme])]  # fmt: skip
    program = (common.BRAID, "train") if spoken else (silent_steps(),)
    table = common.braid_run(options.config, sets, folder / "run", ranks, options, program)
    if any(table["nonfinite"]):
        raise BenchError(f"{scheme}: numbers that are not finite, whose steps take another time")
    sent = statistics.median(table["communicated_bytes"][options.warmup :])
    if not spoken and sent > 0:
        raise BenchError(f"{scheme}: {sent:.0f} bytes a step are sent with communication off")
    return table["step_seconds"], table["loss"], {"sent_bytes": sent, "peak_memory_bytes": table["peak_memory_bytes"][-1]}


def run_torch(options, ranks, name, folder):
    case = {"config": options.config, "ranks": ranks, "precision": options.precision}
    seconds, losses = step_bench.run_torch(options, case, folder, name)
    written = json.loads((folder / "losses.json").read_text())
    return seconds, losses, {"peak_memory_bytes": written["peak_memory_bytes"]}


def run_one(options, ranks, name, spoken):
    with common.scratch() as folder:
        folder = pathlib.Path(folder)
        run = run_scheme(options, ranks, name, spoken, folder) if name in SCHEMES else run_torch(options, ranks, name, folder)
    seconds, losses, more = run
    return {"seconds": statistics.median(seconds[options.warmup :]), "step_seconds": seconds, "loss_first": losses[0],
            "loss_last": losses[-1], **more}  # fmt: skip


def measure(options, ranks):
    names = programs_of(options, read_config(options.config, options.set), ranks)
    runs = {name: [] for name in names}
    for number in range(options.rounds):
        for name, spoken in common.rotated(names, number):
            runs[name, spoken].append(run_one(options, ranks, name, spoken))
            label = name if spoken else f"{name} without communication"
            common.say(f"{ranks} ranks, round {number + 1}/{options.rounds}: {label} {1e3 * runs[name, spoken][-1]['seconds']:.1f} ms a step")
        common.require_same(f"{ranks} ranks", {name: (r[-1]["loss_first"], r[-1]["loss_last"]) for (name, spoken), r in runs.items()
                                               if spoken}, options.precision)  # fmt: skip
    return {"ranks": ranks, "programs": summarise(runs)}


# --- figures ---


def summarise(runs):
    """`runs`: (name, spoken) -> rounds."""
    rates = {name: common.spread([1 / run["seconds"] for run in rounds]) for (name, spoken), rounds in runs.items() if spoken}
    programs = {}
    for name, rate in rates.items():
        rounds = runs[name, True]
        programs[name] = {"steps_per_second": rate, "seconds": common.spread([run["seconds"] for run in rounds]), "runs": rounds,
                          "peak_memory_bytes": max(run["peak_memory_bytes"] for run in rounds),
                          "over": {other: rate["median"] / rates[other]["median"] for other in AGAINST if other in rates}}  # fmt: skip
        if (name, False) in runs:
            silent = runs[name, False]
            programs[name] |= {
                "computing_seconds": common.spread([run["seconds"] for run in silent]),
                "exposed_seconds": common.spread([run["seconds"] - s["seconds"] for run, s in zip(rounds, silent)]),
                "sent_bytes": rounds[-1]["sent_bytes"],
                "silent_runs": silent,
            }
    return programs


def print_case(result, options):
    others = [name for name in AGAINST if name in result["programs"]]
    head = [f"{result['ranks']} ranks {options.precision}", "steps/s", "lowest", "highest", *(f"/ {name}" for name in others), "ms/step",
            "computing", "exposed", "lowest", "highest", "sent MiB", "peak MiB"]  # fmt: skip
    rows = []
    for name, program in result["programs"].items():
        speed, exposed = program["steps_per_second"], program.get("exposed_seconds")
        cells = [""] * 5
        if exposed:
            cells = [f"{1e3 * value:.1f}" for value in (program["computing_seconds"]["median"], *(exposed[k] for k in ("median", "lowest", "highest")))]
            cells.append(f"{program['sent_bytes'] / 2**20:.1f}")
        rows.append([name, f"{speed['median']:.3f}", f"{speed['lowest']:.3f}", f"{speed['highest']:.3f}",
                     *(f"{program['over'][other]:.2f}" for other in others), f"{1e3 * program['seconds']['median']:.1f}", *cells,
                     f"{program['peak_memory_bytes'] / 2**20:.0f}"])  # fmt: skip
    common.print_table(head, rows, options.markdown)


def main():
    options = parse(sys.argv[1:])
    facts = common.facts(options)
    print(common.describe(facts), flush=True)
    results = []
    for ranks in options.ranks:
        results.append(measure(options, ranks))
        print_case(results[-1], options)
    common.write_json(options.json, {"bench": "scale", **facts, "config": options.config, "set": options.set, "steps": options.steps,
                                     "warmup": options.warmup, "precision": options.precision, "cases": results})  # fmt: skip


if __name__ == "__main__":
    sys.exit(common.ends_well(main))
