# SPDX-License-Identifier: Apache-2.0
"""Tokens a second of one replica and of two with a core each, under streaming clients, and what of CPU a token takes of the
replicas, of the front before them and of the clients.

    BRAID_BUILD=build python tests/bench/replicas_bench.py [ROUNDS]

Clients are twice as many as a replica runs at once: one is as full as each of two, and neither waits for requests. Front and clients
need a core of their own, or part of one: on as many cores as replicas they take theirs from two replicas and not from one, whose
ratio then is at most what `most_on_these_cores` says. Rounds are interleaved, so that what else the machine does meets both; on a
loaded one read the CPU."""

import json
import os
import pathlib
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "serve"))
from serve_run import fetch, make_model, serving  # noqa: E402

STREAMS, RUNNING, TOKENS = 32, 16, 32
SHAPE = dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3)  # SmolLM-135M


def ask(url, seed):
    body = {"prompt": "Once upon a time", "max_tokens": TOKENS, "seed": seed, "stream": True, "ignore_eos": True}
    assert fetch(url + "/v1/completions", body).endswith("data: [DONE]\n\n")


def cpu_seconds(pid):
    """Of a process alone."""
    own = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(own[11]) + int(own[12])) / os.sysconf("SC_CLK_TCK")


def cpu_by_part(front):
    """Seconds of replicas, which are the front's children, of the front, and of the clients, which are this program."""
    replicas = [pid for task in os.listdir(f"/proc/{front}/task") for pid in open(f"/proc/{front}/task/{task}/children").read().split()]
    return {"replicas": sum(map(cpu_seconds, replicas)), "front": cpu_seconds(front), "clients": time.process_time()}


def measure(server):
    """Tokens a second, and CPU milliseconds a token by part."""
    url, before = server.url(), cpu_by_part(server.process.pid)
    threads = [threading.Thread(target=ask, args=(url, seed)) for seed in range(STREAMS)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, tokens = time.monotonic() - begin, STREAMS * TOKENS
    after = cpu_by_part(server.process.pid)
    return tokens / seconds, {part: 1000 * (after[part] - before[part]) / tokens for part in after}


def most_ratio(one, two):
    """Of two replicas' speed and one's, whose core is its own, where two share these cores with front and clients, and nothing waits."""
    return min(2 * one["replicas"] / two["replicas"], os.cpu_count() * one["replicas"] / sum(two.values()))


def main(rounds):
    rows = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(pathlib.Path(folder) / "model", **SHAPE)
        servers = {count: serving(model, "--replicas", count, "--running", RUNNING, "--log", os.devnull) for count in rows}
        with servers[1] as one, servers[2] as two:
            for count, server in ((1, one), (2, two)):
                for i in range(count):
                    server.wait_for(rf"^replica ({i}) is ready$", 300)
                measure(server)
            for _ in range(rounds):
                for count, server in ((1, one), (2, two)):
                    rows[count].append(measure(server))
    report(rows)


def report(rows):
    speed, cost = {}, {}
    for count, measured in rows.items():
        rates, costs = zip(*measured)
        speed[count] = statistics.median(rates)
        cost[count] = {part: statistics.median(one[part] for one in costs) for part in costs[0]}
        print(json.dumps({"replicas": count, "tokens_per_second": round(speed[count], 1), "lowest": round(min(rates), 1),
                          "highest": round(max(rates), 1),
                          "cpu_milliseconds_per_token": {part: round(ms, 3) for part, ms in cost[count].items()}}))  # fmt: skip
    print(json.dumps({"ratio": round(speed[2] / speed[1], 3), "most_on_these_cores": round(most_ratio(cost[1], cost[2]), 3)}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
