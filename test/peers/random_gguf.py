#!/usr/bin/env python3
"""Write a GGUF file with random weights in PolyLM's shapes, for measuring other engines.

    random_gguf.py SHAPE FORMAT FILE [--untied]

SHAPE is 1.7b, 13b or tiny; FORMAT is q4_0 or q8_0 and holds for every matrix, the head included. The architecture is
gpt2, the vocabulary is made up. The head is the embedding, unless --untied writes a second copy of it, which
ik_llama.cpp asks for. Needs numpy.
"""

import struct
import sys

import numpy as np

SHAPES = {"1.7b": (24, 2048, 16), "13b": (40, 5120, 40), "tiny": (2, 256, 2)}  # layers, width, heads
TYPES = {"f32": 0, "q4_0": 2, "q8_0": 8}  # ggml's numbers
FILE_TYPES = {"q4_0": 2, "q8_0": 7}
VOCABULARY, POSITIONS = 256000, 2048
POOL = 1 << 21  # blocks of 32 weights that all matrices are cut from
SPREAD = 0.02  # standard deviation of the weights


def text(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def metadata(shape, form):
    """Return the number of the header's keys and their bytes."""
    layers, width, heads = SHAPES[shape]
    entries = []

    def add(key, kind, data):
        entries.append(text(key) + struct.pack("<I", kind) + data)

    def number(key, value):
        add(key, 4, struct.pack("<I", value))

    def array(key, kind, data):
        add(key, 9, struct.pack("<IQ", kind, VOCABULARY) + data)

    add("general.architecture", 8, text("gpt2"))
    add("general.name", 8, text("random weights in PolyLM's shapes"))
    number("general.file_type", FILE_TYPES[form])
    number("general.quantization_version", 2)
    number("gpt2.context_length", POSITIONS)
    number("gpt2.embedding_length", width)
    number("gpt2.feed_forward_length", 4 * width)
    number("gpt2.block_count", layers)
    number("gpt2.attention.head_count", heads)
    add("gpt2.attention.layer_norm_epsilon", 6, struct.pack("<f", 1e-5))

    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    pieces += [f"\u2581w{i}" for i in range(VOCABULARY - len(pieces))]
    # The bytes are normal pieces, spelt out: a random model strings them to invalid UTF-8, on which servers break off.
    kinds = np.ones(VOCABULARY, "<i4")
    kinds[:3] = 2, 3, 3  # unknown, control, control
    add("tokenizer.ggml.model", 8, text("llama"))
    array("tokenizer.ggml.tokens", 8, b"".join(map(text, pieces)))
    array("tokenizer.ggml.scores", 6, np.arange(0, -VOCABULARY, -1).astype("<f4").tobytes())
    array("tokenizer.ggml.token_type", 5, kinds.tobytes())
    number("tokenizer.ggml.unknown_token_id", 0)
    number("tokenizer.ggml.bos_token_id", 1)
    number("tokenizer.ggml.eos_token_id", 2)
    add("tokenizer.ggml.add_bos_token", 7, b"\0")
    add("tokenizer.ggml.add_eos_token", 7, b"\0")
    return len(entries), b"".join(entries)


def tensors(shape, untied):
    """Yield name, lengths (fastest first) and mean of every tensor; the mean is None for matrices."""
    layers, width, _ = SHAPES[shape]
    yield "token_embd.weight", (width, VOCABULARY), None
    yield "position_embd.weight", (width, POSITIONS), 0
    yield "output_norm.weight", (width,), 1
    yield "output_norm.bias", (width,), 0
    if untied:
        yield "output.weight", (width, VOCABULARY), None
    for layer in range(layers):
        prefix = f"blk.{layer}."
        for norm in "attn_norm", "ffn_norm":
            yield prefix + norm + ".weight", (width,), 1
            yield prefix + norm + ".bias", (width,), 0
        for name, inputs, outputs in (("attn_qkv", 1, 3), ("attn_output", 1, 1), ("ffn_up", 1, 4), ("ffn_down", 4, 1)):
            yield prefix + name + ".weight", (inputs * width, outputs * width), None
            yield prefix + name + ".bias", (outputs * width,), 0


def random_blocks(rng, form):
    """Return POOL blocks: a float16 scale each, then 32 weights of 4 or 8 bits."""
    size, deviation = {"q4_0": (18, 4.61), "q8_0": (34, 42)}[form]  # bytes; deviation of the quantised values
    blocks = np.empty((POOL, size), np.uint8)
    scales = (rng.uniform(0.8, 1.2, POOL) * SPREAD / deviation).astype("<f2")
    blocks[:, :2] = scales.view(np.uint8).reshape(POOL, 2)
    if form == "q4_0":
        blocks[:, 2:] = rng.integers(0, 256, (POOL, 16), np.uint8)
    else:
        values = np.rint(rng.standard_normal((POOL, 32), np.float32) * deviation)
        blocks[:, 2:] = np.clip(values, -127, 127).astype(np.int8).view(np.uint8)
    return blocks


def padding(n):
    return b"\0" * (-n % 32)


def main():
    shape, form, path = sys.argv[1:4]
    rng = np.random.default_rng(7)
    blocks = random_blocks(rng, form)
    plan, index, offset = [], b"", 0
    for name, lengths, mean in tensors(shape, "--untied" in sys.argv[4:]):
        count = int(np.prod(lengths))
        size = count // 32 * blocks.shape[1] if mean is None else 4 * count
        kind = TYPES[form if mean is None else "f32"]
        index += text(name) + struct.pack(f"<I{len(lengths)}QIQ", len(lengths), *lengths, kind, offset)
        plan.append((count, size, mean))
        offset += size + len(padding(size))
    keys, data = metadata(shape, form)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(plan), keys) + data + index

    with open(path, "wb") as file:
        file.write(header + padding(len(header)))
        for count, size, mean in plan:
            if mean is None:
                left, at = count // 32, int(rng.integers(POOL))
                while left:
                    n = min(left, POOL - at)
                    file.write(blocks[at : at + n].data)
                    left, at = left - n, 0
            else:
                file.write((mean + SPREAD * rng.standard_normal(count)).astype("<f4").tobytes())
            file.write(padding(size))


if __name__ == "__main__":
    main()
