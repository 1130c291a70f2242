# SPDX-License-Identifier: Apache-2.0
"""launch/bench nf4: weights in 4 bits beside bitsandbytes and PyTorch's dense product, see launch/bench."""

import argparse
import importlib.util
import json
import os
import pathlib
import re
import sys

import bench_common as common
from bench_common import BenchError

SHAPES = [(5632, 2048), (4096, 4096)]
TOKENS = [1, 8, 64, 512]
EXAMPLES = """  launch/bench nf4 --json nf4.json
  launch/bench nf4 --shapes 14336x4096 --tokens 1,2,4 --threads 1
  launch/bench nf4 --quick

Shapes are rows x columns of a weight, outputs x inputs. Products are in bfloat16 and go round copies of the weight that no
cache holds. bitsandbytes multiplies in two ways on CPUs, in eval mode with a layout of its own and in training mode by
dequantising; the faster counts. dense: PyTorch with the weight in bfloat16. Backward is dx = dy W. GB/s are of what the
product must read of the weight; their share is of what plain reads reach here."""


def parse(arguments):
    parser = common.Parser("nf4", "Weights in 4 bits beside bitsandbytes and PyTorch.", EXAMPLES)
    parser.add_argument("--shapes", type=shapes, default=SHAPES, metavar="LIST", help="default: 5632x2048,4096x4096")
    parser.add_argument("--tokens", type=common.counts(1), default=TOKENS, metavar="LIST", help="default: 1,8,64,512")
    parser.add_argument("--seconds", type=float, default=0.4, metavar="S", help="of each figure in each round (default: 0.4)")
    common.add_common(parser, rounds=5)
    options = common.resolve(parser.parse_args(arguments))
    if options.quick:
        options.rounds, options.seconds, options.shapes, options.tokens = 1, 0.01, [(2048, 2048)], [1, 64]
    if options.device == "cuda":
        parser.error("--device cuda: NF4 is timed on CPUs only")
    return options


