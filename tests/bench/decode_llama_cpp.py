#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Greedy answers with llama.cpp (llama-cpp-python), timed token by token as braid bench decode does it.

    decode_llama_cpp.py --model FILE.gguf --prompt 1,2,3 --tokens 32 --streams 1 [--threads 2]
    decode_llama_cpp.py --write FILE.gguf --config DIR/config.json --type q4_0

The second form writes a model of the configuration's shape, its weights random in the type named: q4_0 with the head in Q6_K,
as llama.cpp's own tool mixes them, bf16 or f32. The first prints one JSON object: first_token_seconds,
between_tokens_seconds (the median), tokens_per_second, ids of stream 0.
"""

import argparse
import ctypes
import json
import pathlib
import statistics
import time

import numpy as np


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--prompt", default="1")
    parser.add_argument("--tokens", type=int, default=3)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write")
    parser.add_argument("--config")
    parser.add_argument("--type", choices=["q4_0", "bf16", "f32"], default="q4_0")
    return parser.parse_args()


# --- a model of random weights ---


def random_blocks(rng, rows, columns, kind):
    """Bytes of a matrix in blocks that stand for numbers of about the size that weights have."""
    if kind == "F32":
        return rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(0.02)
    if kind == "BF16":
        numbers = rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(0.02)
        return (numbers.view(np.uint32) >> 16).astype(np.uint16)
    scale, size, elements, at = {"Q4_0": (0.004, 18, 32, 0), "Q6_K": (1e-5, 210, 256, 208)}[kind]
    blocks = rng.integers(0, 256, (rows, columns // elements, size), dtype=np.uint8)
    blocks[..., at : at + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    return blocks.reshape(rows, -1)


def matrices(shape, kind, head):
    """(name, rows, columns, type) of every matrix."""
    width, inner = shape["hidden_size"], shape["intermediate_size"]
    depth = shape.get("head_dim") or width // shape["num_attention_heads"]
    queries, keys = shape["num_attention_heads"] * depth, shape["num_key_value_heads"] * depth
    yield "token_embd.weight", shape["vocab_size"], width, kind
    yield "output.weight", shape["vocab_size"], width, head
    for layer in range(shape["num_hidden_layers"]):
        parts = {"attn_q": (queries, width), "attn_k": (keys, width), "attn_v": (keys, width), "attn_output": (width, queries),
                 "ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner)}  # fmt: skip
        for name, (rows, columns) in parts.items():
            yield f"blk.{layer}.{name}.weight", rows, columns, kind


def write(options):
    import gguf

    shape = json.loads(pathlib.Path(options.config).read_text())
    kind = options.type.upper()
    head = "Q6_K" if kind == "Q4_0" and shape["hidden_size"] % 256 == 0 else kind
    writer = gguf.GGUFWriter(options.write, "llama")
    writer.add_context_length(shape["max_position_embeddings"])
    writer.add_embedding_length(shape["hidden_size"])
    writer.add_block_count(shape["num_hidden_layers"])
    writer.add_feed_forward_length(shape["intermediate_size"])
    writer.add_head_count(shape["num_attention_heads"])
    writer.add_head_count_kv(shape["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(shape["rms_norm_eps"])
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(shape["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    rng = np.random.default_rng(0)
    for name, rows, columns, of in matrices(shape, kind, head):
        writer.add_tensor(name, random_blocks(rng, rows, columns, of), raw_dtype=gguf.GGMLQuantizationType[of])
    ones = np.ones(shape["hidden_size"], np.float32)
    for name in ["output_norm", *(f"blk.{i}.{norm}" for i in range(shape["num_hidden_layers"]) for norm in ("attn_norm", "ffn_norm"))]:
        writer.add_tensor(f"{name}.weight", ones)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --- answers ---


def open_model(llama, options):
    """The context, and the size of its vocabulary."""
    quiet = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(quiet, ctypes.c_void_p())
    open_model.kept = quiet  # called as long as the library lives
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(options.model.encode(), llama.llama_model_default_params())
    if not model:
        raise SystemExit(f"llama.cpp cannot load {options.model}")
    params = llama.llama_context_default_params()
    most = options.streams * (len(options.prompt.split(",")) + options.tokens)
    params.n_ctx = -(-most // 256) * 256 * (1 if options.streams == 1 else 2)
    params.n_batch = params.n_ubatch = max(512, most)
    params.n_seq_max = options.streams
    params.n_threads = params.n_threads_batch = options.threads
    context = llama.llama_init_from_model(model, params)
    if not context:
        raise SystemExit("llama.cpp cannot make a context")
    return context, llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))


def step(llama, context, vocabulary, rows, first):
    """Tokens of each stream, `first` before them; the likeliest next one of each."""
    count = sum(map(len, rows))
    batch = llama.llama_batch_init(count, 0, 1)
    at, last = 0, []
    for stream, tokens in enumerate(rows):
        for i, token in enumerate(tokens):
            batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.seq_id[at][0] = token, first + i, 1, stream
            batch.logits[at] = i + 1 == len(tokens)
            at += 1
        last.append(at - 1)
    batch.n_tokens = count
    if llama.llama_decode(context, batch) != 0:
        raise SystemExit("llama.cpp cannot decode")
    best = [int(np.ctypeslib.as_array(llama.llama_get_logits_ith(context, i), (vocabulary,)).argmax()) for i in last]
    llama.llama_batch_free(batch)
    return best


def answer(llama, context, vocabulary, prompt, options, tokens):
    llama.llama_memory_clear(llama.llama_get_memory(context), True)
    seconds, ids, rows, first = [], [], [prompt] * options.streams, 0
    for _ in range(tokens):
        start = time.perf_counter()
        best = step(llama, context, vocabulary, rows, first)
        first, rows = first + len(rows[0]), [[token] for token in best]
        ids.append(best[0])
        seconds.append(time.perf_counter() - start)
    middle = statistics.median(seconds[1:])
    return {"first_token_seconds": seconds[0], "between_tokens_seconds": middle, "tokens_per_second": options.streams / middle, "ids": ids}


def main():
    options = parse()
    if options.write:
        return write(options)
    import llama_cpp.llama_cpp as llama

    context, vocabulary = open_model(llama, options)
    prompt = [int(word) for word in options.prompt.split(",")]
    answer(llama, context, vocabulary, prompt, options, 2)
    print(json.dumps(answer(llama, context, vocabulary, prompt, options, options.tokens)), flush=True)


if __name__ == "__main__":
    main()
