# SPDX-License-Identifier: Apache-2.0
"""slurm/serve.sbatch: says the way, serves, and drains when its time is over."""

import json
import re
import shutil
import sys
import urllib.error
import urllib.request

import pytest
from cluster import free_ports, wait_for
from fault_run import BRAID, ROOT

pytest.importorskip("transformers", reason="transformers is not installed: launch/setup --test-packages")
sys.path.insert(0, str(ROOT / "tests/parity"))
from hf_models import make_folder  # noqa: E402

TOKENIZER = ROOT / "tests/text/data/smol.json"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    vocabulary = len(json.loads(TOKENIZER.read_text())["model"]["vocab"]) + 64
    make_folder(folder, vocab_size=vocabulary, num_hidden_layers=2)
    shutil.copy(TOKENIZER, folder / "tokenizer.json")
    return folder


def submit(batch, *words, **environment):
    job = batch.cluster.submit("--output=serve-%j.out", f"--chdir={batch.folder}", ROOT / "slurm/serve.sbatch", *words,
                               "--device", "cpu", BRAID_ROOT=str(ROOT), BRAID_BINARY=str(BRAID), OMP_NUM_THREADS="1",
                               **environment)  # fmt: skip
    batch.jobs.append(job)
    return job


def ask(port, path, key="", body=None):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode() if body else None, headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def test_a_job_says_the_way_answers_and_drains(batch, model):
    port = free_ports(1)[0]
    job = submit(batch, model, "--port", port)
    wait_for(lambda: "ready on http://" in batch.output(job), 60, lambda: batch.all_about(job))
    said = batch.output(job)
    assert re.search(rf"ssh -N -L 8000:n[12]:{port} \S+", said)
    key = re.search(r"its key, for requests: (\w{32})$", said, re.M)[1]
    assert ask(port, "/health")["status"] == "healthy"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        ask(port, "/v1/models")
    answer = ask(port, "/v1/completions", key, {"prompt": "Hello", "max_tokens": 3})
    assert answer["usage"]["completion_tokens"] == 3 and answer["model"] == "tiny"
    batch.cluster.ask("scancel", "--batch", "--signal=USR1", job)  # as SLURM does before the time limit
    fields = batch.wait(job)
    assert (fields["JobState"], fields["ExitCode"]) == ("COMPLETED", "0:0"), batch.output(job)
    assert "stopping: answers under way may end" in batch.output(job)


def test_wrong_use_fails_at_once(batch, model):
    job = submit(batch, model / "none", BRAID_API_KEYS="secret")
    fields = batch.wait(job)
    assert (fields["JobState"], fields["ExitCode"]) == ("FAILED", "2:0"), batch.output(job)
    assert "its key" not in batch.output(job)
