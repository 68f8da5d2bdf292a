"""Pictures to codes with random weights, as a PyTorch user would run it: `benches/gpu` beside it.

    python encode.py SIZES DEVICE DTYPES BATCHES PASSES SIDE

SIZES is the model's config (JSON), DEVICE is cpu or cuda, SIDE that of the matrices whose product is the roofline. Prints
one line of JSON: for each precision the operations a second of that product, the seconds of each pass, memory.
"""

import json
import sys
import time
from pathlib import Path

import torch
from nano import CausalQFormer, CodeAutoencoder, EvaVit, memory

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def roofline(device, dtype, side, times=10):
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(3):
        wait(device)
        begun = time.perf_counter()
        for _ in range(times):
            a @ b
        wait(device)
        best = min(best, (time.perf_counter() - begun) / times)
    return 2 * side**3 / best


@torch.inference_mode()
def measure(sizes, device, name, batches, passes, side):
    dtype = DTYPES[name]
    torch.manual_seed(1)
    with torch.device(device):
        image = EvaVit(sizes["image"]).to(dtype).eval()
        tokens = CausalQFormer(sizes["tokens"]["q_former"]).to(dtype).eval()
        codes = CodeAutoencoder(sizes["codes"]).eval()
    size, found = sizes["image"]["image_size"], []
    for batch in batches:
        pictures = torch.randn(batch, 3, size, size, device=device)

        def run():
            begun = time.perf_counter()
            codes.encode(tokens(image(pictures.to(dtype))).float()).cpu()
            return time.perf_counter() - begun

        run()
        found.append([batch, [run() for _ in range(passes)]])
    peak = torch.cuda.max_memory_reserved() / 1e6 if device == "cuda" else memory("VmHWM")
    return {"dtype": name, "roofline": roofline(device, dtype, side), "passes": found, "peak_mb": peak}


def main():
    sizes, device, dtypes, batches, passes, side = sys.argv[1:]
    sizes = json.loads(Path(sizes).read_text())
    batches = [int(batch) for batch in batches.split(",")]
    answers = [measure(sizes, device, dtype, batches, int(passes), int(side)) for dtype in dtypes.split(",")]
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
