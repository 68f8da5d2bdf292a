"""An OPT of any size with random weights and a LoRA adapter for it, in the files of transformers and PEFT.

    python random_opt.py OUT SIZES [--dtype f16] [--seed N]

SIZES is JSON with the fields of OPT's `config.json`. OUT receives `config.json`, `model.safetensors` (f32, or f16 as the
larger ones are published) and `adapter/`: rank 16, alpha 32, dropout 0.05 on every linear layer, its second factors not
zero, so that all gradients flow from the first step on. It needs torch and safetensors alone.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

RANK, ALPHA, DROPOUT = 16, 32, 0.05
TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]


def linears(sizes):
    """Name, inputs and outputs of every linear layer."""
    width, hidden = sizes["hidden_size"], sizes["ffn_dim"]
    for layer in range(sizes["num_hidden_layers"]):
        stem = f"model.decoder.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield f"{stem}self_attn.{name}", width, width
        yield f"{stem}fc1", width, hidden
        yield f"{stem}fc2", hidden, width


def model(sizes, dtype, generator):
    """Random, at the scale of a trained model: what is said depends on all that was read."""

    def normal(deviation, *shape):
        return (deviation * torch.randn(*shape, generator=generator)).to(dtype)

    def norm(stem):
        return {f"{stem}.weight": 1 + normal(0.05, width), f"{stem}.bias": normal(0.02, width)}

    width = sizes["hidden_size"]
    decoder = "model.decoder."
    tensors = {
        f"{decoder}embed_tokens.weight": normal(0.05, sizes["vocab_size"], width),
        # So far apart that a text does not fall into repeating itself at once.
        f"{decoder}embed_positions.weight": normal(0.5, sizes["max_position_embeddings"] + 2, width),
        **norm(f"{decoder}final_layer_norm"),
    }
    for name, inputs, outputs in linears(sizes):
        tensors[f"{name}.weight"] = normal(inputs**-0.5, outputs, inputs)
        tensors[f"{name}.bias"] = normal(0.02, outputs)
    for layer in range(sizes["num_hidden_layers"]):
        stem = f"{decoder}layers.{layer}."
        tensors |= norm(f"{stem}self_attn_layer_norm") | norm(f"{stem}final_layer_norm")
    return tensors


def adapter(sizes, generator):
    tensors = {}
    for name, inputs, outputs in linears(sizes):
        stem = f"base_model.model.{name}"
        tensors[f"{stem}.lora_A.weight"] = (2 * torch.rand(RANK, inputs, generator=generator) - 1) * inputs**-0.5
        tensors[f"{stem}.lora_B.weight"] = 0.02 * torch.randn(outputs, RANK, generator=generator)
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("sizes", type=json.loads)
    parser.add_argument("--dtype", choices=["f32", "f16"], default="f32")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    out, sizes = arguments.out, arguments.sizes
    dtype = {"f32": torch.float32, "f16": torch.float16}[arguments.dtype]
    generator = torch.Generator().manual_seed(arguments.seed)
    (out / "adapter").mkdir(parents=True, exist_ok=True)
    about = {"format": "pt"}
    save_file(model(sizes, dtype, generator), out / "model.safetensors", about)
    save_file(adapter(sizes, generator), out / "adapter/adapter_model.safetensors", about)
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": DROPOUT,
        "target_modules": TARGETS,
        "bias": "none",
    }
    (out / "adapter/adapter_config.json").write_text(json.dumps(settings))
    # Last: who finds it finds all.
    (out / "config.json").write_text(json.dumps(sizes))


if __name__ == "__main__":
    main()
