# SPDX-License-Identifier: Apache-2.0
"""launch/bench serve: braid serve under load beside transformers' generate behind HTTP, see launch/bench."""

import contextlib
import json
import pathlib
import shutil
import subprocess
import sys

import bench_common as common
from bench_common import BenchError
from finetune_bench import SHAPES, make_model

TOKENIZER = common.ROOT / "tests/text/data/smol.json"
EXAMPLES = """  launch/bench serve --json serve.json                       # SmolLM-135M's shape, 1, 4 and 16 streams
  launch/bench serve --shape tinyllama --layers 4 --streams 1,8 --alone
  launch/bench serve --quick                                 # does it work here

Both servers hold the same folder of random weights, with the vocabulary of a small tokenizer, and are asked by `braid bench serve`:
the same prompts, greedy answers of the same length. transformers answers one request after the other (serve_transformers.py).
Tokens/s: of all streams together; then the median over rounds."""


def parse(arguments):
    parser = common.Parser("serve", "braid serve under load, beside transformers behind HTTP.", EXAMPLES)
    parser.add_argument("--shape", choices=SHAPES, default="smollm-135m", help="default: %(default)s")
    parser.add_argument("--layers", type=common.at_least(1), metavar="N", help="default: the shape's own")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16", help="default: %(default)s")
    parser.add_argument("--streams", type=common.counts(1), default=[1, 4, 16], metavar="LIST", help="clients beside each other (default: 1,4,16)")
    parser.add_argument("--requests", type=common.at_least(1), default=1, metavar="N", help="of each client (default: %(default)s)")
    parser.add_argument("--prompt-tokens", type=common.at_least(1), default=64, metavar="N", help="default: %(default)s")
    parser.add_argument("--tokens", type=common.at_least(2), default=32, metavar="N", help="of an answer (default: %(default)s)")
    parser.add_argument("--alone", action="store_true", help="braid alone")
    common.add_common(parser)
    options = common.resolve(parser.parse_args(arguments))
    if options.quick:
        options.rounds, options.shape, options.tokens, options.streams = 1, "tiny", 6, [1, 2]
    return options


def make_folder(options, folder):
    vocabulary = json.loads(TOKENIZER.read_text())
    size = len(vocabulary["model"]["vocab"]) + len(vocabulary["added_tokens"])
    make_model(options, options.precision, folder, vocab_size=size)
    shutil.copy(TOKENIZER, folder / "tokenizer.json")


def load_of(options, *words):
    command = [common.BRAID, "bench", "serve", "--json", "--streams", ",".join(map(str, options.streams)), "--requests", str(options.requests),
               "--prompt-tokens", str(options.prompt_tokens), "--tokens", str(options.tokens), *words]  # fmt: skip
    lines = common.run("braid bench serve", [command], common.environment(options.threads, options.wait_policy))[0].splitlines()
    return [json.loads(line) for line in lines]


def run_braid(options, folder):
    return load_of(options, str(folder), "--", "--precision", options.precision, "--device", options.device)


@contextlib.contextmanager
def transformers_server(options, folder):
    command = [sys.executable, str(common.HERE / "serve_transformers.py"), "--model", str(folder), "--dtype", options.precision, "--threads",
               str(options.threads), "--device", options.device]  # fmt: skip
    env = common.environment(options.threads, options.wait_policy)
    server = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        line = server.stdout.readline()
        if not line.startswith("ready on "):
            raise BenchError("transformers' server did not start")
        yield line.split()[-1]
    finally:
        server.kill()
        server.wait()


def run_transformers(options, folder):
    with transformers_server(options, folder) as url:
        return load_of(options, "--url", url)


def measure(options, folder):
    programs = {"braid": run_braid} if options.alone else {"braid": run_braid, "transformers": run_transformers}
    runs = {name: [] for name in programs}
    for number in range(options.rounds):
        for name in common.rotated(list(programs), number):
            runs[name].append(programs[name](options, folder))
            speeds = ", ".join(f"{line['tokens_per_second']:.1f}" for line in runs[name][-1])
            common.say(f"round {number + 1}/{options.rounds}: {name} {speeds} tokens/s")
    return runs


def summarise(options, runs):
    results = []
    for number, streams in enumerate(options.streams):
        lines = {name: [run[number] for run in rounds] for name, rounds in runs.items()}
        speeds = {name: common.spread([line["tokens_per_second"] for line in of]) for name, of in lines.items()}
        ours = speeds["braid"]["median"]
        results.append({"streams": streams, "programs": {
            name: {"tokens_per_second": speeds[name], "braid_over_this": ours / speeds[name]["median"],
                   "first_token_seconds": common.spread([line["first_token_seconds"]["p50"] for line in of]), "runs": of}
            for name, of in lines.items()}})  # fmt: skip
    return results


def print_results(options, results):
    head = ["streams", "program", "tokens/s", "lowest", "highest", "braid / this", "first token s"]
    rows = []
    for result in results:
        for name, program in result["programs"].items():
            speed = program["tokens_per_second"]
            rows.append([result["streams"], name, *(f"{speed[key]:.1f}" for key in ("median", "lowest", "highest")),
                         f"{program['braid_over_this']:.2f}", f"{program['first_token_seconds']['median']:.3f}"])  # fmt: skip
    common.print_table(head, rows, options.markdown)


def main():
    options = parse(sys.argv[1:])
    options.context = options.prompt_tokens + options.tokens
    facts = common.facts(options)
    print(common.describe(facts))
    with common.scratch() as scratch:
        folder = pathlib.Path(scratch) / "model"
        make_folder(options, folder)
        results = summarise(options, measure(options, folder))
    print_results(options, results)
    common.write_json(options.json, {"bench": "serve", **facts, "shape": options.shape, "layers": options.layers, "precision": options.precision,
                                     "prompt_tokens": options.prompt_tokens, "tokens": options.tokens, "results": results})  # fmt: skip


if __name__ == "__main__":
    sys.exit(common.ends_well(main))
