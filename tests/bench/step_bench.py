# SPDX-License-Identifier: Apache-2.0
"""launch/bench step: a training step of braid beside the same step in PyTorch (poc_torch.py), see launch/bench."""

import json
import pathlib
import statistics
import sys

import bench_common as common
from bench_common import BenchError
from poc_torch import read_config

FORMULA = ("6 P tokens for the linear layers and the head, P = L (4 D^2 + 2 D F) + D V; 6 L T D tokens for attention, which "
           "counts the causal half only; stream mixing, norms and the optimiser are not counted")  # fmt: skip

# name -> (what it is, flags of poc_torch.py, over several ranks, GPUs only)
PROGRAMS = {
    "published": ("PyTorch eager, as the public program is written", ["--as-published"], False, False),
    "simplified": ("PyTorch eager, braid's algebra and fused AdamW", [], False, False),
    "compiled": ("torch.compile of simplified", ["--compile"], False, False),
    "compiled-published": ("torch.compile of published", ["--as-published", "--compile"], False, False),
    "compiled-graphs": ("compiled, with CUDA graphs", ["--compile", "--compile-mode", "reduce-overhead"], False, True),
    "ddp": ("DistributedDataParallel of simplified", [], True, False),
    "fsdp": ("FSDP2 of simplified, each block by itself", ["--fsdp"], True, False),
    "ddp-published": ("DistributedDataParallel of published", ["--as-published"], True, False),
}
DEFAULT_CONFIGS = ["demo_mhc", "tiny_12l_mhc", "tiny_12l_baseline"]
TINY = ["model.layers=2", "model.width=32", "model.heads=2", "model.mlp_width=64", "model.context=16", "train.batch=4"]
EXAMPLES = """  launch/bench step --json step.json                     # three configurations, fp32 and bf16, 1 and 2 ranks
  launch/bench step --configs configs/mhc/demo_mhc.toml --precision bf16 --ranks 1 --against simplified,compiled
  launch/bench step --wait-policy default --ranks 1 --markdown
  launch/bench step --quick                              # does it work here

Steps/s of a program: the median step of each run after the warm-up; then the median over rounds, with the lowest and
the highest. Ratio: braid's median over the program's. GFLOP/s: """ + FORMULA


def parse(arguments):
    parser = common.Parser("step", "A training step of braid beside PyTorch.", EXAMPLES)
    parser.add_argument("--configs", type=common.words(), metavar="FILES", help="default: " + ", ".join(DEFAULT_CONFIGS))
    parser.add_argument("--precision", type=common.words("fp32", "bf16"), default=["fp32", "bf16"], metavar="TYPES")
    parser.add_argument("--ranks", type=common.counts(1), metavar="COUNTS", help="default: 1,2; on GPUs 1 and all of them")
    parser.add_argument("--steps", type=common.at_least(2), metavar="N", help="timed steps (default: 6)")
    parser.add_argument("--warmup", type=common.at_least(1), default=3, metavar="N", help="steps before (default: 3)")
    parser.add_argument("--against", type=common.words(*PROGRAMS), metavar="PROGRAMS",
                        help="default: published,simplified,compiled and, over ranks, ddp,ddp-published; "
                        + "; ".join(f"{name}: {program[0]}" for name, program in PROGRAMS.items()))  # fmt: skip
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of all programs' configuration")
    common.add_common(parser)
    options = common.resolve(parser.parse_args(arguments))
    check(parser, options)
    return options


