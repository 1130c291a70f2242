# SPDX-License-Identifier: Apache-2.0
"""launch/bench tokenizer: Braid's tokenizer beside the package tokenizers, see launch/bench."""

import importlib.util
import json
import pathlib
import sys
import sysconfig

import bench_common as common
from bench_common import BenchError

FIXTURES = common.ROOT / "tests" / "text" / "data"
TYPES = (".py", ".txt", ".md", ".rst", ".c", ".h", ".cpp", ".html")
EXAMPLES = """  launch/bench tokenizer --json tokenizer.json
  launch/bench tokenizer --tokenizers models/smol/tokenizer.json --text ~/texts --megabytes 32 --threads 8
  launch/bench tokenizer --quick

Every program starts anew in each round, loads the tokenizer, and encodes texts that it has not met before. single: one call
a text on one thread (package: encode). batch: one call for all (package: encode_batch_fast, without offsets). Programs
whose ids differ are refused. MB/s counts 1,000,000 bytes of UTF-8."""


def parse(arguments):
    parser = common.Parser("tokenizer", "Encoding text beside the package tokenizers.", EXAMPLES)
    fixtures = [str(FIXTURES / f"{name}.json") for name in ("smol", "l3", "tiny")]
    parser.add_argument("--tokenizers", type=common.words(), default=fixtures, metavar="FILES",
                        help="comma list of tokenizer.json files (default: the tests' own three)")  # fmt: skip
    parser.add_argument("--text", default=sysconfig.get_path("stdlib"), metavar="DIR", help="a folder of text (default: Python's library)")
    parser.add_argument("--megabytes", type=common.at_least(1), default=8, metavar="N", help="of text (default: %(default)s)")
    parser.add_argument("--characters", type=common.at_least(1), default=4000, metavar="N", help="of one text at most (default: %(default)s)")
    common.add_common(parser, rounds=5)
    options = common.resolve(parser.parse_args(arguments))
    if options.quick:
        options.rounds, options.megabytes = 1, 1
    for path in options.tokenizers:
        if not pathlib.Path(path).is_file():
            parser.error(f"--tokenizers {path}: no such file")
    if not pathlib.Path(options.text).is_dir():
        parser.error(f"--text {options.text}: no such folder")
    if not importlib.util.find_spec("tokenizers"):
        parser.error("the package tokenizers is missing: .deps/venv/bin/pip install tokenizers")
    return options


def read_texts(folder, limit, characters):
    """Files in the order of their names until there is enough, in parts."""
    texts, size = [], 0
    for path in sorted(p for p in pathlib.Path(folder).rglob("*") if p.suffix in TYPES and p.is_file()):
        text = path.read_text(encoding="utf-8", errors="replace")
        for part in (text[at : at + characters] for at in range(0, len(text), characters)):
            texts.append(part)
            size += len(part.encode())
            if size >= limit:
                return texts, size
    if not texts:
        raise BenchError(f"{folder}: no text in it")
    return texts, size


def programs(options, path, texts, mode):
    threads = 1 if mode == "single" else options.threads
    ours = [str(pathlib.Path(common.BRAID).parent / "tests" / "tokenizer_bench"), path, texts, mode, str(threads)]
    package = [sys.executable, str(common.HERE / "tokenizer_package.py"), path, texts, mode]
    env = common.environment(threads, options.wait_policy) | {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
    return {"braid": (ours, env), "tokenizers": (package, env)}


def measure(options, path, texts, size, mode):
    """Ratios are of the same round."""
    found = {"braid": [], "tokenizers": []}
    commands = programs(options, path, texts, mode)
    for number in range(options.rounds):
        for name in common.rotated(list(commands), number):
            command, env = commands[name]
            found[name].append(json.loads(common.run(name, [command], env)[0]))
    if len({(row["tokens"], row["digest"]) for rows in found.values() for row in rows}) != 1:
        raise BenchError(f"{path}: the programs do not give the same ids")
    rates = {name: [size / row["seconds"] / 1e6 for row in rows] for name, rows in found.items()}
    return {"tokenizer": pathlib.Path(path).stem, "call": mode, "tokens": found["braid"][0]["tokens"],
            "megabytes_per_second": {name: common.spread(values) for name, values in rates.items()},
            "ratio": common.spread([a / b for a, b in zip(rates["braid"], rates["tokenizers"])])}  # fmt: skip


def show(spread, digits):
    return f"{spread['median']:.{digits}f} ({spread['lowest']:.{digits}f} to {spread['highest']:.{digits}f})"


def print_results(results, options):
    rows = [[result["tokenizer"], result["call"], show(result["megabytes_per_second"]["braid"], 1),
             show(result["megabytes_per_second"]["tokenizers"], 1), show(result["ratio"], 1)] for result in results]  # fmt: skip
    common.print_table(["tokenizer", "call", "braid, MB/s", "tokenizers, MB/s", "ratio"], rows, options.markdown)


def main():
    options = parse(sys.argv[1:])
    import tokenizers

    texts, size = read_texts(options.text, options.megabytes * 1_000_000, options.characters)
    facts = common.facts(options) | {"tokenizers": tokenizers.__version__, "bytes": size, "texts": len(texts)}
    print(f"{size / 1e6:.1f} MB in {len(texts)} texts; tokenizers {tokenizers.__version__}; {common.describe(facts)}", flush=True)
    results = []
    with common.scratch() as folder:
        path = pathlib.Path(folder) / "texts.json"
        path.write_text(json.dumps(texts))
        for tokenizer in options.tokenizers:
            for mode in ("single", "batch"):
                results.append(measure(options, tokenizer, str(path), size, mode))
            common.say(f"{pathlib.Path(tokenizer).stem} done")
    print_results(results, options)
    common.write_json(options.json, {"bench": "tokenizer", **facts, "results": results})


if __name__ == "__main__":
    sys.exit(common.ends_well(main))
