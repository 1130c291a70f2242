# SPDX-License-Identifier: Apache-2.0
"""Tokens a second, and seconds of CPU for each token, of one replica and of two with a core each, under streaming clients.

    BRAID_BUILD=build python tests/bench/replicas_bench.py [ROUNDS]

Rounds are interleaved, so that what else the machine does meets both; on a loaded one read the CPU seconds."""

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

STREAMS, TOKENS = 16, 32
SHAPE = dict(hidden_size=512, intermediate_size=1376, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=8)


def ask(url, seed):
    body = {"prompt": "Once upon a time", "max_tokens": TOKENS, "seed": seed, "stream": True, "ignore_eos": True}
    assert fetch(url + "/v1/completions", body).endswith("data: [DONE]\n\n")


def cpu_seconds(pid):
    """Of a process and its children."""
    children = open(f"/proc/{pid}/task/{pid}/children").read().split()
    own = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(own[11]) + int(own[12])) / os.sysconf("SC_CLK_TCK") + sum(map(cpu_seconds, children))


def measure(server):
    """Tokens a second, CPU seconds a token."""
    url, before = server.url(), cpu_seconds(server.process.pid)
    threads = [threading.Thread(target=ask, args=(url, seed)) for seed in range(STREAMS)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, tokens = time.monotonic() - begin, STREAMS * TOKENS
    return tokens / seconds, (cpu_seconds(server.process.pid) - before) / tokens


def main(rounds):
    rows = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(pathlib.Path(folder) / "model", **SHAPE)
        servers = {count: serving(model, "--replicas", count, "--running", STREAMS, "--log", os.devnull) for count in rows}
        with servers[1] as one, servers[2] as two:
            for count, server in ((1, one), (2, two)):
                for i in range(count):
                    server.wait_for(rf"^replica ({i}) is ready$", 300)
                measure(server)
            for _ in range(rounds):
                for count, server in ((1, one), (2, two)):
                    rows[count].append(measure(server))
    for count, measured in rows.items():
        rates, costs = zip(*measured)
        print(json.dumps({"replicas": count, "tokens_per_second": round(statistics.median(rates), 1),
                          "lowest": round(min(rates), 1), "highest": round(max(rates), 1),
                          "cpu_milliseconds_per_token": round(1000 * statistics.median(costs), 3)}))  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