def check(parser, options):
    gpus = len(common.gpu_names())
    if options.quick:
        options.rounds, options.set = 1, TINY + options.set
    options.steps = options.steps or (3 if options.quick else 6)
    options.configs = options.configs or DEFAULT_CONFIGS[: 1 if options.quick else None]
    options.configs = [resolve_config(parser, name) for name in options.configs]
    options.ranks = options.ranks or ([1, 2] if options.device == "cpu" else sorted({1, gpus}))
    if options.device == "cuda" and max(options.ranks) > gpus:
        parser.error(f"--ranks {max(options.ranks)}: there are {gpus} GPUs")
    options.against = options.against or ["published", "simplified", "compiled", "ddp", "ddp-published"]
    if options.device == "cpu" and "compiled-graphs" in options.against:
        parser.error("--against compiled-graphs needs a GPU")
    for config in options.configs:
        batch = read_config(config, options.set)["train"]["batch"]
        uneven = [n for n in options.ranks if batch % n]
        if uneven:
            parser.error(f"{config}: a batch of {batch} is not shared evenly by {uneven[0]} ranks")


def resolve_config(parser, name):
    path = pathlib.Path(name)
    if not path.is_file() and not path.suffix:
        path = common.ROOT / "configs" / "mhc" / f"{name}.toml"
    if not path.is_file():
        parser.error(f"{name}: no such configuration file")
    config = read_config(path, [])
    if config.get("model", {}).get("dialect", "poc") != "poc" or config.get("data", {}).get("kind") != "incrementing":
        parser.error(f'{name}: the PyTorch programs know model.dialect = "poc" and data.kind = "incrementing" only')
    return str(path)


def step_flops(config):
    model, batch = config["model"], config["train"]["batch"]
    d, layers, t = model["width"], model["layers"], model["context"]
    products = layers * (4 * d * d + 2 * d * model["mlp_width"]) + d * model["vocabulary"]
    return (6 * products + 6 * layers * t * d) * batch * t


def run_braid(options, case, folder):
    sets = [*options.set, f"train.steps={options.warmup + options.steps}", f"train.precision={case['precision']}"]
    table = common.braid_run(case["config"], sets, folder / "run", case["ranks"], options)
    return table["step_seconds"], table["loss"]


