# SPDX-License-Identifier: Apache-2.0
"""A run asked without a detour through files, merged into a whole model, and begun with an adapter: beside transformers and
peft. And the best checkpoint of a run, which stays."""

import json
import shutil

import braid_run
import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft", reason="peft is not installed: launch/setup --test-packages")
pytest.importorskip("transformers", reason="transformers is not installed: launch/setup --test-packages")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed: launch/setup --test-packages")
import jinja2  # noqa: E402
from hf_models import braid, greedy, load, make_folder, one_line, random_ids  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from engram_pairs import PAIRS, TOKENIZER  # noqa: E402
from test_fine_tuning import places, trained  # noqa: E402, F401
from test_lora import ALL, make_adapter  # noqa: E402

PROMPTS = [prompt for prompt, _ in PAIRS]
COUNT = 12
CHAT = "{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"


def done(*words, **options):
    found = braid(*words, **options)
    assert found.returncode == 0, found.stderr
    return found.stdout


def answers(model, prompts):
    """What transformers answers, up to the end token."""
    tokenizer = tokenizers.Tokenizer.from_file(str(TOKENIZER))
    found = [greedy(model, tokenizer.encode(prompt).ids, COUNT) for prompt in prompts]
    return "".join(tokenizer.decode(ids[: ids.index(0)] if 0 in ids else ids) + "\n" for ids in found)


def asked(*words, prompts=PROMPTS, **options):
    return done("generate", *words, *[word for p in prompts for word in ("--prompt", p)], "--max-new-tokens", COUNT, "--device", "cpu", **options)


def loss_of(path):
    return json.loads(done("checkpoint", "inspect", path, "--json"))["state"]["held_out_loss"]


