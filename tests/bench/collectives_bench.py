# SPDX-License-Identifier: Apache-2.0
"""launch/bench collectives: each collective by message size over each back end, see launch/bench."""

import argparse
import json
import pathlib
import re
import sys

import bench_common as common
from bench_common import BenchError

COLLECTIVES = ["all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all", "send_receive", "barrier"]
# name -> (what it is, on GPUs)
BACKENDS = {
    "mpi": ("braid over MPI, CPU memory", False),
    "file": ("braid over a shared folder, which is for start-up and adds up fp32 only", False),
    "gloo": ("torch.distributed over gloo, CPU memory", False),
    "nccl": ("braid over NCCL, GPU memory", True),
    "torch-nccl": ("torch.distributed over NCCL, GPU memory", True),
}
SIZES = "1KiB,32KiB,1MiB,25MiB,100MiB"
EXAMPLES = """  launch/bench collectives --json collectives.json
  launch/bench collectives --collectives all_reduce --sizes 1MiB,25MiB,100MiB --rounds 5
  launch/bench collectives --backends mpi,file --sizes 1KiB --markdown
  launch/bench collectives --device cuda                 # NCCL, braid's and PyTorch's, over all GPUs
  launch/bench collectives --quick

A size is the larger of a rank's two buffers. Time: the median sample of each round on the slowest rank, then the median
over rounds; "lowest" is the lowest sample of all. Bandwidths as NVIDIA's nccl-tests define them: algorithm = size / time;
bus = that times 2 (n - 1) / n for all_reduce, (n - 1) / n for all_gather, reduce_scatter and all_to_all, 1 otherwise.
send_receive is half of a round trip. Calls of less than 1 MiB are timed several together (at most 20)."""


def parse(arguments):
    parser = common.Parser("collectives", "Bandwidth and latency between ranks by message size.", EXAMPLES)
    parser.add_argument("--collectives", type=common.words(*COLLECTIVES), default=COLLECTIVES, metavar="NAMES")
    parser.add_argument("--backends", type=common.words(*BACKENDS), metavar="NAMES",
                        help="default: mpi,gloo; on GPUs nccl,torch-nccl; "
                        + "; ".join(f"{name}: {backend[0]}" for name, backend in BACKENDS.items()))  # fmt: skip
    parser.add_argument("--sizes", type=sizes, default=sizes(SIZES), metavar="SIZES", help=f"default: {SIZES}")
    parser.add_argument("--types", type=common.words("fp32", "bf16"), default=["fp32", "bf16"], metavar="TYPES")
    parser.add_argument("--ranks", type=common.at_least(2), metavar="N", help="default: 2; on GPUs all of them")
    parser.add_argument("--iterations", type=common.at_least(1), default=20, metavar="N", help="samples a round (default: 20)")
    common.add_common(parser)
    options = common.resolve(parser.parse_args(arguments))
    gpus = len(common.gpu_names())
    if options.quick:
        options.rounds, options.iterations, options.sizes = 1, 3, [1024, 65536]
    options.backends = options.backends or (["mpi", "gloo"] if options.device == "cpu" else ["nccl", "torch-nccl"])
    options.ranks = options.ranks or (2 if options.device == "cpu" else gpus)
    if any(BACKENDS[name][1] for name in options.backends) and options.ranks > gpus:
        parser.error(f"{options.ranks} ranks over NCCL need as many GPUs; there are {gpus}")
    if "file" in options.backends and "fp32" not in options.types:
        parser.error("--backends file: it adds up fp32 only")
    if options.ranks < 2:
        parser.error("one GPU has nobody to talk to; --device cpu measures MPI")
    return options


def sizes(text):
    units = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    found = []
    for word in common.words()(text):
        match = re.fullmatch(r"([1-9]\d*)(KiB|MiB|GiB)?", word)
        if not match:
            raise argparse.ArgumentTypeError(f"'{word}': expected bytes, as 65536, 64KiB, 25MiB or 1GiB")
        found.append(int(match[1]) * units[match[2] or ""])
    return found


