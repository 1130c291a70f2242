# SPDX-License-Identifier: Apache-2.0
"""launch/bench io: checkpoints beside plain files of the same bytes on the same disk, see launch/bench."""

import argparse
import json
import pathlib
import re
import sys

import bench_common as common
from bench_common import BenchError

GIB = 2**30
TIMES = ["plain_write", "early_write", "save", "blocked", "memory_copy", "digest", "plain_read", "load",
         "plain_read_cached", "load_cached"]  # fmt: skip
EXAMPLES = """  launch/bench io --json io.json
  launch/bench io --ranks 2 --bytes 512MiB --folder /scratch/me --rounds 9
  launch/bench io --quick

save: from the hand-over of the copy to the commit, through the code that training uses: digests, seal, fsync, manifest,
rename. plain: every rank writes as many bytes to a file in pieces of 1 MiB, and fsync. early: the same in space that was
reserved, the kernel being told to begin every 8 MiB, as checkpoints are written: the most this disk takes. load: every rank
verifies and reads the whole state; plain read: every rank reads the plain files of all. The first of each pair is with the
files out of the page cache, the second with them in it. blocked: what training waits for; copy: memcpy of as many bytes."""


def parse(arguments):
    parser = common.Parser("io", "Saving and loading beside plain writes and reads.", EXAMPLES)
    parser.add_argument("--ranks", type=common.counts(1), default=[1, 2], metavar="LIST", help="default: 1,2")
    parser.add_argument("--bytes", type=size, default=GIB, metavar="SIZE", help="what each rank stores (default: 1GiB)")
    parser.add_argument("--folder", default=".", metavar="DIR", help="on the disk to measure (default: here)")
    common.add_common(parser, rounds=5)
    options = common.resolve(parser.parse_args(arguments))
    if options.quick:
        options.rounds, options.bytes = 1, 4 * 2**20
    if not pathlib.Path(options.folder).is_dir():
        parser.error(f"--folder {options.folder}: no such folder")
    return options


def size(text):
    match = re.fullmatch(r"([1-9]\d*)(KiB|MiB|GiB)?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}': expected bytes, as 65536, 64KiB, 25MiB or 1GiB")
    return int(match[1]) * {None: 1, "KiB": 2**10, "MiB": 2**20, "GiB": GIB}[match[2]]


def file_system(folder):
    """Type and device of the file system a folder lies on."""
    folder, best = pathlib.Path(folder).resolve(), ("unknown", "unknown", "")
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        device, place, kind = line.split()[:3]
        inside = folder == pathlib.Path(place) or pathlib.Path(place) in folder.parents
        if inside and len(place) >= len(best[2]):
            best = (kind, device, place)
    return f"{best[0]} on {best[1]}"


