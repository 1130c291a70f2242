# SPDX-License-Identifier: Apache-2.0
"""How long the package tokenizers takes for the texts of a JSON file: what tokenizer_bench.cpp does, with the same output.
Python's lists of ids are made outside of the time."""

import json
import sys
import time

import numpy as np
import tokenizers


def main():
    path, texts_path, mode = sys.argv[1:4]
    tokenizer = tokenizers.Tokenizer.from_file(path)
    with open(texts_path, encoding="utf-8") as file:
        texts = json.load(file)
    start = time.perf_counter()
    if mode == "single":
        encodings = [tokenizer.encode(text) for text in texts]
    else:
        encodings = tokenizer.encode_batch_fast(texts)  # the fastest the package has: no offsets
    seconds = time.perf_counter() - start
    ids = np.concatenate([np.array(encoding.ids, dtype=np.uint64) for encoding in encodings])
    places = np.arange(1, ids.size + 1, dtype=np.uint64)
    print(json.dumps({"seconds": seconds, "tokens": ids.size, "digest": int((places * (ids + 1)).sum())}))


if __name__ == "__main__":
    main()
