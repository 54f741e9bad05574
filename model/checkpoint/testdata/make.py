"""Writes the checkpoints of this folder with torch itself: python3 make.py (torch 1.13.1 made those here).

The network is the tests' tiny one and tensor i has the values ((i*131 + j*37) % 255 - 127) / 64 at its element j,
counted row by row in the (outputs, inputs) orientation; a head of its own is tensor 1000.
"""
import collections
import json
import os

import torch

LAYERS, HEADS, D, INNER, VOCAB, POSITIONS = 2, 2, 8, 32, 40, 16
HERE = os.path.dirname(os.path.abspath(__file__))


def tensor(i, rows, cols):
    j = torch.arange(rows * cols, dtype=torch.float64)
    return (torch.remainder(i * 131 + j * 37, 255) - 127).div(64).view(rows, cols)


def state(dtype, views=False, masks=False, head=None):
    """A state dictionary in Conv1D layout, in the order of the network's tensors."""
    shapes = [("wte.weight", VOCAB, D), ("wpe.weight", POSITIONS, D)]
    for layer in range(LAYERS):
        for name, rows, cols in [("ln_1.weight", 1, D), ("ln_1.bias", 1, D), ("attn.c_attn.weight", 3 * D, D), ("attn.c_attn.bias", 1, 3 * D),
                                 ("attn.c_proj.weight", D, D), ("attn.c_proj.bias", 1, D), ("ln_2.weight", 1, D), ("ln_2.bias", 1, D),
                                 ("mlp.c_fc.weight", INNER, D), ("mlp.c_fc.bias", 1, INNER), ("mlp.c_proj.weight", D, INNER), ("mlp.c_proj.bias", 1, D)]:
            shapes.append((f"h.{layer}.{name}", rows, cols))
    shapes += [("ln_f.weight", 1, D), ("ln_f.bias", 1, D)]
    out = collections.OrderedDict()
    for i, (name, rows, cols) in enumerate(shapes):
        value = tensor(i, rows, cols).to(dtype)
        if name.endswith("bias") or "ln_" in name:
            value = value.view(-1)
        elif name.startswith("h."):  # Conv1D: (inputs, outputs)
            value = value.t()
            if not views or "c_attn" in name:
                value = value.contiguous()
        out["transformer." + name] = value
    if masks:
        for layer in range(LAYERS):
            mask = torch.tril(torch.ones(POSITIONS, POSITIONS, dtype=dtype)).view(1, 1, POSITIONS, POSITIONS)
            out[f"transformer.h.{layer}.attn.bias"] = mask
            out[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4, dtype=dtype)
    wte = out["transformer.wte.weight"]
    if head == "shared":
        out["lm_head.weight"] = wte
    elif head == "copy":
        out["lm_head.weight"] = wte.clone()
    elif head == "own":
        out["lm_head.weight"] = tensor(1000, VOCAB, D).to(dtype)
    return out


def folder(name, **changes):
    path = os.path.join(HERE, name)
    os.makedirs(path, exist_ok=True)
    config = {"activation_function": "gelu_fast", "architectures": ["GPT2LMHeadModel"], "bos_token_id": 39, "eos_token_id": 39,
              "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_embd": D, "n_head": HEADS, "n_inner": INNER, "n_layer": LAYERS,
              "n_positions": POSITIONS, "vocab_size": VOCAB}
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump({**config, **changes}, f, indent=2)
    return lambda file: os.path.join(path, file)


# As PolyLM's converter wrote 1.7B: bfloat16, masks, transposed views, the head in wte's storage.
torch.save(dict(state(torch.bfloat16, views=True, masks=True, head="shared")), folder("torch-polylm")("pytorch_model.bin"))

# As it wrote 13B: shards with an index, the head as a copy in the last one.
at = folder("torch-shards")
whole = list(state(torch.float16, views=True, head="copy").items())
place = {}
for shard, part in enumerate([whole[:10], whole[10:20], whole[20:]]):
    file = f"pytorch_model-{shard + 1:05d}-of-00003.bin"
    torch.save(dict(part), at(file))
    place.update({name: file for name, _ in part})
with open(at("pytorch_model.bin.index.json"), "w") as f:
    json.dump({"metadata": {"total_size": 0}, "weight_map": place}, f, indent=2)

# A module's own state dictionary, with _metadata, slices of one big storage, protocol 4 and a head of its own.
flat = state(torch.float32, head="own")
big = torch.cat([value.reshape(-1) for value in flat.values()])
sliced, start = collections.OrderedDict(), 0
for name, value in flat.items():
    sliced[name] = big[start:start + value.numel()].view(value.shape)
    start += value.numel()
sliced._metadata = collections.OrderedDict({"": {"version": 1}, "transformer": {"version": 1}})
torch.save(sliced, folder("torch-module", tie_word_embeddings=False)("pytorch_model.bin"), pickle_protocol=4)

# Parameters instead of tensors, in double precision.
torch.save({name: torch.nn.Parameter(value) for name, value in state(torch.float64).items()}, folder("torch-parameters")("pytorch_model.bin"))

# The format before torch 1.6, which is not read.
torch.save(dict(list(state(torch.float32).items())[:1]), folder("torch-legacy")("pytorch_model.bin"), _use_new_zipfile_serialization=False)