def shapes(text):
    found = [re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", word) for word in common.words()(text)]
    if not all(found):
        raise argparse.ArgumentTypeError(f"'{text}': expected rows x columns, as 4096x4096,5632x2048")
    return [(int(match[1]), int(match[2])) for match in found]


def programs():
    ours = pathlib.Path(os.path.dirname(common.BRAID)) / "tests" / "nf4_bench"
    if not ours.exists():
        raise BenchError(f"{ours} is not built")
    found = {"braid": [str(ours)]}
    if importlib.util.find_spec("bitsandbytes"):
        found["bitsandbytes"] = [sys.executable, str(common.HERE / "nf4_bnb.py")]
    else:
        common.say("bitsandbytes is not installed (pip install bitsandbytes==0.50.2): braid is measured alone")
    return found


def beyond_caches():
    """Bytes that the last cache does not hold; it may be far larger than this machine's share of it."""
    size = pathlib.Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
    cache = int(size.read_text().strip().rstrip("K")) * 1024 if size.exists() else 0
    return min(max(cache + cache // 2, 2**28), 2**30)


def measure(options, shape):
    """program -> a list of what it gave in each round."""
    commands = programs()
    words = [*map(str, shape), str(options.seconds), str(beyond_caches()), *map(str, options.tokens)]
    runs = {name: [] for name in commands}
    for number in range(options.rounds):
        for name in common.rotated(list(commands), number):
            text = common.run(name, [commands[name] + words], common.environment(options.threads, options.wait_policy))[0]
            runs[name].append(json.loads(common.last_line(text)))
        common.say(f"{shape[0]} x {shape[1]}, round {number + 1}/{options.rounds}")
    return runs


def seconds_of(runs, tokens):
    """figure -> program -> seconds of each round."""
    ours, theirs = runs["braid"], runs.get("bitsandbytes", [])
    figures = {}
    for name in ("quantise float32", "quantise bfloat16", "quantise nested"):
        figures[name] = {"braid": [r[name] for r in ours], "bitsandbytes": [r[name] for r in theirs]}
    for kind, name in (("single", "dequantise"), ("nested", "dequantise nested")):
        figures[name] = {"braid": [r[kind]["dequantise"] for r in ours], "bitsandbytes": [r[name] for r in theirs]}
    for n in tokens:
        figures[f"product, {n}"] = {
            "braid": [r["single"][f"product {n}"] for r in ours],
            "braid nested": [r["nested"][f"product {n}"] for r in ours],
            "bitsandbytes": [min(r[f"eval {n}"], r[f"train {n}"]) for r in theirs],
            "dense": [r[f"dense {n}"] for r in theirs],
        }
        figures[f"backward, {n}"] = {
            "braid": [r["single"][f"transposed {n}"] for r in ours],
            "braid nested": [r["nested"][f"transposed {n}"] for r in ours],
            "bitsandbytes": [r[f"transposed {n}"] for r in theirs],
            "dense": [r[f"dense transposed {n}"] for r in theirs],
        }
    return {name: {who: rounds for who, rounds in of.items() if rounds} for name, of in figures.items()}


def summarise(shape, runs, tokens):
    figures = seconds_of(runs, tokens)
    weight_bytes = runs["braid"][0]["single"]["bytes"]
    reads = max(r["read_bytes_per_second"] for r in runs["braid"])
    result = {"shape": list(shape), "read_bytes_per_second": reads, "weight_bytes": weight_bytes, "figures": {}}
    for name, of in figures.items():
        figure = result["figures"][name] = {"seconds": {who: common.spread(rounds) for who, rounds in of.items()}}
        figure["braid_over"] = {who: common.spread([a / b for a, b in zip(rounds, of["braid"])])
                                for who, rounds in of.items() if who in ("bitsandbytes", "dense")}  # fmt: skip
        if name.startswith("product"):
            figure["weight_bytes_per_second"] = weight_bytes / figure["seconds"]["braid"]["median"]
            figure["share_of_reads"] = figure["weight_bytes_per_second"] / reads
            if figure["share_of_reads"] > 1:
                raise BenchError(f"{name}: {100 * figure['share_of_reads']:.0f} % of what plain reads reach: the measurement is wrong")
    return result


def row_of(result, name, figure):
    def time(who):
        return f"{1e3 * figure['seconds'][who]['median']:.3f}" if who in figure["seconds"] else ""

    def ratio(who):
        over = figure["braid_over"].get(who)
        return f"{over['median']:.2f} ({over['lowest']:.2f}-{over['highest']:.2f})" if over else ""

    share = f"{figure['weight_bytes_per_second'] / 1e9:.1f}, {100 * figure['share_of_reads']:.0f}%" if "share_of_reads" in figure else ""
    rows, columns = result["shape"]
    if name.startswith("quantise") or name.startswith("dequantise"):
        share = f"{rows * columns / figure['seconds']['braid']['median'] / 1e6:.0f} M weights/s"
    return [f"{rows} x {columns} {name}", time("braid"), time("braid nested"), time("bitsandbytes"), time("dense"),
            ratio("bitsandbytes"), ratio("dense"), share]  # fmt: skip


def main():
    options = parse(sys.argv[1:])
    facts = common.facts(options)
    print(common.describe(facts), flush=True)
    results = [summarise(shape, measure(options, shape), options.tokens) for shape in options.shapes]
    head = ["ms (median of rounds)", "braid", "nested", "bnb", "dense", "bnb/braid", "dense/braid", "GB/s of weights, share"]
    rows = [row_of(result, name, figure) for result in results for name, figure in result["figures"].items()]
    common.print_table(head, rows, options.markdown)
    print("plain reads: " + ", ".join(f"{result['read_bytes_per_second'] / 1e9:.1f} GB/s" for result in results))
    common.write_json(options.json, {"bench": "nf4", **facts, "results": results})


if __name__ == "__main__":
    sys.exit(common.ends_well(main))
