"""The works of `benches/lm` as a user of transformers and PEFT would write them.

    python lm.py SPEC

SPEC (JSON) names the folder of the model, the work and its sizes. Prints one line of JSON: losses and gradient norms of
every step or the tokens, the time of every step or token, memory.
"""

import json
import sys
import time
from pathlib import Path

import torch
from nano import memory
from transformers import OPTForCausalLM

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "q8": torch.float32}


def read(spec, **options):
    model = OPTForCausalLM.from_pretrained(spec["model"], dtype=DTYPES[spec["kept"]], **options)
    return model.to(spec["peer_device"])


def on_card(spec):
    """The card's reserved memory, and what a copy on it reads and writes in a second; empty on a processor."""
    if spec["peer_device"] != "cuda":
        return {}
    peak = torch.cuda.max_memory_reserved() / 1e6
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target, times = torch.empty_like(source), []
    for _ in range(5):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return {"base_mb": 0.0, "peak_mb": peak, "bandwidth": 2 * source.numel() / min(times)}


def train(spec):
    from peft import PeftModel

    base = read(spec, dropout=0.0, attention_dropout=0.0)
    model = PeftModel.from_pretrained(base, Path(spec["model"]) / "adapter", is_trainable=True)
    model.train()
    if not spec["chance"]:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=spec["rate"], weight_decay=0.0)
    ids = torch.tensor(spec["ids"], device=spec["peer_device"])
    losses, norms, ms = [], [], []
    for step in range(spec["warmup"] + spec["steps"]):
        begun = time.perf_counter()
        optimizer.zero_grad()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(learned, spec["clip"])
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm.item())
        if step >= spec["warmup"]:
            ms.append(1e3 * (time.perf_counter() - begun))
    return {"losses": losses, "norms": norms, "ms": ms}


@torch.inference_mode()
def decode(spec):
    """The loop inside `generate`, without what else that does for each token."""
    model = read(spec).eval()
    if spec["kept"] == "q8":
        layers, head = {torch.nn.Linear}, model.lm_head
        model = torch.ao.quantization.quantize_dynamic(model, layers, dtype=torch.qint8, inplace=True)
        # As with us: the head, tied to the table of words, stays.
        model.lm_head = head
    prompt = torch.tensor(spec["ids"], device=spec["peer_device"])
    first, ms = [], []
    for run in range(spec["warmup"] + spec["steps"]):
        begun = time.perf_counter()
        found, past, tokens = [], None, prompt
        while len(found) < spec["tokens"]:
            output = model(input_ids=tokens, past_key_values=past, use_cache=True, logits_to_keep=1)
            past, tokens = output.past_key_values, output.logits[:, -1].argmax(-1, keepdim=True)
            found.append(tokens.item())
            now = time.perf_counter()
            if run >= spec["warmup"]:
                (ms if len(found) > 1 else first).append(1e3 * (now - begun))
            begun = now
    said = torch.cat([prompt, torch.tensor([found], device=prompt.device)], dim=1)
    likelihoods = model(input_ids=said).logits[:, prompt.shape[1] - 1 : -1].float().log_softmax(-1)
    losses = -likelihoods[0].gather(1, said[0, prompt.shape[1] :, None])
    return {"tokens": found, "losses": losses.flatten().tolist(), "first_ms": first, "ms": ms}


def main():
    spec = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(spec["threads"])
    base = memory("VmHWM")
    answer = (train if spec["work"].startswith("train") else decode)(spec)
    print(json.dumps({**answer, "base_mb": base, "peak_mb": memory("VmHWM"), **on_card(spec)}))


if __name__ == "__main__":
    main()
