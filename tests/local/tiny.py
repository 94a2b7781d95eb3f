"""A tiny vision model with random weights, as the two GGUF files that llama.cpp loads: 0.6 MB and 0.9 MB.

It has Qwen2-VL's shape (2 blocks, 64 dimensions) and one token per byte. Channel 0 of every hidden state is large, so
channel 0 of an output row is a bias: printable ASCII is likely, and so are the characters that end a value.
"""

from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType

WIDTH, FEED, BLOCKS, HEADS, VOCABULARY = 64, 128, 2, 4, 512
PATCH, MERGE = 14, 2
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
ENDING = {'"': 1.5, "}": 0.6, "]": 0.9, ",": -0.2, "<|im_end|>": 0.9}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}"
    "{% if c.type == 'text' %}{{ c.text }}{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write(folder: Path, name: str = "tiny") -> Path:
    """Write `tiny.gguf` and `mmproj-tiny.gguf`, and return the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    write_projector(folder / f"mmproj-{name}.gguf")
    return write_text_model(folder / f"{name}.gguf")


def write_text_model(path: Path) -> Path:
    random, file = np.random.default_rng(7), GGUFWriter(path, "qwen2vl")
    tokens, types = _vocabulary()
    file.add_context_length(65536)
    file.add_embedding_length(WIDTH)
    file.add_block_count(BLOCKS)
    file.add_feed_forward_length(FEED)
    file.add_head_count(HEADS)
    file.add_head_count_kv(HEADS)
    file.add_layer_norm_rms_eps(1e-6)
    file.add_rope_freq_base(10000.0)
    file.add_rope_dimension_sections([2, 3, 3, 0])
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("qwen2")
    file.add_token_list(tokens)
    file.add_token_types(types)
    file.add_token_merges(["t h"])
    file.add_bos_token_id(256)
    file.add_eos_token_id(tokens.index("<|im_end|>"))
    file.add_add_bos_token(False)
    file.add_chat_template(TEMPLATE)
    embedding, output = _normal(random, VOCABULARY, WIDTH, scale=1.0), _normal(random, VOCABULARY, WIDTH, scale=0.1)
    embedding[:, 0] = 8.0
    output[:, 0] = [ENDING.get(token, 0.0 if len(token) == 1 and token.isascii() else -3.0) for token in tokens]
    tensors = {"token_embd.weight": embedding, "output.weight": output, "output_norm.weight": _ones(WIDTH)}
    for block in range(BLOCKS):
        tensors |= {f"blk.{block}.{name}.weight": _ones(WIDTH) for name in ("attn_norm", "ffn_norm")}
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"blk.{block}.{name}.weight"] = _normal(random, WIDTH, WIDTH)
        tensors |= {f"blk.{block}.{name}.bias": _zeros(WIDTH) for name in ("attn_q", "attn_k", "attn_v")}
        tensors |= {f"blk.{block}.{name}.weight": _normal(random, FEED, WIDTH) for name in ("ffn_gate", "ffn_up")}
        tensors[f"blk.{block}.ffn_down.weight"] = _normal(random, WIDTH, FEED)
    return _save(file, path, tensors)


def write_projector(path: Path, width: int = WIDTH) -> Path:
    """Write a vision projector for a text model with embeddings of this width."""
    random, file, merged = np.random.default_rng(8), GGUFWriter(path, "clip"), WIDTH * MERGE * MERGE
    file.add_clip_has_vision_encoder(True)
    file.add_clip_projector_type("qwen2vl_merger")
    file.add_vision_projection_dim(width)
    file.add_vision_image_size(224)
    file.add_vision_patch_size(PATCH)
    file.add_vision_embedding_length(WIDTH)
    file.add_vision_feed_forward_length(FEED)
    file.add_vision_block_count(BLOCKS)
    file.add_vision_head_count(HEADS)
    file.add_vision_attention_layernorm_eps(1e-6)
    file.add_vision_image_mean([0.5] * 3)
    file.add_vision_image_std([0.5] * 3)
    file.add_vision_spatial_merge_size(MERGE)
    file.add_vision_use_gelu(True)
    tensors = {f"v.patch_embd.weight{part}": _normal(random, WIDTH, 3, PATCH, PATCH) for part in ("", ".1")}
    shapes = {"attn_q": WIDTH, "attn_k": WIDTH, "attn_v": WIDTH, "attn_out": WIDTH, "ffn_up": FEED}
    for block in range(BLOCKS):
        for name in ("ln1", "ln2"):
            tensors |= _linear(f"v.blk.{block}.{name}", _ones(WIDTH))
        for name, size in shapes.items():
            tensors |= _linear(f"v.blk.{block}.{name}", _normal(random, size, WIDTH))
        tensors |= _linear(f"v.blk.{block}.ffn_down", _normal(random, WIDTH, FEED))
    tensors |= _linear("v.post_ln", _ones(WIDTH))
    tensors |= _linear("mm.0", _normal(random, merged, merged))
    tensors |= _linear("mm.2", _normal(random, width, merged))
    return _save(file, path, tensors)


def _vocabulary() -> tuple[list[str], list[int]]:
    """Return the tokens: GPT-2's printable names of the 256 bytes, the special tokens, one merge, and fillers."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    replacements = iter(range(256, 512))
    tokens = [chr(byte) if byte in printable else chr(next(replacements)) for byte in range(256)]
    types = [TokenType.NORMAL] * 256 + [TokenType.CONTROL] * len(SPECIAL) + [TokenType.NORMAL]
    tokens += [*SPECIAL, "th"]
    unused = VOCABULARY - len(tokens)
    return [*tokens, *(f"<unused{number}>" for number in range(unused))], [*types, *[TokenType.UNUSED] * unused]


def _linear(name: str, weight: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{name}.weight": weight, f"{name}.bias": _zeros(weight.shape[0])}


def _normal(random: np.random.Generator, *shape: int, scale: float = 0.05) -> np.ndarray:
    return random.normal(0, scale, shape).astype(np.float32)


def _ones(size: int) -> np.ndarray:
    return np.ones(size, np.float32)


def _zeros(size: int) -> np.ndarray:
    return np.zeros(size, np.float32)


def _save(file: GGUFWriter, path: Path, tensors: dict[str, np.ndarray]) -> Path:
    for name, tensor in tensors.items():
        file.add_tensor(name, tensor)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path
