# SPDX-License-Identifier: Apache-2.0
"""launch/bench decode: greedy answers beside transformers, bitsandbytes and llama.cpp, see launch/bench."""

import importlib.util
import json
import pathlib
import sys

import bench_common as common
from bench_common import BenchError
from finetune_bench import SHAPES, make_model

EXAMPLES = """  launch/bench decode --json decode.json                     # TinyLlama's shape, dense and in NF4
  launch/bench decode --shape smollm-135m --precision bf16 --streams 1,4,16
  launch/bench decode --layers 4 --threads 1
  launch/bench decode --quick                                # does it work here

braid and transformers read the same folder of random weights, take the same prompt, and answer greedily; in fp32 their tokens must
be equal, in bf16 and NF4 equal ones are counted, since the likeliest of random weights are nearly as likely as the next.
Tokens/s: streams over the median step behind the first token; then the median over rounds. Bandwidth: what a step reads,
weights, keys and values, of what this machine was measured to read with as many threads. NF4: double quantised, the head
dense, computed in the precision named. llama.cpp (on CPUs, where llama-cpp-python and gguf are installed) has weights of its
own, of the same shape and random: dense in the same precision; beside NF4 in Q4_0, the head in Q6_K, on its own terms."""


def parse(arguments):
    parser = common.Parser("decode", "Answers beside transformers and bitsandbytes.", EXAMPLES)
    parser.add_argument("--shape", choices=SHAPES, default="tinyllama", help="default: %(default)s")
    parser.add_argument("--layers", type=common.at_least(1), metavar="N", help="default: the shape's own")
    parser.add_argument("--method", type=common.words("dense", "nf4"), default=["dense", "nf4"], metavar="METHODS",
                        help="default: dense,nf4")  # fmt: skip
    parser.add_argument("--precision", type=common.words("fp32", "bf16"), default=["fp32", "bf16"], metavar="TYPES")
    parser.add_argument("--streams", type=common.counts(1), default=[1], metavar="LIST", help="answers beside each other (default: 1)")
    parser.add_argument("--prompt-tokens", type=common.at_least(1), default=16, metavar="N", help="default: %(default)s")
    parser.add_argument("--tokens", type=common.at_least(3), default=32, metavar="N", help="of an answer (default: %(default)s)")
    parser.add_argument("--against", type=common.words("transformers", "llama.cpp"), default=["transformers", "llama.cpp"],
                        metavar="PROGRAMS", help="default: transformers,llama.cpp")  # fmt: skip
    parser.add_argument("--alone", action="store_true", help="braid alone")
    common.add_common(parser)
    options = common.resolve(parser.parse_args(arguments))
    if options.quick:
        options.rounds, options.shape, options.tokens = 1, "tiny", 6
    options.against = [] if options.alone else [name for name in options.against if is_there(name, options)]
    return options


def is_there(name, options):
    if name != "llama.cpp":
        return True
    missing = [package for package, module in (("llama-cpp-python", "llama_cpp"), ("gguf", "gguf")) if not importlib.util.find_spec(module)]
    if missing:
        common.say(f"{' and '.join(missing)} not installed: measured without llama.cpp")
    return not missing and options.device == "cpu"


def prompt_ids(options):
    """Ids that every shape has."""
    return [(37 * i + 11) % SHAPES[options.shape]["vocab_size"] for i in range(options.prompt_tokens)]


def objects(name, command, options):
    lines = common.run(name, [command], common.environment(options.threads, options.wait_policy))[0].splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def run_braid(options, case, streams):
    command = [common.BRAID, "bench", "decode", "--model", str(case["model"]), "--ids", ",".join(map(str, prompt_ids(options))),
               "--tokens", str(options.tokens), "--streams", str(streams), "--rounds", "1", "--precision", case["precision"],
               "--device", "cuda:0" if options.device == "cuda" else "cpu"]  # fmt: skip
    return objects("braid", command + (["--quantise", "nf4"] if case["method"] == "nf4" else []), options)[0]


def run_transformers(options, case, streams):
    command = [sys.executable, str(common.HERE / "decode_transformers.py"), "--model", str(case["model"]), "--prompt",
               ",".join(map(str, prompt_ids(options))), "--tokens", str(options.tokens), "--streams", str(streams), "--rounds", "1",
               "--dtype", case["precision"], "--quantise", "nf4" if case["method"] == "nf4" else "none", "--threads",
               str(options.threads), "--device", options.device]  # fmt: skip
    return objects("transformers", command, options)[0]


