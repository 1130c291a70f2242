# SPDX-License-Identifier: Apache-2.0
"""braid serve --replicas on a random model: shared out, one killed under load, started again, drained; fronts before servers."""

import json
import os
import signal
import threading
import time
import urllib.error

import pytest

parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is not installed: launch/setup --test-packages")

from serve_run import BRAID, Server, fetch, make_model, serving  # isort: skip (finds the other)
from cli_run import braid, one_line


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def server(model):
    with serving(model, "--replicas", 2, "--running", 4) as server:
        for i in (0, 1):
            server.wait_for(rf"^replica ({i}) is ready$", 120)
        yield server
        assert server.end() == 0, server.log
        assert server.lines[-2:] == ["stopping: answers under way may end", "stopped"]


def replicas(server):
    return json.loads(fetch(server.url() + "/health"))["replicas"]


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def children(process):
    """Replicas in the order in which they were started."""
    pids = map(int, open(f"/proc/{process.pid}/task/{process.pid}/children").read().split())
    return sorted(pids, key=lambda pid: int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[19]))


def complete(server, **more):
    return json.loads(fetch(server.url() + "/v1/completions", {"prompt": "Hello", "max_tokens": 12, "seed": 5} | more))


def samples(server):
    families = parser.text_string_to_metric_families(fetch(server.url() + "/metrics"))
    return {(sample.name, sample.labels.get("replica")): sample.value for family in families for sample in family.samples}


def test_the_same_seed_gives_the_same_tokens_on_each(server):
    before = samples(server)
    texts = {complete(server, temperature=0.9)["choices"][0]["text"] for _ in range(4)}
    after = samples(server)
    assert len(texts) == 1
    for name in ("0", "1"):
        assert after["braid_replica_requests_total", name] - before["braid_replica_requests_total", name] == 2
        assert after["braid_generated_tokens_total", name] - before.get(("braid_generated_tokens_total", name), 0) == 24
        assert after["braid_replica_up", name] == 1 and after["braid_replica_outstanding_tokens", name] == 0
    lines = [line for line in server.requests() if line["path"] == "/v1/completions"]
    by_id = {line["request_id"]: sum(other["request_id"] == line["request_id"] for other in lines) for line in lines}
    assert set(by_id.values()) == {2}, "one line of the front, one of the replica"


def test_each_has_cores_of_its_own(server):
    cores = [os.sched_getaffinity(pid) for pid in children(server.process)]
    assert len(cores) == 2 and all(cores)
    if os.cpu_count() > 1:
        assert not cores[0] & cores[1]


def stream(server, number, texts):
    body = {"prompt": f"Client {number} says", "max_tokens": 60, "temperature": 0.8, "seed": number, "stream": True}
    events = [line[6:] for line in fetch(server.url() + "/v1/completions", body).split("\n\n") if line]
    assert events[-1] == "[DONE]"
    pieces = [json.loads(event) for event in events[:-1]]
    failed = [piece["error"]["code"] for piece in pieces if "error" in piece]
    texts[number] = failed[0] if failed else "".join(piece["choices"][0]["text"] for piece in pieces)


def ask_many(server, count, meanwhile=lambda: None):
    texts = {}
    threads = [threading.Thread(target=stream, args=(server, i, texts)) for i in range(count)]
    for thread in threads:
        thread.start()
    meanwhile()
    for thread in threads:
        thread.join()
    return texts


def test_one_killed_under_load_fails_only_its_running_requests_and_rejoins(server):
    clients = 24
    expected = ask_many(server, clients)
    assert "replica_lost" not in expected.values() and len(expected) == clients
    restarts = replicas(server)[1]["restarts"]

    def kill():
        wait_until(lambda: replicas(server)[1]["running"] > 4)  # four run, others wait
        os.kill(children(server.process)[1], signal.SIGKILL)

    told = ask_many(server, clients, kill)
    lost = [number for number, text in told.items() if text == "replica_lost"]
    assert len(told) == clients and len(lost) <= 4
    assert {number: text for number, text in told.items() if number not in lost} == {
        number: text for number, text in expected.items() if number not in lost}  # fmt: skip
    moved = [line for line in server.requests() if line.get("moves", 0) > 0 and line["status"] == 200]
    assert moved, "those that waited on the killed one were answered by the other"
    wait_until(lambda: replicas(server)[1]["status"] == "healthy")
    assert replicas(server)[1]["restarts"] == restarts + 1
    assert samples(server)["braid_replica_restarts_total", "1"] == restarts + 1
    again = ask_many(server, clients)
    assert again == expected
    assert all(one["outstanding_tokens"] == 0 and one["running"] == 0 for one in replicas(server))


def test_replicas_take_requests_from_their_front_alone(server):
    pid = children(server.process)[0]
    keys = open(f"/proc/{pid}/environ").read().split("BRAID_API_KEYS=")[1].split("\0")[0]
    assert len(keys) > 20
    sockets = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd") if os.path.exists(f"/proc/{pid}/fd/{fd}")}
    rows = [line.split() for line in open("/proc/net/tcp").read().splitlines()[1:]]
    ports = [int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]
    assert len(ports) == 1, "its own, and none of the front's"
    port = ports[0]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        fetch(f"http://127.0.0.1:{port}/v1/models")


def test_a_front_before_servers_elsewhere(model, server):
    with serving(model, "--name", "tiny") as other:
        urls = [server.url(), other.url()]
        front = Server(BRAID, "serve", "--port", 0, *[word for url in urls for word in ("--replica", url)])
        front.url()
        for url in urls:
            front.wait_for("^(" + url.removeprefix("http://") + ") is ready$")
        assert [one["id"] for one in json.loads(fetch(front.url() + "/v1/models"))["data"]] == ["tiny"]
        assert len({complete(front)["choices"][0]["text"] for _ in range(2)}) == 1
        labels = {key[1] for key in samples(front)}
        inner, outer = (url.removeprefix("http://") for url in urls)
        assert {inner, outer, inner + "/0", inner + "/1"} <= labels
        assert front.end() == 0


def test_a_front_that_is_killed_leaves_no_replicas(model):
    with serving(model, "--replicas", 1) as front:
        front.url()
        pid = children(front.process)[0]
        front.process.kill()
        wait_until(lambda: not os.path.exists(f"/proc/{pid}/exe") or "Z" in open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1], 10)


@pytest.mark.parametrize("words, said", [
    (["{model}", "--replicas", "0"], "--replicas 0: expected a whole number from 1 to 1024"),
    (["{model}", "--replicas", "3", "--device", "cpu,cpu"], "--replicas 3: expected as many as --device names, 2"),
    (["{model}", "--device", "cpu,tpu"], "--device tpu: expected auto, cpu, cuda, or cuda:0,cuda:1,…"),
    (["{model}", "--device", "tpu"], "--device tpu: expected"),
    (["{model}", "--replica", "http://a:1"], "--replica URL and --model: expected one of both"),
    (["--replica", "a:1"], "--replica a:1: expected http://HOST:PORT"),
    (["--replica", "http://a:1", "--replicas", "2"], "--replica URL and --replicas: expected one of both"),
    (["{none}", "--replicas", "2"], "{none}"),
])  # fmt: skip
def test_wrong_use_is_one_line(model, tmp_path, words, said):
    names = {"model": model, "none": tmp_path / "none"}
    done = braid("serve", "--port", 0, *[word.format(**names) for word in words])
    assert said.format(**names) in one_line(done, 2)
