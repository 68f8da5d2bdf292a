"""The full-size tokenizer as a PyTorch user would run it: `benches/full` beside it.

    python full.py RELEASE PICTURES SIZES THREADS DTYPE

RELEASE holds the three files of SEED v1, PICTURES is a safetensors file with `pictures`, SIZES the model's config (JSON).
DTYPE is f32 or bf16. Prints one line of JSON: seconds to load, seconds of each picture, the codes, memory.
"""

import json
import sys
import time
from pathlib import Path

import torch
from nano import CausalQFormer, CodeAutoencoder, EvaVit, memory
from safetensors.torch import load_file


def read(path):
    state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    return state.get("model", state)


def load(module, state, dtype):
    """Parameters take the place of the checkpoint's tensors: nothing is held twice."""
    names = dict(module.named_parameters()).keys()
    wanted = {name: state[name].to(dtype).reshape(module.get_parameter(name).shape) for name in names}
    module.load_state_dict(wanted, strict=False, assign=True)
    return module.eval()


def main():
    release, pictures, sizes, threads, dtype = sys.argv[1:]
    release, dtype = Path(release), {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
    torch.set_num_threads(int(threads))
    sizes = json.loads(Path(sizes).read_text())
    pictures = load_file(pictures)["pictures"]
    base, begun = memory("VmHWM"), time.perf_counter()
    with torch.device("meta"):
        image = EvaVit(sizes["image"])
        tokens = CausalQFormer(sizes["tokens"]["q_former"])
        codes = CodeAutoencoder(sizes["codes"])
    image = load(image, read(release / "eva_vit_g.pth"), dtype)
    tokens = load(tokens, read(release / "causal_qformer.pth"), dtype)
    codes = load(codes, read(release / "seed_tokenizer.pth"), dtype)
    loaded = time.perf_counter() - begun
    found, seconds = [], []
    with torch.inference_mode():
        for picture in pictures.split(1):
            begun = time.perf_counter()
            embeddings = tokens(image(picture.to(dtype))).float()
            found.append(codes.float().encode(embeddings).flatten().tolist())
            seconds.append(time.perf_counter() - begun)
    print(json.dumps({"load": loaded, "seconds": seconds, "codes": found, "base_mb": base, "peak_mb": memory("VmHWM")}))


if __name__ == "__main__":
    main()
