# SPDX-License-Identifier: Apache-2.0
"""braid serve on a random model, asked by OpenAI's own client and read by Prometheus' own parser."""

import json
import signal
import threading

import pytest

openai = pytest.importorskip("openai", reason="openai is not installed: launch/setup --test-packages")
parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is not installed: launch/setup --test-packages")

from serve_run import TOKENIZER, fetch, make_model, serving  # noqa: E402  # isort: skip (finds the others)
import tokenizers  # noqa: E402
from hf_models import braid, generated, greedy, load  # noqa: E402

PROMPT = "The quick brown fox"
PACKAGE = tokenizers.Tokenizer.from_file(str(TOKENIZER))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def server(model):
    with serving(model, "--running", 4) as server:
        server.url()
        yield server
        assert server.end() == 0, server.log
        assert server.lines[-1] == "stopped"


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.url() + "/v1", api_key="any", max_retries=0) as client:
        yield client


def text_of(ids):
    return PACKAGE.decode(ids, skip_special_tokens=True)


def test_it_says_what_it_serves(server):
    server.url()
    assert server.lines[0].startswith("listening on http://127.0.0.1:") and server.lines[0].endswith(", loading tiny")
    assert server.lines[1].startswith("tiny on cpu in fp32: weights ") and "; context 160" in server.lines[1]


def test_models_are_listed(client):
    assert [one.id for one in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "braid"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_greedy_completions_are_transformers(client, model):
    ids = PACKAGE.encode(PROMPT).ids
    expected = text_of(greedy(load(model), ids, 24))
    done = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=24, temperature=0)
    assert done.choices[0].text == expected and done.choices[0].finish_reason == "length"
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (len(ids), 24)
    assert client.completions.create(model="tiny", prompt=ids, max_tokens=24, temperature=0).choices[0].text == expected


def test_streams_and_whole_answers_are_the_same(client):
    options = dict(model="tiny", prompt=PROMPT, max_tokens=60, temperature=0.9, seed=11, top_p=0.95, extra_body={"top_k": 40, "min_p": 0.01})
    whole = client.completions.create(**options)
    chunks = list(client.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage.completion_tokens == 60 and chunks[-2].choices[0].finish_reason == "length"
    other = client.completions.create(**(options | {"seed": 12}))
    assert other.choices[0].text != whole.choices[0].text


def test_several_answers_differ_and_are_those_of_generate(client, model):
    done = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=20, temperature=0.8, seed=5, n=3)
    texts = [choice.text for choice in sorted(done.choices, key=lambda choice: choice.index)]
    assert len(set(texts)) == 3
    told = braid("generate", "--model", model, "--prompt", PROMPT, "--max-new-tokens", 20, "--temperature", 0.8, "--seed", 5,
                 "--answers", 3, "--json", "--device", "cpu")  # fmt: skip
    assert [answer["text"] for answer in json.loads(told.stdout)["answers"]] == texts


def test_logprobs_are_told(client):
    done = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=5, temperature=0, logprobs=3).choices[0]
    assert "".join(done.logprobs.tokens) == done.text
    for token, logprob, top in zip(done.logprobs.tokens, done.logprobs.token_logprobs, done.logprobs.top_logprobs):
        assert logprob == pytest.approx(max(top.values())) and logprob == pytest.approx(top[token])
    chat = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Hi"}], max_tokens=4,
                                          temperature=0, logprobs=True, top_logprobs=2).choices[0]  # fmt: skip
    assert b"".join(bytes(token.bytes) for token in chat.logprobs.content).decode(errors="replace") == chat.message.content
    assert all(len(token.top_logprobs) == 2 for token in chat.logprobs.content)


