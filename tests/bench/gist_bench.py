# SPDX-License-Identifier: Apache-2.0
"""launch/bench gist: contexts compressed and asked beside the same model with the whole context, see launch/bench."""

import json
import math
import pathlib
import sys

import bench_common as common
from bench_common import BenchError

PARTS = ["compress", "answer_gist", "prefill", "answer_cached"]
EXAMPLES = """  launch/bench gist --json gist.json
  launch/bench gist --lengths 1000,3000,6000,12000 --set model.width=512 --set model.layers=12
  launch/bench gist --run runs/passkey --device cuda --precision bf16
  launch/bench gist --quick

compress: the context to its gists; answer, gist: a question from these. full: the context read again for each question.
cached: a question where the keys and values of the whole context are kept, which take their memory all the time. Crossover:
the number of questions to a context from which compressing it once and asking its gists takes less time than full, or than
reading the context once and asking the cache; "never" where an answer from gists is no faster. One context at a time."""


def parse(arguments):
    parser = common.Parser("gist", "Compressed contexts beside the whole context, on the same model.", EXAMPLES)
    parser.add_argument("--config", metavar="FILE", help="random weights in this shape (default: configs/gist/passkey_small.toml)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another value of a key of --config")
    parser.add_argument("--run", metavar="OUT", help="a run with [gist] instead")
    parser.add_argument("--lengths", type=common.counts(1), default=[1000, 3000, 6000], metavar="LIST", help="default: 1000,3000,6000")
    parser.add_argument("--segment", type=common.at_least(1), metavar="N", help="tokens compressed together (default: gist.segment)")
    parser.add_argument("--question", type=common.at_least(1), default=8, metavar="N", help="tokens of a question (default: 8)")
    parser.add_argument("--answer", type=common.at_least(1), default=8, metavar="N", help="new tokens of an answer (default: 8)")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    common.add_common(parser, rounds=7)
    options = common.resolve(parser.parse_args(arguments))
    if options.quick:
        options.rounds, options.lengths = 1, [200, 400]
    if options.run and (options.config or options.set):
        parser.error("--run has its own configuration: it takes no --config and no --set")
    options.config = options.config or str(common.ROOT / "configs/gist/passkey_small.toml")
    for what, path in (("--run", options.run), ("--config", options.config)):
        if path and not pathlib.Path(path).exists():
            parser.error(f"{what} {path}: no such file or folder")
    return options


def measure(options):
    """All rounds of all lengths, in turn: the objects that braid bench gist prints."""
    command = [common.BRAID, "bench", "gist", "--lengths", ",".join(map(str, options.lengths)), "--rounds", str(options.rounds),
               "--question", str(options.question), "--answer", str(options.answer), "--precision", options.precision,
               "--device", options.device]  # fmt: skip
    command += ["--run", options.run] if options.run else ["--config", options.config]
    for assignment in options.set:
        command += ["--set", assignment]
    if options.segment:
        command += ["--segment", str(options.segment)]
    lines = common.run("braid", [command], common.environment(options.threads, options.wait_policy))[0].splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    if len(rows) != options.rounds * len(options.lengths):
        raise BenchError(f"braid gave {len(rows)} lines instead of {options.rounds * len(options.lengths)}")
    return rows


def crossover(once, each, once_otherwise, each_otherwise):
    """The least whole number of questions q >= 1 with once + q each < once_otherwise + q each_otherwise; None: never."""
    if each >= each_otherwise:
        return 1 if once + each < once_otherwise + each_otherwise else None
    return max(1, math.floor((once - once_otherwise) / (each_otherwise - each)) + 1)


def summarise(rows):
    """`rows`: the rounds of one length. Crossovers are of medians."""
    first = rows[0]
    result = {name: first[name] for name in ("length", "segment", "segments", "gists", "gist_bytes", "context_bytes")}
    rounds = [row | {"answer_full": row["prefill"] + row["answer_cached"]} for row in rows]
    result["seconds"] = {name: common.spread([row[name] for row in rounds]) for name in [*PARTS, "answer_full"]}
    result["compress_tokens_per_second"] = common.spread([row["length"] / row["compress"] for row in rows])
    result["prefill_tokens_per_second"] = common.spread([row["length"] / row["prefill"] for row in rows])
    median = {name: spread["median"] for name, spread in result["seconds"].items()}
    result["crossover_full"] = crossover(median["compress"], median["answer_gist"], 0, median["answer_full"])
    result["crossover_cached"] = crossover(median["compress"], median["answer_gist"], median["prefill"], median["answer_cached"])
    return result


def milliseconds(spread):
    return f"{1e3 * spread['median']:.1f} ({1e3 * spread['lowest']:.1f} to {1e3 * spread['highest']:.1f})"


def rate(spread):
    return f"{spread['median']:.0f} ({spread['lowest']:.0f} to {spread['highest']:.0f})"


def print_results(results, options):
    lines = [
        ("gists", lambda r: f"{r['gists']} ({r['length'] / r['gists']:.0f}x)"),
        ("keys and values of the context, KiB", lambda r: f"{r['context_bytes'] / 1024:.1f}"),
        ("keys and values of the gists, KiB", lambda r: f"{r['gist_bytes'] / 1024:.1f}"),
        ("compress, tokens/s", lambda r: rate(r["compress_tokens_per_second"])),
        ("read in full, tokens/s", lambda r: rate(r["prefill_tokens_per_second"])),
        ("compress, ms", lambda r: milliseconds(r["seconds"]["compress"])),
        ("answer, gist, ms", lambda r: milliseconds(r["seconds"]["answer_gist"])),
        ("answer, full, ms", lambda r: milliseconds(r["seconds"]["answer_full"])),
        ("answer, cached, ms", lambda r: milliseconds(r["seconds"]["answer_cached"])),
        ("crossover with full, questions", lambda r: r["crossover_full"] or "never"),
        ("crossover with cached, questions", lambda r: r["crossover_cached"] or "never"),
    ]
    head = ["", *(f"{r['length']} tokens" for r in results)]
    common.print_table(head, [[title, *(show(r) for r in results)] for title, show in lines], options.markdown)


def main():
    options = parse(sys.argv[1:])
    facts = common.facts(options)
    print(f"{options.run or options.config}, {options.precision}; {common.describe(facts)}", flush=True)
    rows = measure(options)
    results = [summarise([row for row in rows if row["length"] == length]) for length in options.lengths]
    print_results(results, options)
    common.write_json(options.json, {"bench": "gist", **facts, "model": options.run or options.config, "set": options.set,
                                     "precision": options.precision, "question": options.question, "answer": options.answer,
                                     "results": results})  # fmt: skip


if __name__ == "__main__":
    sys.exit(common.ends_well(main))