LLAMA_TYPES = {("dense", "fp32"): "f32", ("dense", "bf16"): "bf16", ("nf4", "fp32"): "q4_0", ("nf4", "bf16"): "q4_0"}


def run_llama_cpp(options, case, streams):
    kind = LLAMA_TYPES[case["method"], case["precision"]]
    program, file = [sys.executable, str(common.HERE / "decode_llama_cpp.py")], case["model"].parent / f"{kind}.gguf"
    if not file.exists():
        objects("llama.cpp", program + ["--write", str(file), "--config", str(case["model"] / "config.json"), "--type", kind], options)
    command = program + ["--model", str(file), "--prompt", ",".join(map(str, prompt_ids(options))), "--tokens", str(options.tokens),
                         "--streams", str(streams), "--threads", str(options.threads)]  # fmt: skip
    return objects("llama.cpp", command, options)[0]


def measure(options, case, streams):
    others = {"transformers": run_transformers, "llama.cpp": run_llama_cpp}
    programs = {"braid": run_braid} | {name: others[name] for name in options.against}
    runs = {name: [] for name in programs}
    for number in range(options.rounds):
        for name in common.rotated(list(programs), number):
            runs[name].append(programs[name](options, case, streams))
            speed = runs[name][-1]["tokens_per_second"]
            common.say(f"{case['name']}, {streams} streams, round {number + 1}/{options.rounds}: {name} {speed:.2f} tokens/s")
    if "transformers" in runs and case["precision"] == "fp32" and case["method"] == "dense":
        ours, theirs = runs["braid"][0]["ids"], runs["transformers"][0]["ids"]
        if ours != theirs:
            raise BenchError(f"{case['name']}: not the same work: braid answers {ours}, transformers {theirs}")
    return runs


def summarise(case, streams, runs):
    ours = common.spread([run["tokens_per_second"] for run in runs["braid"]])["median"]
    programs = {}
    for name, rounds in runs.items():
        speed, first = (common.spread([run[key] for run in rounds]) for key in ("tokens_per_second", "first_token_seconds"))
        same = sum(a == b for a, b in zip(rounds[0]["ids"], runs["braid"][0]["ids"]))
        equal = None if name == "llama.cpp" else same
        programs[name] = {"tokens_per_second": speed, "first_token_seconds": first, "braid_over_this": ours / speed["median"],
                          "equal_tokens": equal, "runs": rounds}  # fmt: skip
    return {"method": case["method"], "precision": case["precision"], "streams": streams, "programs": programs}


def print_case(case, result, options):
    head = [f"{case['name']}, {result['streams']} streams", "tokens/s", "lowest", "highest", "braid / this", "first token s", "equal tokens", "bandwidth"]
    rows = []
    for name, program in result["programs"].items():
        speed = program["tokens_per_second"]
        shares = [run["read_share"] for run in program["runs"] if run.get("read_share") is not None]
        rows.append([name, f"{speed['median']:.2f}", f"{speed['lowest']:.2f}", f"{speed['highest']:.2f}", f"{program['braid_over_this']:.2f}",
                     f"{program['first_token_seconds']['median']:.3f}", "-" if program["equal_tokens"] is None else f"{program['equal_tokens']}/{options.tokens}",
                     f"{100 * common.spread(shares)['median']:.0f} %" if shares else "-"])  # fmt: skip
    common.print_table(head, rows, options.markdown)


def main():
    options = parse(sys.argv[1:])
    options.context = options.prompt_tokens + options.tokens
    facts = common.facts(options)
    print(common.describe(facts))
    results = []
    with common.scratch() as folder:
        for precision in options.precision:
            model = pathlib.Path(folder) / precision
            make_model(options, precision, model)
            for method in options.method:
                case = {"name": f"{method} {precision}", "method": method, "precision": precision, "model": model}
                for streams in options.streams:
                    results.append(summarise(case, streams, measure(options, case, streams)))
                    print_case(case, results[-1], options)
    common.write_json(options.json, {"bench": "decode", **facts, "shape": options.shape, "layers": options.layers,
                                     "prompt_tokens": options.prompt_tokens, "tokens": options.tokens, "cases": results})  # fmt: skip


if __name__ == "__main__":
    sys.exit(common.ends_well(main))