def run_torch(options, case, folder, name):
    threads = max(1, options.threads // case["ranks"])
    command = [sys.executable, str(common.HERE / "poc_torch.py"), case["config"], "--threads", str(threads), "--dtype",
               case["precision"], "--device", options.device, "--out", str(folder / "losses.json"), *PROGRAMS[name][1],
               "--set", f"train.steps={options.warmup + options.steps}"]  # fmt: skip
    for assignment in options.set:
        command += ["--set", assignment]
    env = common.environment(threads, options.wait_policy) | {"BENCH_RENDEZVOUS": str(folder / "rendezvous")}
    common.run(name, [command] * case["ranks"], env)
    steps = json.loads((folder / "losses.json").read_text())["steps"]
    return [row["seconds"] for row in steps], [row["loss"] for row in steps]


def run_one(options, case, name):
    with common.scratch() as folder:
        folder = pathlib.Path(folder)
        seconds, losses = run_braid(options, case, folder) if name == "braid" else run_torch(options, case, folder, name)
    rate = 1 / statistics.median(seconds[options.warmup :])
    return {"steps_per_second": rate, "step_seconds": seconds, "loss_first": losses[0], "loss_last": losses[-1]}


def programs_of(options, ranks):
    fits = [name for name in options.against if PROGRAMS[name][2] == (ranks > 1)]
    return ["braid", *fits]


def measure_case(options, case):
    """All programs on one configuration, precision and number of ranks."""
    names = programs_of(options, case["ranks"])
    runs = {name: [] for name in names}
    for number in range(options.rounds):
        for name in common.rotated(names, number):
            runs[name].append(run_one(options, case, name))
            common.say(f"{case['name']}, round {number + 1}/{options.rounds}: {name} {runs[name][-1]['steps_per_second']:.3f} steps/s")
        # Before hours go into it.
        common.require_same(case["name"], {n: (r[-1]["loss_first"], r[-1]["loss_last"]) for n, r in runs.items()},
                            case["precision"])  # fmt: skip
    return runs


def summarise(case, runs, peak):
    flops = step_flops(case["values"])
    ours = statistics.median(run["steps_per_second"] for run in runs["braid"])
    programs = {}
    for name, rounds in runs.items():
        speed = common.spread([run["steps_per_second"] for run in rounds])
        gflops = flops * speed["median"] / 1e9
        programs[name] = {"steps_per_second": speed, "gflops": gflops, "share_of_peak": gflops / peak,
                          "braid_over_this": ours / speed["median"], "runs": rounds,
                          "first_step_seconds": statistics.median(run["step_seconds"][0] for run in rounds)}  # fmt: skip
    return {"config": case["config"], "precision": case["precision"], "ranks": case["ranks"], "flops_per_step": flops,
            "peak_gflops": peak, "programs": programs}  # fmt: skip


def matmul_peak(options, precision, ranks):
    """Best GFLOP/s of torch.mm; on GPUs times the ranks, as each has one of its own."""
    sizes, seconds = ("256", "0.05") if options.quick else ("1024,2048,4096", "3")
    command = [sys.executable, str(common.HERE / "matmul_peak.py"), "--dtype", precision, "--device", options.device,
               "--threads", str(options.threads), "--sizes", sizes, "--seconds", seconds]  # fmt: skip
    out = common.run("matmul_peak", [command], common.environment(options.threads, options.wait_policy))
    by_size = json.loads(out[0])
    return by_size, max(by_size.values()) * (ranks if options.device == "cuda" else 1)


def print_case(result, options):
    label = f"{pathlib.Path(result['config']).stem} {result['precision']} {result['ranks']} rank(s)"
    head = [label, "steps/s", "lowest", "highest", "braid / this", "GFLOP/s", "of peak", "first step s"]
    rows = []
    for name, program in result["programs"].items():
        speed = program["steps_per_second"]
        share = f"{program['share_of_peak']:.0%}" + (" ERROR" if program["share_of_peak"] > 1 else "")
        rows.append([name, f"{speed['median']:.3f}", f"{speed['lowest']:.3f}", f"{speed['highest']:.3f}",
                     f"{program['braid_over_this']:.2f}", f"{program['gflops']:.1f}", share,
                     f"{program['first_step_seconds']:.2f}"])  # fmt: skip
    common.print_table(head, rows, options.markdown)


def cases_of(options):
    for config in options.configs:
        for precision in options.precision:
            for ranks in options.ranks:
                name = f"{pathlib.Path(config).stem} {precision} {ranks} rank(s)"
                yield {"config": config, "precision": precision, "ranks": ranks, "name": name,
                       "values": read_config(config, options.set)}  # fmt: skip


def main():
    options = parse(sys.argv[1:])
    facts = common.facts(options)
    print(common.describe(facts))
    peaks, results, errors = {}, [], 0
    for case in cases_of(options):
        if programs_of(options, case["ranks"]) == ["braid"]:
            continue
        by_size, peak = matmul_peak(options, case["precision"], case["ranks"])
        peaks.setdefault(case["precision"], []).append(by_size)
        best = max(peak, *(max(p.values()) * (case["ranks"] if options.device == "cuda" else 1) for p in peaks[case["precision"]]))
        results.append(summarise(case, measure_case(options, case), best))
        print_case(results[-1], options)
        errors += sum(p["share_of_peak"] > 1 for p in results[-1]["programs"].values())
    if not results:
        raise BenchError("nothing to measure: --against names no program for these --ranks")
    print(f"FLOP of a step: {FORMULA}.\nPeak: the best product of 1024, 2048 and 4096 (torch.mm; on CPUs oneDNN too) before each case, same threads.")
    common.write_json(options.json, {"bench": "step", **facts, "steps": options.steps, "warmup": options.warmup,
                                     "set": options.set, "formula": FORMULA, "matmul_gflops": peaks,
                                     "programs": {n: p[0] for n, p in PROGRAMS.items()}, "cases": results})  # fmt: skip
    if errors:
        raise BenchError(f"{errors} share(s) of the peak above 100 %: one of the two was measured wrong; run it again on a quiet machine")


if __name__ == "__main__":
    sys.exit(common.ends_well(main))
