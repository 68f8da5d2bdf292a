"""Writes the lists of keys and shapes of CLIP's published image towers, as transformers builds them.

    python tests/keys/clip_vision.py        (with torch and transformers; written with transformers 4.57.6)

The models are made on the meta device, so that nothing is downloaded or allocated. Sizes are those of the `config.json` of
openai/clip-vit-large-patch14 and of `image_encoder` of stabilityai/stable-diffusion-2-1-unclip.
"""

from pathlib import Path

import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

CLIP_L = dict(
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=24,
    num_attention_heads=16,
    patch_size=14,
    projection_dim=768,
)
CLIP_H = dict(
    hidden_act="gelu",
    hidden_size=1280,
    intermediate_size=5120,
    num_hidden_layers=32,
    num_attention_heads=16,
    patch_size=14,
    projection_dim=1024,
)

for name, config in {"clip-l-14-vision": CLIP_L, "clip-h-14-vision": CLIP_H}.items():
    with torch.device("meta"):
        state = CLIPVisionModelWithProjection(CLIPVisionConfig(**config)).state_dict()
    listing = "".join(f"{key}\t{list(tensor.shape)}\n" for key, tensor in state.items())
    (Path(__file__).parent / f"{name}.txt").write_text(listing)
    print(f"{name}: {len(state)} tensors, {sum(tensor.numel() for tensor in state.values()):,} values")