def test_chats_are_put_in_the_folders_template(client, server):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    text = "[system] Be brief.\n[user] Hi\n[assistant]"
    chat = client.chat.completions.create(model="tiny", messages=messages, max_tokens=12, temperature=0)
    plain = client.completions.create(model="tiny", prompt=PACKAGE.encode(text).ids, max_tokens=12, temperature=0)
    assert chat.choices[0].message.content == plain.choices[0].text and chat.choices[0].message.role == "assistant"
    chunks = list(client.chat.completions.create(model="tiny", messages=messages, max_tokens=12, temperature=0, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == chat.choices[0].message.content
    tokens = json.loads(fetch(server.url() + "/tokenize", {"messages": messages}))["tokens"]
    assert tokens == PACKAGE.encode(text).ids


def test_stop_strings_end_answers(client):
    options = dict(model="tiny", prompt=PROMPT, max_tokens=40, temperature=0)
    whole = client.completions.create(**options).choices[0].text
    stop = whole[len(whole) // 2 :][:4]
    done = client.completions.create(**options, stop=stop).choices[0]
    assert done.text == whole[: whole.find(stop)] and done.finish_reason == "stop"


def test_errors_are_the_clients_own(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="tiny", prompt=PROMPT, max_tokens=100000)
    assert caught.value.code == "context_length_exceeded" and caught.value.param == "max_tokens"
    with pytest.raises(openai.BadRequestError, match="tools are not supported"):
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Hi"}],
                                       tools=[{"type": "function", "function": {"name": "f"}}])  # fmt: skip
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="huge", prompt=PROMPT)


def test_many_at_once_get_what_they_get_alone(client):
    prompts = [f"Number {i}:" for i in range(12)]
    ask = lambda prompt: client.completions.create(model="tiny", prompt=prompt, max_tokens=16, temperature=0.7, seed=3).choices[0].text  # noqa: E731
    alone = [ask(prompt) for prompt in prompts]
    together = [None] * len(prompts)
    def one(i):
        together[i] = ask(prompts[i])
    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def samples(url):
    found = {}
    for family in parser.text_string_to_metric_families(fetch(url + "/metrics")):
        for sample in family.samples:
            found[(sample.name, *sample.labels.values())] = sample.value
    return found


def test_metrics_are_prometheus(client, server):
    before = samples(server.url())
    client.completions.create(model="tiny", prompt=PROMPT, max_tokens=10, temperature=0)
    after = samples(server.url())
    grown = {key: after[key] - before.get(key, 0) for key in after}
    assert grown["braid_generated_tokens_total",] == 10
    assert grown["braid_prompt_tokens_total",] == len(PACKAGE.encode(PROMPT).ids)
    assert grown["braid_time_to_first_token_seconds_count",] == 1 and grown["braid_inter_token_seconds_count",] == 9
    assert grown["braid_request_seconds_bucket", "+Inf"] == 1 and grown["braid_requests_total", "length"] == 1
    assert after["braid_requests_running",] == 0 and after["braid_cache_blocks_used",] == 0
    assert after["braid_memory_bytes", "weights"] > 1e5 and after["braid_model_info", "tiny", "cpu", "fp32"] == 1


def test_a_client_that_goes_frees_its_place(client, server):
    stream = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=150, temperature=0, stream=True)
    next(iter(stream))
    before = samples(server.url())["braid_cancelled_total",]
    stream.close()
    for _ in range(200):
        now = samples(server.url())
        if now["braid_requests_running",] == 0:
            break
    assert now["braid_requests_running",] == 0 and now["braid_cache_blocks_used",] == 0
    assert now["braid_cancelled_total",] - before in (0, 1)  # it may have been done


def test_keys_limits_and_the_end_by_ctrl_c(model, tmp_path):
    (tmp_path / "keys").write_text("# ours\nsecret\n")
    with serving(model, "--api-key-file", tmp_path / "keys", "--name", "mine", "--max-prompt", 3, BRAID_API_KEYS="other") as server:
        url = server.url() + "/v1"
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=url, api_key="wrong", max_retries=0).models.list()
        for key in ("secret", "other"):
            assert openai.OpenAI(base_url=url, api_key=key).models.list().data[0].id == "mine"
        with pytest.raises(openai.BadRequestError, match="more than the 3 that a prompt may have"):
            openai.OpenAI(base_url=url, api_key="secret").completions.create(model="mine", prompt="a b c d e f")
        assert server.end(signal.SIGINT) == 0
        assert {line["status"] for line in server.requests()} == {200, 400, 401}


def test_the_engine_gives_what_generate_gives(client, model):
    ids = [PACKAGE.encode(text).ids for text in (PROMPT, "a", "Once upon a time there was")]
    expected = [text_of(row) for row in generated(model, ids, 16)]
    done = client.completions.create(model="tiny", prompt=ids, max_tokens=16, temperature=0)
    assert [choice.text for choice in done.choices] == expected