def show_size(size):
    for unit, name in ((2**20, "MiB"), (2**10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def bus_factor(collective, ranks):
    if collective == "all_reduce":
        return 2 * (ranks - 1) / ranks
    return 1.0 if collective in ("broadcast", "send_receive") else (ranks - 1) / ranks


def types_of(options, name):
    return ["fp32"] if name == "file" else options.types


def run_one(options, name):
    """One back end, all collectives, types and sizes: the objects it printed."""
    what = ["--collectives", ",".join(options.collectives), "--sizes", ",".join(map(str, options.sizes)), "--types",
            ",".join(types_of(options, name)), "--iterations", str(options.iterations)]  # fmt: skip
    env = common.environment(max(1, options.threads // options.ranks), options.wait_policy)
    with common.scratch() as folder:
        meeting = str(pathlib.Path(folder) / "rendezvous")
        if name in ("mpi", "nccl"):
            device = "cpu" if name == "mpi" else "cuda"
            commands = [common.mpirun(options.ranks, [common.BRAID, "bench", "collectives", "--device", device, *what])]
        elif name == "file":
            program = [common.BRAID, "bench", "collectives", "--device", "cpu", *what]
            places = {"BRAID_RENDEZVOUS": meeting, "BRAID_WORLD": str(options.ranks)}
            commands = [["env", *(f"{k}={v}" for k, v in places.items()), f"BRAID_RANK={rank}", *program]
                        for rank in range(options.ranks)]  # fmt: skip
        else:
            backend = name.removeprefix("torch-")
            env["BENCH_RENDEZVOUS"] = meeting
            commands = [[sys.executable, str(common.HERE / "gloo_collectives.py"), "--backend", backend, *what]] * options.ranks
        return [json.loads(line) for line in common.run(name, commands, env)[0].splitlines() if line.startswith("{")]


def measure(options):
    """(collective, type, bytes) -> back end -> its row of each round."""
    found = {}
    for number in range(options.rounds):
        for name in common.rotated(options.backends, number):
            rows = run_one(options, name)
            each = len(types_of(options, name)) * len(options.sizes)
            expected = sum(1 if collective == "barrier" else each for collective in options.collectives)
            if len(rows) != expected:
                raise BenchError(f"{name} gave {len(rows)} results instead of {expected}")
            for row in rows:
                found.setdefault((row["collective"], row["type"], row["bytes"]), {}).setdefault(name, []).append(row)
            common.say(f"round {number + 1}/{options.rounds}: {name} done")
    return found


def summarise(key, by_backend, options):
    collective, type_name, size = key
    result = {"collective": collective, "type": type_name, "bytes": size, "backends": {}}
    for name, rows in by_backend.items():
        if "unsupported" in rows[0]:
            result["backends"][name] = {"unsupported": rows[0]["unsupported"]}
            continue
        seconds = common.spread([row["median_seconds"] for row in rows])
        rate = size / seconds["median"]
        result["backends"][name] = {"seconds": seconds, "lowest_seconds": min(row["lowest_seconds"] for row in rows),
                                    "algorithm_bytes_per_second": rate,
                                    "bus_bytes_per_second": rate * bus_factor(collective, options.ranks)}  # fmt: skip
    return result


def ratio(result, options):
    """How many times faster the first back end is than the second."""
    first, second = (result["backends"].get(name, {}).get("seconds") for name in options.backends[:2])
    return f"{second['median'] / first['median']:.2f}" if first and second else "-"


def print_results(results, options):
    head = ["collective", "type", "size"]
    for name in options.backends:
        head += [f"{name} ms", "lowest", "alg GB/s", "bus GB/s"]
    if len(options.backends) > 1:
        head.append(f"{options.backends[1]}/{options.backends[0]} time")
    rows = []
    for result in results:
        barrier = result["collective"] == "barrier"
        row = [result["collective"], "" if barrier else result["type"], "" if barrier else show_size(result["bytes"])]
        for name in options.backends:
            row += cells(result["backends"].get(name), barrier)
        rows.append(row + ([ratio(result, options)] if len(options.backends) > 1 else []))
    common.print_table(head, rows, options.markdown)


def cells(backend, barrier):
    if backend is None or "unsupported" in backend:
        return ["no", "", "", ""]
    times = [f"{backend['seconds']['median'] * 1e3:.3f}", f"{backend['lowest_seconds'] * 1e3:.3f}"]
    rates = [f"{backend[key] / 1e9:.2f}" for key in ("algorithm_bytes_per_second", "bus_bytes_per_second")]
    return times + (["", ""] if barrier else rates)


def main():
    options = parse(sys.argv[1:])
    facts = common.facts(options)
    print(f"{options.ranks} ranks; {common.describe(facts)}", flush=True)
    results = [summarise(key, by_backend, options) for key, by_backend in measure(options).items()]
    print_results(results, options)
    common.write_json(options.json, {"bench": "collectives", **facts, "ranks": options.ranks,
                                     "iterations": options.iterations, "results": results})  # fmt: skip


if __name__ == "__main__":
    sys.exit(common.ends_well(main))
