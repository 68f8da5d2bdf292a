"""A release of SEED at full size with random weights: the published files, key names, shapes and types.

    python random_release.py KEYS OUT [--seed N]

KEYS is `tests/keys/seed-v1.txt` or `seed-v2.txt`. OUT receives `eva_vit_g.pth` (flat, without prefix, fp16
where the release has fp16, with the 40th block and the head that loaders must ignore) and, for v1,
`causal_qformer.pth` and `seed_tokenizer.pth` (below "model", f32) or, for v2, `seed_quantizer.pt` (flat, fp16).
It needs torch alone.
"""

import argparse
from pathlib import Path

import torch

TOWER = "visual_encoder."
STAGE_ONE = ("ln_vision.", "query_tokens", "Qformer.", "vision_proj.", "text_proj.", "temp")
# `convert_weights_to_fp16` of the reference leaves these in f32.
KEPT_F32 = ("norm", "pos_embed", "cls_token", "q_bias", "v_bias")


def keys(path):
    """Key and shape of every line."""
    for line in path.read_text().splitlines():
        key, shape = line.split("\t")
        sizes = [int(size) for size in shape.strip("[]").split(",") if size.strip()]
        yield key, sizes


def value(key, shape, generator):
    """Random, at the scale of a trained model: activations neither vanish nor explode."""
    if key.endswith("position_ids"):
        return torch.arange(shape[-1]).reshape(shape)
    if key == "temp":
        return torch.tensor(0.07)
    normal = torch.randn(shape, generator=generator)
    is_norm = any(part in key for part in ("norm", "LayerNorm", "ln_vision"))
    if is_norm and key.endswith("weight"):
        return 1 + 0.05 * normal
    if len(shape) < 2:
        return 0.02 * normal
    if "embed" in key or "tokens" in key or "cls_token" in key:
        return (0.5 if key.startswith("quantize") else 0.1) * normal
    fan_in = normal[0].numel()
    # Small updates leave the queries different from each other through all post-norm layers.
    update = 0.2 if key.endswith(("output.dense.weight", "output_query.dense.weight")) else 1.0
    return update * normal * fan_in**-0.5


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("keys", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    tower, stage_one, stage_two = {}, {}, {}
    for key, shape in keys(arguments.keys):
        tensor = value(key, shape, generator)
        if key.startswith(TOWER):
            name = key.removeprefix(TOWER)
            half = tensor.ndim >= 1 and not any(part in name for part in KEPT_F32)
            tower[name] = tensor.half() if half else tensor
        elif key.startswith(STAGE_ONE):
            stage_one[key] = tensor
        else:
            stage_two[key] = tensor
    last = max(int(name.split(".")[1]) for name in tower if name.startswith("blocks."))
    for name in [name for name in tower if name.startswith(f"blocks.{last}.")]:
        tower[name.replace(f"blocks.{last}.", f"blocks.{last + 1}.")] = tower[name].clone()
    width = tower["cls_token"].shape[-1]
    tower.update({"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)})
    tower.update({"head.weight": torch.zeros(1024, width).half(), "head.bias": torch.zeros(1024).half()})
    torch.save(tower, arguments.out / "eva_vit_g.pth")
    if "distill_text_proj.weight" in stage_two:
        torch.save({"model": stage_one, "epoch": 0}, arguments.out / "causal_qformer.pth")
        torch.save({"model": stage_two}, arguments.out / "seed_tokenizer.pth")
    else:
        both = {key: tensor if tensor.dtype == torch.int64 else tensor.half() for key, tensor in {**stage_one, **stage_two}.items()}
        torch.save(both, arguments.out / "seed_quantizer.pt")


if __name__ == "__main__":
    main()