def run_one(options, ranks):
    """All rounds on so many ranks: the objects it printed, the first save apart."""
    command = [common.BRAID, "bench", "io", "--bytes", str(options.bytes), "--folder", str(pathlib.Path(options.folder).resolve()),
               "--rounds", str(options.rounds)]  # fmt: skip
    env = common.environment(max(1, options.threads // ranks), options.wait_policy)
    lines = common.run(f"braid on {ranks} ranks", [common.mpirun(ranks, command)], env)[0].splitlines()
    first, *rounds = [json.loads(line) for line in lines if line.startswith("{")]
    if [row["round"] for row in rounds] != list(range(1, options.rounds + 1)):
        raise BenchError(f"braid on {ranks} ranks gave {len(rounds)} rounds instead of {options.rounds}")
    return first, rounds


def summarise(ranks, first, rounds):
    """Ratios are of the same round, then the median over rounds: what else the disk has to do changes between them."""
    share = first["bytes"]
    result = {"ranks": ranks, "bytes_per_rank": share, "first_save_seconds": first["save"],
              "first_blocked_ms_per_gib": 1e3 * first["blocked"] * GIB / share}  # fmt: skip
    result["seconds"] = {name: common.spread([row[name] for row in rounds]) for name in TIMES}
    rates = {name: [ranks * share / row[name] for row in rounds] for name in TIMES}
    result["bytes_per_second"] = {name: common.spread(rates[name]) for name in TIMES if name not in ("blocked", "memory_copy")}
    result["ms_per_gib"] = {name: common.spread([1e3 * row[name] * GIB / share for row in rounds]) for name in ("blocked", "memory_copy")}
    ratios = {"save_over_plain": ("plain_write", "save"), "save_over_early": ("early_write", "save"),
              "digest_share_of_save": ("digest", "save"), "blocked_over_copy": ("blocked", "memory_copy"),
              "load_over_plain": ("plain_read", "load"), "load_over_plain_cached": ("plain_read_cached", "load_cached")}  # fmt: skip
    for name, (above, below) in ratios.items():
        result[name] = common.spread([row[above] / row[below] for row in rounds])
    return result


def rate(spread):
    return f"{spread['median'] / GIB:.2f} ({spread['lowest'] / GIB:.2f} to {spread['highest'] / GIB:.2f})"


def percent(spread):
    return f"{100 * spread['median']:.0f}% ({100 * spread['lowest']:.0f} to {100 * spread['highest']:.0f})"


def milliseconds(spread):
    return f"{spread['median']:.0f} ({spread['lowest']:.0f} to {spread['highest']:.0f})"


def print_results(results, options):
    lines = [
        ("save, GiB/s", lambda r: rate(r["bytes_per_second"]["save"])),
        ("plain write and fsync, GiB/s", lambda r: rate(r["bytes_per_second"]["plain_write"])),
        ("save / plain write", lambda r: percent(r["save_over_plain"])),
        ("early write and fsync, GiB/s", lambda r: rate(r["bytes_per_second"]["early_write"])),
        ("save / early write", lambda r: percent(r["save_over_early"])),
        ("CRC-32C in memory, all ranks, GiB/s", lambda r: rate(r["bytes_per_second"]["digest"])),
        ("digest's share of the save", lambda r: percent(r["digest_share_of_save"])),
        ("blocked, ms a GiB of the rank", lambda r: milliseconds(r["ms_per_gib"]["blocked"])),
        ("memcpy, ms a GiB", lambda r: milliseconds(r["ms_per_gib"]["memory_copy"])),
        ("blocked in the first save, ms a GiB", lambda r: f"{r['first_blocked_ms_per_gib']:.0f}"),
        ("load, not cached, GiB/s", lambda r: rate(r["bytes_per_second"]["load"])),
        ("plain read, not cached, GiB/s", lambda r: rate(r["bytes_per_second"]["plain_read"])),
        ("load / plain read, not cached", lambda r: percent(r["load_over_plain"])),
        ("load, cached, GiB/s", lambda r: rate(r["bytes_per_second"]["load_cached"])),
        ("plain read, cached, GiB/s", lambda r: rate(r["bytes_per_second"]["plain_read_cached"])),
    ]
    head = ["", *(f"{r['ranks']} rank{'s' * (r['ranks'] > 1)}" for r in results)]
    common.print_table(head, [[title, *(show(r) for r in results)] for title, show in lines], options.markdown)


def main():
    options = parse(sys.argv[1:])
    facts = common.facts(options) | {"file_system": file_system(options.folder)}
    print(f"{options.bytes / GIB:.3g} GiB a rank, {facts['file_system']}; {common.describe(facts)}", flush=True)
    results = []
    for ranks in options.ranks:
        results.append(summarise(ranks, *run_one(options, ranks)))
        common.say(f"{ranks} rank{'s' * (ranks > 1)} done")
    print_results(results, options)
    common.write_json(options.json, {"bench": "io", **facts, "results": results})


if __name__ == "__main__":
    sys.exit(common.ends_well(main))
