# SPDX-License-Identifier: Apache-2.0
"""A thousand streaming clients, of whom half vanish at random: nothing is left behind, and the others' texts are theirs."""

import asyncio
import json
import os
import random
import resource
import time

import pytest

parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is not installed: launch/setup --test-packages")

from serve_run import fetch, make_model, serving  # isort: skip (finds the other)

CLIENTS, KINDS = 1000, 20


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    model = make_model(tmp_path_factory.mktemp("models") / "tiny")
    with serving(model, "--running", 32, "--queue", 2 * CLIENTS, "--connections", 2 * CLIENTS, "--log", os.devnull) as server:
        server.url()
        yield server
        assert server.end() == 0, server.log


def body_of(client):
    kind = client % KINDS
    return {"prompt": "one two three " * (kind % 3) + str(kind), "max_tokens": 8, "temperature": 0.9, "seed": kind, "stream": True}


def text_of(stream):
    """Of the events' bytes, chunked as they came."""
    events = [line[6:] for line in stream.decode().split("\r\n") if line.startswith("data: ")]
    events = [event.strip() for event in events]
    assert events[-1] == "[DONE]", events[-2:]
    return "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1])


async def ask(port, client, vanishes, rng, slots):
    async with slots:  # of the listening queue, not of the server
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps(body_of(client)).encode()
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
    told = b""
    if vanishes:
        after = rng.choice([0, 1, 400, 900])
        while len(told) < after and (piece := await reader.read(200)):
            told += piece
    else:
        told = await reader.read()
    writer.close()
    return None if vanishes else text_of(told)


async def storm(port, clients, rng):
    slots = asyncio.Semaphore(100)
    vanishing = [rng.random() < 0.5 for _ in range(clients)]
    return await asyncio.gather(*(ask(port, i, vanishing[i], rng, slots) for i in range(clients)))


def numbers(server):
    families = parser.text_string_to_metric_families(fetch(server.url() + "/metrics"))
    return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


def held(server):
    """Open files and resident bytes of the server, once nothing is under way."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        now = numbers(server)
        if now["braid_requests_running"] + now["braid_requests_waiting"] == 0 and now["braid_connections"] == 1:
            break
        time.sleep(0.05)
    assert now["braid_requests_running"] == now["braid_requests_waiting"] == now["braid_cache_blocks_used"] == 0
    assert now["braid_outstanding_tokens"] == 0 and now["braid_connections"] == 1
    pid = server.process.pid
    pages = int(open(f"/proc/{pid}/statm").read().split()[1])
    return len(os.listdir(f"/proc/{pid}/fd")), pages * resource.getpagesize()


def test_of_a_thousand_streams_half_vanish(server):
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(files, 4 * CLIENTS), most), most))
    port, rng = int(server.url().rsplit(":", 1)[1]), random.Random(5)
    expected = [asyncio.run(ask(port, i, False, rng, asyncio.Semaphore(1))) for i in range(KINDS)]
    assert len(set(expected)) == KINDS
    asyncio.run(storm(port, CLIENTS // 2, rng))  # what the server keeps for later is there
    before_files, before_bytes = held(server)
    told = asyncio.run(storm(port, CLIENTS, rng))
    kept = [i for i, text in enumerate(told) if text is not None]
    assert CLIENTS // 3 < len(kept) < CLIENTS * 2 // 3
    assert [told[i] for i in kept] == [expected[i % KINDS] for i in kept]
    after_files, after_bytes = held(server)
    assert after_files <= before_files
    assert after_bytes - before_bytes < 32 << 20
    assert numbers(server)["braid_dropped_clients_total"] == 0
