# SPDX-License-Identifier: Apache-2.0
"""Random texts on which tokenizers disagree: every plane of Unicode, white space and punctuation in all orders, code,
emoji, numbers, and a tokenizer's own added tokens in between."""

import random

SPACES = [chr(c) for c in (9, 10, 11, 12, 13, 32, 32, 32, 32, 0x85, 0xA0, 0x1680, 0x180E, 0x2003, 0x200B, 0x2028, 0x202F, 0x205F, 0x3000, 0xFEFF)] + ["\r\n", "\n\n", "  "]
SIGNS = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + ["…", "—", "’", "«", "„", "·", "€", "▁", "▁▁", "Ġ", "'s", "'LL", "'ſ", "'re", "n't", "<0x41>", "<unk>"]
WORDS = ("the of Hello world tokenization naïve façade Straße ΕΛΛΗΝΙΚΑ нещо Български 日本語 汉字 한국어 เดือน हिन्दी العربية עברית "
         "កម្ពុជា x y2 İstanbul ǅ ﬁ e\u0301 A\u030a Kelvin K ſ 1st 3333 12,345.67 ٣٤ ½ Ⅷ ² 𝟘 𝒜 𐐷 don't I'LL").split()  # fmt: skip
CODE = ["def f(x):\n    return x + 1\n", "for (int i = 0; i < n; ++i) {\n\t", "#include <vector>\n", "a[i]->b.c();", "if __name__ == '__main__':\n", "    ", "\t\t", "// x\n", "0x1F", "1e-5", "SELECT * FROM t;", "</div>", "&amp;", "λ x. x"]  # fmt: skip
EMOJI = ["🦙", "😀", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "❤️", "🏳️‍🌈", "1️⃣", "🫠", "☃"]


def code_point(draw):
    """Of any plane, with as many from the first two, where most characters are."""
    while True:
        point = draw.choice([draw.randrange(0x80), draw.randrange(0x800), draw.randrange(0x10000), draw.randrange(0x20000), draw.randrange(0x110000)])
        if not 0xD800 <= point < 0xE000:
            return chr(point)


def piece(draw, added):
    kind = draw.randrange(9)
    if kind == 8 and added:
        return draw.choice(added)
    if kind == 7:
        return "".join(code_point(draw) for _ in range(draw.randrange(1, 6)))
    return draw.choice([SPACES, SIGNS, WORDS, CODE, EMOJI, SPACES, WORDS][kind % 7])


def text(draw, added=()):
    shape = draw.randrange(10)
    if shape == 0:
        return "".join(code_point(draw) for _ in range(draw.randrange(12)))
    if shape == 1:
        return "".join(draw.choice(SPACES + SIGNS) for _ in range(draw.randrange(16)))
    if shape == 2:
        return "".join(draw.choice("ab  \n.1") for _ in range(draw.randrange(24)))
    return "".join(piece(draw, added) for _ in range(draw.randrange(1, 14)))


def texts(count, added=(), seed=1):
    draw = random.Random(seed)
    return ["", " ", "a"] + [text(draw, list(added)) for _ in range(count)]