@pytest.fixture(scope="module")
def tuned(places, tmp_path_factory):
    """A run that gets worse after step 40, over two starts, and the adapter of step 40."""
    (places / "model" / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>", "chat_template": CHAT}))
    out = tmp_path_factory.mktemp("tuned")
    sets = ["checkpoint.every=20", "checkpoint.keep=1", "checkpoint.keep_best=true", "train.eval_every=20", "optim.schedule=constant"]
    trained(places, out / "run", *sets, "train.steps=40")
    words = [w for s in (*sets, "train.steps=80", "optim.learning_rate=0.3") for w in ("--set", s)]
    base = [w for s in ("model.context=48", "train.batch=6", "optim.warmup_steps=0", "train.eval_samples=6", "train.log_every=100",
                        f"model.path={places / 'model'}", f"data.path={places / 'data'}") for w in ("--set", s)]  # fmt: skip
    done("train", braid_run.ROOT / "configs/engram/ours.toml", "--out", out / "run", "--device", "cpu", *base, *words, "--allow-config-change", timeout=300)
    done("checkpoint", "export", out / "run", "--best", "--peft", out / "adapter")
    return out


@pytest.fixture(scope="module")
def reference(places, tuned):
    return peft.PeftModel.from_pretrained(load(places / "model"), tuned / "adapter").eval()


def test_the_best_checkpoint_stays_through_rotation_and_restart(tuned):
    kept = sorted(path.name for path in (tuned / "run/checkpoints").iterdir())
    assert kept == ["step-00000040", "step-00000080"]
    losses = [loss_of(tuned / "run/checkpoints" / name) for name in kept]
    assert losses[0] < losses[1]
    assert "best of the run" in (shown := done("checkpoint", "inspect", tuned / "run")) and "step 40, held-out loss" in shown


def test_a_run_answers_as_transformers_with_its_adapter_in_peft(places, tuned, reference):
    expected = answers(reference, PROMPTS)
    assert asked("--run", tuned / "run", "--best") == expected
    assert asked("--run", tuned / "run/checkpoints/step-00000040") == expected
    assert asked("--model", places / "model", "--adapter", tuned / "adapter") == expected
    assert asked("--run", tuned / "run") != expected  # the newest
    lines = [p for p in PROMPTS if "\n" not in p]
    from_input = cli_input("generate", "--run", tuned / "run", "--step", 40, "--prompt", "-", "--max-new-tokens", COUNT, text="".join(p + "\n" for p in lines))
    assert from_input == answers(reference, lines)


def cli_input(*words, text):
    import subprocess

    from cli_run import BRAID, ENVIRONMENT

    found = subprocess.run([BRAID, *map(str, words)], input=text, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_broken_characters_of_a_random_model_come_out_whole(places):
    assert asked("--model", places / "model", "--format", "raw") == answers(load(places / "model"), PROMPTS)


def test_chat_puts_a_prompt_as_the_folders_template_says(places, tuned, reference):
    render = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(CHAT).render
    text = [render(messages=[{"role": "user", "content": p}], add_generation_prompt=True) for p in PROMPTS[:2]]
    assert asked("--run", tuned / "run", "--best", "--chat", prompts=PROMPTS[:2]) == answers(reference, text)


def test_an_evaluation_of_a_run_is_that_of_its_adapter(places, tuned):
    files = ["--data", places / "data", "--model", places / "model", "--adapter", tuned / "adapter"]
    scores = [done("eval", "engram", *words, "--max-new-tokens", COUNT, "--device", "cpu").split(" an answer takes")[0]
              for words in (files, ["--run", tuned / "run", "--best"])]  # fmt: skip
    assert scores[0] == scores[1] and "gained" in scores[0]


def test_the_demo_shows_both_sets_of_weights(places, tuned):
    shown = done("eval", "engram", "--run", tuned / "run", "--demo", "--quick", "--device", "cpu").splitlines()
    assert len(shown) == 16 and len(done("eval", "engram", "--run", tuned / "run", "--demo", "--device", "cpu").splitlines()) == 40
    base, found = ([line.split(" ms  ")[1] for line in shown[i::4]] for i in (2, 3))
    assert base != found
    assert "expected a model with an adapter" in one_line(braid("eval", "engram", "--model", places / "model", "--demo"), 2)


def test_the_demo_asks_patterns_of_ours():
    yaml = pytest.importorskip("yaml")
    files = [yaml.safe_load(path.read_text()) for path in (braid_run.ROOT / "data/engram").glob("*.yaml")]
    known = {(e["input"], e["output"]) for f in files for e in f["examples"]}
    source = (braid_run.ROOT / "src/experiments/engram_demo.cpp").read_text().split("all = {")[1].split("};")[0]
    items = json.loads("[" + source.replace("{", "[").replace("}", "]") + "]")
    assert len(items) == 10 and {(prompt, expected) for _, prompt, expected in items} <= known


def test_a_run_is_refused_when_its_base_has_changed(places, tuned, tmp_path):
    shutil.copytree(tuned / "run", tmp_path / "run")
    weights = places / "model" / "model.safetensors"
    before = weights.read_bytes()
    try:
        weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        assert "expected the weights that" in one_line(braid("generate", "--run", tmp_path / "run", "--prompt", "x"), 2)
    finally:
        weights.write_bytes(before)


def test_a_full_run_answers_as_its_export(places, tmp_path):
    trained(places, tmp_path / "run", "lora.rank=0", "train.steps=3")
    done("checkpoint", "export", tmp_path / "run", "--hf", tmp_path / "hf")
    assert asked("--run", tmp_path / "run") == answers(load(tmp_path / "hf"), PROMPTS)
    assert "takes no" not in (line := one_line(braid("checkpoint", "export", tmp_path / "run", "--hf", tmp_path / "x", "--merge"), 2))
    assert "without adapters" in line


FORMS = {
    "patterns": dict(target_modules=ALL, r=4, lora_alpha=6, rank_pattern={"layers.1.self_attn.q_proj": 2}, alpha_pattern={"v_proj": 3.5}),
    "DoRA": dict(target_modules=["q_proj", "up_proj"], r=4, lora_alpha=8, use_dora=True),
    "a copy of a tied embedding": dict(target_modules=["q_proj"], r=2, lora_alpha=4, modules_to_save=["embed_tokens", "lm_head"]),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_an_adapter_begins_a_run_and_is_merged(places, tmp_path, form):
    folder = places / "model"
    if "tied" in form:
        folder = make_folder(tmp_path / "model", vocab_size=tokenizers.Tokenizer.from_file(str(TOKENIZER)).get_vocab_size(), tie_word_embeddings=True)
        shutil.copy(TOKENIZER, folder / "tokenizer.json")
    model = load(folder)
    adapted = make_adapter(model, tmp_path / "adapter", **FORMS[form])
    ids = random_ids(model, 2, 17)
    expected = adapted(ids).logits.detach()
    trained(places, tmp_path / "run", "train.steps=1", "optim.learning_rate=0", f"lora.path={tmp_path / 'adapter'}",
            f"model.path={folder}", f"lora.rank={FORMS[form]['r']}", f"lora.alpha={FORMS[form]['lora_alpha']}")  # fmt: skip
    done("checkpoint", "export", tmp_path / "run", "--peft", tmp_path / "again")
    before, after = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("adapter", "again"))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    line = one_line(braid("checkpoint", "export", tmp_path / "run", "--hf", tmp_path / "merged"), 2)
    assert "--peft DIR" in line and "--merge" in line and not (tmp_path / "merged").exists()
    done("checkpoint", "export", tmp_path / "run", "--hf", tmp_path / "merged", "--merge")
    found = load(tmp_path / "merged")(ids).logits.detach()
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (tmp_path / "merged/tokenizer.json").exists()


@pytest.mark.parametrize("assignment, said", [
    ("lora.rank=8", "lora.rank: expected 2"), ("lora.targets=[\"k_proj\"]", "lora.targets: expected [\"q_proj\", \"v_proj\"]"),
    ("lora.dora=true", "lora.dora: expected false"), ("model.path=", "lora.path: needs model.path"),
])  # fmt: skip
def test_keys_that_contradict_the_adapter_are_refused(places, tmp_path, assignment, said):
    make_adapter(load(places / "model"), tmp_path / "adapter", target_modules=["v_proj", "q_proj"], r=2, lora_alpha=16)
    (tmp_path / "c.toml").write_text(f'[model]\npath = "{places / "model"}"\n[lora]\npath = "{tmp_path / "adapter"}"\n[train]\nsteps = 1\n')
    assert said in one_line(braid("train", tmp_path / "c.toml", "--set", assignment, "--out", tmp_path / "run"), 2)
    assert not (tmp_path / "run").exists()
