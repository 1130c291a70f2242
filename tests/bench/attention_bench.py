# SPDX-License-Identifier: Apache-2.0
"""launch/bench attention: braid with model.attention = "standard" and "sdpa" from the same weights, see launch/bench."""

import pathlib
import statistics
import sys

import bench_common as common
from bench_common import BenchError
from poc_torch import read_config

KINDS = ["standard", "sdpa"]
SAME_WEIGHTS = ["model.attention_start=sdpa"]
CONFIGS = ["demo_mhc", "bench_long_seq"]
CONTEXTS = [64, 128, 256, 512, 1024, 2048, 4096]
TINY = ["model.layers=2", "model.width=32", "model.heads=2", "model.mlp_width=64"]
MIB = 2**20
EXAMPLES = """  launch/bench attention --json attention.json          # two configurations and T = 64 to 4096, fp32 and bf16
  launch/bench attention --configs none --contexts 1024,4096 --precision bf16
  launch/bench attention --contexts none --markdown
  launch/bench attention --quick

Contexts are tried on demo_mhc with --layers layers and --tokens tokens a step. Both kinds start from the weights of sdpa
(model.attention_start); in fp32 the losses of step 0 must agree to 1e-5. Memory is the process's peak on CPUs,
the allocator's on GPUs."""


def parse(arguments):
    parser = common.Parser("attention", 'model.attention = "standard" beside "sdpa".', EXAMPLES)
    parser.add_argument("--configs", type=common.words(*CONFIGS, "none"), default=CONFIGS, metavar="NAMES")
    parser.add_argument("--contexts", type=contexts, default=CONTEXTS, metavar="LENGTHS", help="default: 64 to 4096")
    parser.add_argument("--precision", type=common.words("fp32", "bf16"), default=["fp32", "bf16"], metavar="TYPES")
    parser.add_argument("--tokens", type=common.at_least(1), default=4096, metavar="N", help="of a step (default: 4096)")
    parser.add_argument("--layers", type=common.at_least(1), default=6, metavar="N", help="with --contexts (default: 6)")
    parser.add_argument("--steps", type=common.at_least(2), default=4, metavar="N", help="timed steps (default: 4)")
    parser.add_argument("--warmup", type=common.at_least(1), default=2, metavar="N", help="steps before (default: 2)")
    common.add_common(parser)
    options = common.resolve(parser.parse_args(arguments))
    if options.quick:
        options.rounds, options.steps, options.tokens, options.layers = 1, 2, 128, 2
        options.configs, options.contexts = ["demo_mhc"], [64]
    for context in options.contexts:
        if options.tokens % context:
            parser.error(f"--contexts {context}: --tokens {options.tokens} is not a multiple of it")
    return options


def contexts(text):
    return [] if text == "none" else common.counts(1)(text)


def cases_of(options):
    """(what it is, configuration file, overrides)"""
    tiny = TINY if options.quick else []
    for name in options.configs:
        if name != "none":
            yield name, config_file(name), tiny + (["train.batch=2"] if options.quick else [])
    for context in options.contexts:
        sets = [f"model.layers={options.layers}", f"model.context={context}", f"train.batch={options.tokens // context}"]
        yield f"T = {context}", config_file("demo_mhc"), tiny + sets


def config_file(name):
    return common.ROOT / "configs" / "mhc" / f"{name}.toml"


def run_one(options, config, sets, precision, kind):
    sets = [*sets, *SAME_WEIGHTS, f"model.attention={kind}", f"train.precision={precision}",
            f"train.steps={options.warmup + options.steps}"]  # fmt: skip
    with common.scratch() as folder:
        table = common.braid_run(config, sets, pathlib.Path(folder) / "run", 1, options)
    seconds = table["step_seconds"]
    return {"steps_per_second": 1 / statistics.median(seconds[options.warmup :]), "step_seconds": seconds,
            "loss_first": table["loss"][0], "loss_last": table["loss"][-1],
            "peak_memory_bytes": table["peak_memory_bytes"][-1]}  # fmt: skip


def require_same_start(name, precision, standard, sdpa):
    common.require_same(name, {"standard": (standard["loss_first"], standard["loss_last"]),
                               "sdpa": (sdpa["loss_first"], sdpa["loss_last"])}, precision)  # fmt: skip
    gap = abs(standard["loss_first"] - sdpa["loss_first"])
    if precision == "fp32" and not gap <= 1e-5 * abs(standard["loss_first"]):
        raise BenchError(f"{name}: the two kinds do not start from the same weights: the losses of step 0 differ by {gap:.3g}")


def measure(options, name, config, sets, precision):
    runs = {kind: [] for kind in KINDS}
    for number in range(options.rounds):
        for kind in common.rotated(KINDS, number):
            runs[kind].append(run_one(options, config, sets, precision, kind))
            common.say(f"{name} {precision}, round {number + 1}/{options.rounds}: {kind} {runs[kind][-1]['steps_per_second']:.3f} steps/s")
        require_same_start(f"{name} {precision}", precision, *(runs[kind][-1] for kind in KINDS))
    model, train = (read_config(config, sets)[table] for table in ("model", "train"))
    result = {"name": name, "precision": precision, "overrides": sets + SAME_WEIGHTS, "context": model["context"],
              "batch": train["batch"], "layers": model["layers"], "kinds": {}}  # fmt: skip
    for kind, rounds in runs.items():
        result["kinds"][kind] = {"steps_per_second": common.spread([run["steps_per_second"] for run in rounds]),
                                 "peak_memory_bytes": max(run["peak_memory_bytes"] for run in rounds), "runs": rounds}  # fmt: skip
    standard, sdpa = (runs[kind][-1] for kind in KINDS)
    result["loss_difference_first"] = sdpa["loss_first"] - standard["loss_first"]
    result["loss_difference_last"] = sdpa["loss_last"] - standard["loss_last"]
    speed = [result["kinds"][kind]["steps_per_second"]["median"] for kind in KINDS]
    result["sdpa_over_standard"] = speed[1] / speed[0]
    return result


def row_of(result):
    standard, sdpa = (result["kinds"][kind] for kind in KINDS)

    def speed(kind):
        s = kind["steps_per_second"]
        return f"{s['median']:.3f} ({s['lowest']:.3f}-{s['highest']:.3f})"

    return [f"{result['name']} {result['precision']}", f"{result['layers']} x {result['batch']} x {result['context']}",
            speed(standard), speed(sdpa), f"{result['sdpa_over_standard']:.2f}",
            f"{standard['peak_memory_bytes'] / MIB:.0f}", f"{sdpa['peak_memory_bytes'] / MIB:.0f}",
            f"{result['loss_difference_first']:.1e}", f"{result['loss_difference_last']:.1e}"]  # fmt: skip


def main():
    options = parse(sys.argv[1:])
    facts = common.facts(options)
    print(common.describe(facts), flush=True)
    results = [measure(options, name, config, sets, precision)
               for name, config, sets in cases_of(options) for precision in options.precision]  # fmt: skip
    if not results:
        raise BenchError("nothing to measure: neither a configuration nor a context was asked for")
    head = ["", "L x B x T", "standard steps/s", "sdpa steps/s", "sdpa/standard", "standard MiB", "sdpa MiB", "loss diff 0", "last"]
    common.print_table(head, [row_of(result) for result in results], options.markdown)
    common.write_json(options.json, {"bench": "attention", **facts, "steps": options.steps, "warmup": options.warmup,
                                     "cases": results})  # fmt: skip


if __name__ == "__main__":
    sys.exit(common.ends_well(main))
