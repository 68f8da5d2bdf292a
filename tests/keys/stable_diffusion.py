"""Writes the lists of keys and shapes of Stable Diffusion's published models, as diffusers builds them.

    python tests/keys/stable_diffusion.py        (with torch and diffusers; written with diffusers 0.35.2)

The models are made on the meta device, so that nothing is downloaded or allocated. Sizes are those of the `config.json`
of CompVis/stable-diffusion-v1-4 and stabilityai/stable-diffusion-2-1-unclip; what is not named is diffusers' default.
`sd-1.4-compvis` has the names of `sd-v1-4.ckpt`, `sd-2.1-unclip-compvis` those of the UNet of `sd21-unclip-h.ckpt`;
diffusers' own reader of such files must turn them back.
"""

import re
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

SD_1_4_UNET = dict(
    sample_size=64,
    cross_attention_dim=768,
    attention_head_dim=8,
)
SD_1_4_VAE = dict(
    block_out_channels=[128, 256, 512, 512],
    down_block_types=["DownEncoderBlock2D"] * 4,
    up_block_types=["UpDecoderBlock2D"] * 4,
    layers_per_block=2,
)
SD_2_1_UNCLIP_UNET = dict(
    sample_size=96,
    cross_attention_dim=1024,
    attention_head_dim=[5, 10, 20, 20],
    use_linear_projection=True,
    upcast_attention=True,
    class_embed_type="projection",
    projection_class_embeddings_input_dim=2048,
)
LISTS = {
    "sd-1.4-unet": (UNet2DConditionModel, SD_1_4_UNET),
    "sd-1.4-vae": (AutoencoderKL, SD_1_4_VAE),
    "sd-2.1-unclip-unet": (UNet2DConditionModel, SD_2_1_UNCLIP_UNET),
}

UNET, VAE = "model.diffusion_model", "first_stage_model"

# Patterns and what they become; `i` and `j` are the numbers of a match.
UNET_BLOCKS = [
    (r"down_blocks\.(\d)\.resnets\.(\d)", lambda i, j: f"input_blocks.{3 * i + j + 1}.0"),
    (r"down_blocks\.(\d)\.attentions\.(\d)", lambda i, j: f"input_blocks.{3 * i + j + 1}.1"),
    (r"down_blocks\.(\d)\.downsamplers\.0\.conv", lambda i: f"input_blocks.{3 * i + 3}.0.op"),
    (r"mid_block\.resnets\.(\d)", lambda j: f"middle_block.{2 * j}"),
    (r"mid_block\.attentions\.0", lambda: "middle_block.1"),
    (r"up_blocks\.(\d)\.resnets\.(\d)", lambda i, j: f"output_blocks.{3 * i + j}.0"),
    (r"up_blocks\.(\d)\.attentions\.(\d)", lambda i, j: f"output_blocks.{3 * i + j}.1"),
    (r"up_blocks\.(\d)\.upsamplers\.0", lambda i: f"output_blocks.{3 * i + 2}.{1 if i == 0 else 2}"),
    (r"conv_in", lambda: "input_blocks.0.0"),
    (r"class_embedding\.linear_(\d)", lambda i: f"label_emb.0.{2 * i - 2}"),
    (r"time_embedding\.linear_(\d)", lambda i: f"time_embed.{2 * i - 2}"),
    (r"conv_norm_out", lambda: "out.0"),
    (r"conv_out", lambda: "out.2"),
]
UNET_RESNET = dict(
    norm1="in_layers.0",
    conv1="in_layers.2",
    time_emb_proj="emb_layers.1",
    norm2="out_layers.0",
    conv2="out_layers.3",
    conv_shortcut="skip_connection",
)
VAE_BLOCKS = [
    (r"(?<=encoder\.)down_blocks\.(\d)\.resnets\.(\d)", lambda i, j: f"down.{i}.block.{j}"),
    (r"(?<=encoder\.)down_blocks\.(\d)\.downsamplers\.0", lambda i: f"down.{i}.downsample"),
    (r"(?<=decoder\.)up_blocks\.(\d)\.resnets\.(\d)", lambda i, j: f"up.{3 - i}.block.{j}"),
    (r"(?<=decoder\.)up_blocks\.(\d)\.upsamplers\.0", lambda i: f"up.{3 - i}.upsample"),
    (r"(?<=coder\.)mid_block\.resnets\.(\d)", lambda j: f"mid.block_{j + 1}"),
    (r"(?<=coder\.)mid_block\.attentions\.0", lambda: "mid.attn_1"),
    (r"(?<=coder\.)conv_norm_out", lambda: "norm_out"),
]
VAE_PARTS = dict(
    conv_shortcut="nin_shortcut",
    group_norm="norm",
    to_q="q",
    to_k="k",
    to_v="v",
    to_out="proj_out",
)


def compvis(key, blocks, parts, prefix):
    """The name of `sd-v1-4.ckpt` for one of diffusers."""
    for pattern, replaced in blocks:
        found = re.match(pattern, key) or re.match(f"(?:en|de)coder\\.{pattern}", key)
        if found:
            new = re.sub(pattern, lambda match: replaced(*map(int, match.groups())), key, count=1)
            # What is inside the UNet's transformers has the same names in both.
            if ".attentions." not in key or prefix == VAE:
                new = ".".join(parts.get(part, part) for part in new.split("."))
            key = new.replace("proj_out.0", "proj_out")
            break
    return f"{prefix}.{key}"


def lines(state):
    return "".join(f"{key}\t{list(tensor.shape)}\n" for key, tensor in state.items())


states = {}
for name, (kind, config) in LISTS.items():
    with torch.device("meta"):
        states[name] = kind(**config).state_dict()
    (Path(__file__).parent / f"{name}.txt").write_text(lines(states[name]))
    print(f"{name}: {len(states[name])} tensors, {sum(tensor.numel() for tensor in states[name].values()):,} values")

def compvis_unet(state, **config):
    unet = {compvis(key, UNET_BLOCKS, UNET_RESNET, UNET): tensor for key, tensor in state.items()}
    back = convert_ldm_unet_checkpoint(dict(unet), dict(layers_per_block=2, **config))
    assert back.keys() == state.keys()
    assert all(back[key] is tensor for key, tensor in state.items())
    return unet


unet = compvis_unet(states["sd-1.4-unet"])
unclip = compvis_unet(states["sd-2.1-unclip-unet"], class_embed_type="projection")
(Path(__file__).parent / "sd-2.1-unclip-compvis.txt").write_text(lines(unclip))
print(f"sd-2.1-unclip-compvis: {len(unclip)} tensors")

vae = {}
for key, tensor in states["sd-1.4-vae"].items():
    if ".attentions." in key and tensor.dim() == 2:
        tensor = tensor[:, :, None, None]
    vae[compvis(key, VAE_BLOCKS, VAE_PARTS, VAE)] = tensor
back = convert_ldm_vae_checkpoint(vae, dict(down_block_types=range(4), up_block_types=range(4)))
assert back.keys() == states["sd-1.4-vae"].keys()
assert all(back[key].shape == tensor.shape for key, tensor in states["sd-1.4-vae"].items())
assert all(back[key] is tensor for key, tensor in states["sd-1.4-vae"].items() if ".attentions." not in key)

(Path(__file__).parent / "sd-1.4-compvis.txt").write_text(lines(unet | vae))
print(f"sd-1.4-compvis: {len(unet)} and {len(vae)} tensors")
