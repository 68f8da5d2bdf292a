"""The works of `benches/nano` as a PyTorch user would write them: the same models under the same key
names, the same steps, from the same weights and inputs.

    python nano.py SPEC WORK DEVICE

Sizes come from SPEC (JSON), weights and inputs lie beside it. Prints one line of JSON: the loss terms
of every step (or the codes), the time of every step, memory. It needs torch and safetensors alone.
"""

import json
import math
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

MEGABYTE = 1 << 20


def attend(query, key, value, heads, **options):
    """Attention over `[batch, tokens, width]`, heads split and merged."""
    query, key, value = (
        x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value)
    )
    mixed = F.scaled_dot_product_attention(query, key, value, **options)
    return mixed.transpose(1, 2).flatten(2)


class Mlp(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class VitAttention(nn.Module):
    """Packed projection; EVA has no bias on the keys, the decoders have one bias over all."""

    def __init__(self, width, heads, eva):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=not eva)
        if eva:
            self.q_bias = nn.Parameter(torch.zeros(width))
            self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        bias = self.qkv.bias
        if bias is None:
            bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        query, key, value = F.linear(x, self.qkv.weight, bias).chunk(3, -1)
        return self.proj(attend(query, key, value, self.heads))


class VitBlock(nn.Module):
    def __init__(self, width, heads, hidden, eva):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = VitAttention(width, heads, eva)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, hidden)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class EvaVit(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        width, patch = sizes["width"], sizes["patch_size"]
        patches = (sizes["image_size"] // patch) ** 2
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + patches, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.blocks = nn.ModuleList(
            VitBlock(width, sizes["heads"], sizes["mlp_hidden"], eva=True)
            for _ in range(sizes["depth"])
        )

    def forward(self, images, kept=None):
        patches = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        cls = self.cls_token.expand(len(images), -1, -1)
        x = torch.cat((cls, patches), 1) + self.pos_embed
        if kept is not None:
            x = x[:, kept]
        for block in self.blocks:
            x = block(x)
        return x


class ClipTextLayer(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.heads = heads
        names = ("q_proj", "k_proj", "v_proj", "out_proj")
        self.self_attn = nn.ModuleDict({name: nn.Linear(width, width) for name in names})
        self.layer_norm1 = nn.LayerNorm(width)
        self.mlp = Mlp(width, hidden)
        self.layer_norm2 = nn.LayerNorm(width)

    def forward(self, x):
        normed, attention = self.layer_norm1(x), self.self_attn
        query, key, value = (attention[name](normed) for name in ("q_proj", "k_proj", "v_proj"))
        mixed = attend(query, key, value, self.heads, is_causal=True)
        x = x + attention["out_proj"](mixed)
        return x + self.mlp(self.layer_norm2(x))


class ClipText(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        assert sizes["activation"] == "gelu", sizes["activation"]
        width = sizes["width"]
        self.end = sizes["end_of_text"]["token"]
        self.embeddings = nn.ModuleDict(
            {
                "token_embedding": nn.Embedding(sizes["vocab_size"], width),
                "position_embedding": nn.Embedding(sizes["max_length"], width),
            }
        )
        layers = (
            ClipTextLayer(width, sizes["heads"], sizes["mlp_hidden"])
            for _ in range(sizes["depth"])
        )
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(layers)})
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, ids):
        """The state at the first end-of-text token."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        x = self.embeddings["token_embedding"](ids)
        x = x + self.embeddings["position_embedding"](positions)
        for layer in self.encoder["layers"]:
            x = layer(x)
        end = (ids == self.end).int().argmax(1)
        return self.final_layer_norm(x)[torch.arange(len(ids), device=ids.device), end]


class Clip(nn.Module):
    """Both towers; `prototypes` of the training concepts, where training uses them."""

    def __init__(self, sizes, concepts):
        super().__init__()
        image, text, width = sizes["image"], sizes["text"], sizes["embed_dim"]
        self.visual_encoder = EvaVit(image)
        self.image_norm = nn.LayerNorm(image["width"])
        self.image_projection = nn.Linear(image["width"], width, bias=False)
        self.text_model = ClipText(text)
        self.text_projection = nn.Linear(text["width"], width, bias=False)
        self.logit_scale = nn.Parameter(torch.zeros(1))
        if concepts:
            self.prototypes = nn.Parameter(torch.zeros(concepts, width))

    def forward(self, images, ids, kept):
        tokens = self.image_norm(self.visual_encoder(images, kept)).mean(1)
        images = F.normalize(self.image_projection(tokens), dim=-1)
        texts = F.normalize(self.text_projection(self.text_model(ids)), dim=-1)
        return images, texts, self.logit_scale.clamp(max=math.log(100)).exp()


class BertAttention(nn.Module):
    def __init__(self, sizes, context_width):
        super().__init__()
        width = sizes["width"]
        self.heads, self.dropout = sizes["heads"], sizes["dropout"]
        self.self = nn.ModuleDict(
            {
                "query": nn.Linear(width, width),
                "key": nn.Linear(context_width, width),
                "value": nn.Linear(context_width, width),
            }
        )
        self.output = residual(width, width)

    def forward(self, x, context, **mask):
        query, key, value = self.self["query"](x), self.self["key"](context), self.self["value"](context)
        dropout = self.dropout if self.training else 0.0
        mixed = attend(query, key, value, self.heads, dropout_p=dropout, **mask)
        mixed = F.dropout(self.output["dense"](mixed), self.dropout, self.training)
        return self.output["LayerNorm"](x + mixed)


def residual(hidden, width):
    """What BERT calls an output: a linear layer and the norm after the residual."""
    return nn.ModuleDict(
        {"dense": nn.Linear(hidden, width), "LayerNorm": nn.LayerNorm(width, eps=1e-12)}
    )


class QFormerLayer(nn.Module):
    def __init__(self, sizes, crosses):
        super().__init__()
        width, hidden = sizes["width"], sizes["mlp_hidden"]
        self.dropout = sizes["dropout"]
        self.attention = BertAttention(sizes, width)
        if crosses:
            self.crossattention = BertAttention(sizes, sizes["context_width"])
        self.crosses = crosses
        self.intermediate_query = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
        self.output_query = residual(hidden, width)
        if sizes["text"]:
            self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
            self.output = residual(hidden, width)

    def mlp(self, x, first, second):
        hidden = second["dense"](F.gelu(first["dense"](x)))
        return second["LayerNorm"](x + F.dropout(hidden, self.dropout, self.training))

    def forward(self, x, context, **mask):
        x = self.attention(x, x, **mask)
        if context is None:
            return self.mlp(x, self.intermediate, self.output)
        if self.crosses:
            x = self.crossattention(x, context)
        return self.mlp(x, self.intermediate_query, self.output_query)


class QFormer(nn.Module):
    """Queries (with a context) or text (without one)."""

    def __init__(self, sizes):
        super().__init__()
        width, text, every = sizes["width"], sizes["text"], sizes["cross_attention_every"]
        self.dropout = sizes["dropout"]
        self.embeddings = nn.ModuleDict({"LayerNorm": nn.LayerNorm(width, eps=1e-12)})
        if text:
            self.embeddings["word_embeddings"] = nn.Embedding(text["vocab_size"], width)
            self.embeddings["position_embeddings"] = nn.Embedding(text["max_length"], width)
        layers = (
            QFormerLayer(sizes, every > 0 and index % every == 0)
            for index in range(sizes["depth"])
        )
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})

    def forward(self, x, context=None, **mask):
        x = F.dropout(self.embeddings["LayerNorm"](x), self.dropout, self.training)
        for layer in self.encoder["layer"]:
            x = layer(x, context, **mask)
        return x

    def read(self, ids, mask):
        positions = torch.arange(ids.shape[1], device=ids.device)
        x = self.embeddings["word_embeddings"](ids)
        x = x + self.embeddings["position_embeddings"](positions)
        return self(x, attn_mask=mask.bool()[:, None, None, :])


class CausalQFormer(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        width, embed = sizes["q_former"]["width"], sizes["embed_dim"]
        assert sizes["attention"] == "causal", sizes["attention"]
        self.ln_vision = nn.LayerNorm(sizes["q_former"]["context_width"])
        self.query_tokens = nn.Parameter(torch.zeros(1, sizes["queries"], width))
        self.Qformer = nn.ModuleDict({"bert": QFormer(sizes["q_former"])})
        self.vision_proj = nn.Linear(width, embed)
        self.text_proj = nn.Linear(width, embed)
        self.temp = nn.Parameter(torch.zeros(1))

    def forward(self, image_tokens):
        queries = self.query_tokens.expand(len(image_tokens), -1, -1)
        return self.Qformer["bert"](queries, self.ln_vision(image_tokens), is_causal=True)

    def features(self, image_tokens, ids, mask):
        images = F.normalize(self.vision_proj(self(image_tokens)[:, -1]), dim=-1)
        texts = self.text_proj(self.Qformer["bert"].read(ids, mask)[:, 0])
        return images, F.normalize(texts, dim=-1)


class CodeAutoencoder(nn.Module):
    """Quantiser, reconstruction branch and text head."""

    def __init__(self, sizes):
        super().__init__()
        width, positions, head = sizes["width"], sizes["positions"], sizes["text_head"]
        self.quantizer, blocks = sizes["quantizer"], sizes["blocks"]
        assert self.quantizer["distance"] in ("l2", "cosine") and sizes["image_head"] is None
        assert self.quantizer["update"] in ("legacy", "corrected"), self.quantizer["update"]
        dim, codes = self.quantizer["dim"], self.quantizer["codes"]

        def stack():
            return nn.ModuleList(
                VitBlock(width, blocks["heads"], blocks["mlp_hidden"], eva=False)
                for _ in range(blocks["depth"])
            )

        if sizes.get("position_offsets"):
            self.pos_embed_code = nn.Parameter(torch.zeros(1, positions, width))
        self.encode_task_layer = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, dim))
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(codes, dim)})
        self.decode_task_layer = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, positions, width))
        self.blocks = stack()
        self.pos_embed_text = nn.Parameter(torch.zeros(1, positions, width))
        self.blocks_text = stack()
        reverse = dict(head["reverse"], width=width, context_width=width, cross_attention_every=2, text=None)
        self.reverse_tokens = nn.Parameter(torch.zeros(1, reverse["queries"], width))
        self.Reverse_Qformer = nn.ModuleDict({"bert": QFormer(reverse)})
        self.distill_text_proj = nn.Linear(width, head["target_width"])
        self.register_buffer("running_counts", torch.ones(codes), persistent=False)

    def compared(self, vectors):
        """Vectors, or rows of the codebook, as their distance sees them."""
        return F.normalize(vectors, dim=-1) if self.quantizer["distance"] == "cosine" else vectors

    def nearest(self, vectors):
        with torch.no_grad():
            codebook = self.compared(self.quantize["embedding"].weight)
            flat = self.compared(vectors).flatten(0, 1)
            return (codebook.square().sum(1) - 2 * flat @ codebook.T).argmin(1).view(vectors.shape[:2])

    def code_vectors(self, embeddings):
        offsets = getattr(self, "pos_embed_code", None)
        return self.encode_task_layer(embeddings if offsets is None else embeddings + offsets)

    def encode(self, embeddings):
        return self.nearest(self.code_vectors(embeddings))

    def losses(self, embeddings, text_states, weights):
        vectors = self.compared(self.code_vectors(embeddings))
        codes = self.nearest(vectors)
        chosen = self.compared(self.quantize["embedding"].weight)[codes]
        terms = F.mse_loss(chosen, vectors.detach()), F.mse_loss(vectors, chosen.detach())
        if self.quantizer["update"] == "legacy":
            terms = terms[::-1]
        quantization = terms[0] + self.quantizer["beta"] * terms[1]
        u = self.decode_task_layer(vectors + (chosen - vectors).detach())

        rebuilt = u + self.pos_embed
        for block in self.blocks:
            rebuilt = block(rebuilt)
        reconstruction = 1 - F.cosine_similarity(rebuilt, embeddings, dim=2).mean()

        memory = u + self.pos_embed_text
        for block in self.blocks_text:
            memory = block(memory)
        queries = self.reverse_tokens.expand(len(memory), -1, -1)
        states = self.distill_text_proj(self.Reverse_Qformer["bert"](queries, memory))
        text = F.mse_loss(states, text_states)

        total = (
            weights["quantization"] * quantization
            + weights["reconstruction"] * reconstruction
            + weights["text"] * text
        )
        used = torch.bincount(codes.flatten(), minlength=len(self.running_counts)).gt(0).float().mean()
        parts = {"quantization": quantization, "reconstruction": reconstruction, "text": text}
        return total, dict(parts, codes_used=used), vectors.detach()

    @torch.no_grad()
    def after_step(self, vectors, step):
        """A codebook from the first batch, running counts, revival of dead codes."""
        flat, revival = vectors.flatten(0, 1), self.quantizer["revival"]
        codebook = self.quantize["embedding"].weight
        if step == 0 and self.quantizer["init"] == "first_batch":
            codebook.copy_(flat[torch.randint(len(flat), (len(codebook),), device=flat.device)])
        elif revival:
            counts = torch.bincount(self.nearest(vectors).flatten(), minlength=len(codebook))
            self.running_counts.lerp_(counts.float(), 1 - revival["decay"])
            if (step + 1) % revival["every"] == 0:
                dead = self.running_counts < revival["threshold"]
                codebook[dead] = flat[torch.randint(len(flat), (int(dead.sum()),), device=flat.device)]
                self.running_counts[dead] = 1


def contrast(images, texts, scale, concepts, smoothing):
    """Image-text contrast in which all captions of an image's concept are right."""
    logits = images @ texts.T * scale
    same = (concepts[:, None] == concepts[None, :]).float()
    targets = same / same.sum(1, keepdim=True)
    loss = sum(F.cross_entropy(l, targets, label_smoothing=smoothing) for l in (logits, logits.T)) / 2
    hits = same.gather(1, logits.detach().argmax(1, keepdim=True)).mean()
    return loss, hits


class Bench:
    """One work: its sizes, weights, inputs, and the clock around its steps."""

    def __init__(self, path, device):
        self.folder, self.device = path.parent, torch.device(device)
        self.spec = json.loads(path.read_text())
        self.sizes = self.spec["tokenizer"]["model"]
        torch.set_num_threads(self.spec["threads"])
        torch.manual_seed(42)
        inputs = load_file(self.folder / "inputs.safetensors")
        self.inputs = {key: value.to(self.device) for key, value in inputs.items()}

    def load(self, module, file, prefix=""):
        weights = load_file(self.folder / f"{file}.safetensors")
        weights.pop("quantize.running_counts", None)
        weights = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        module.load_state_dict(weights)
        return module.to(self.device)

    def frozen(self):
        """Pixels to causal embeddings, without gradients or dropout."""
        image = self.load(EvaVit(self.sizes["image"]), "frozen", "visual_encoder.").eval()
        tokens = self.load(CausalQFormer(self.sizes["tokens"]["q_former"]), "tokens").eval()
        return lambda pictures: tokens(image(pictures))

    def stage_one(self):
        model = self.load(CausalQFormer(self.sizes["tokens"]["q_former"]), "tokens")
        names = ("image_tokens", "ids", "mask", "concepts")
        image_tokens, ids, mask, concepts = (self.inputs[name] for name in names)

        def loss():
            images, texts = model.features(image_tokens, ids, mask)
            smoothing = self.spec["label_smoothing"]
            itc, accuracy = contrast(images, texts, 1 / model.temp, concepts, smoothing)
            return itc, {"itc": itc, "accuracy": accuracy}

        return self.train(model, loss, self.spec["tokenizer"]["stage_one"])

    def stage_two(self, from_pixels):
        model = self.load(CodeAutoencoder(self.sizes["codes"]), "codes")
        frozen = self.frozen() if from_pixels else None
        vectors = None

        def loss():
            nonlocal vectors
            embeddings = self.inputs["embeddings"]
            if from_pixels:
                with torch.no_grad():
                    embeddings = frozen(self.inputs["pictures"])
            weights = self.spec["tokenizer"]["weights"]
            total, parts, vectors = model.losses(embeddings, self.inputs["text_states"], weights)
            return total, parts

        def after(step):
            model.after_step(vectors, step)

        return self.train(model, loss, self.spec["tokenizer"]["stage_two"], after)

    def clip(self):
        config = self.spec["clip"]
        weight = config["prototype_weight"]
        model = self.load(Clip(config["clip"], weight > 0 and self.spec["concepts"]), "clip")
        images, ids, concepts = (self.inputs[f"clip_{name}"] for name in ("images", "ids", "concepts"))

        def loss():
            kept = None
            if config["kept_patches"]:
                patches = model.visual_encoder.pos_embed.shape[1] - 1
                chosen = torch.randperm(patches, device=self.device)[: config["kept_patches"]] + 1
                kept = torch.cat((chosen.new_zeros(1), chosen))
            pictures, texts, scale = model(images, ids, kept)
            smoothing = config["label_smoothing"]
            loss, accuracy = contrast(pictures, texts, scale, concepts, smoothing)
            parts = {"contrast": loss, "accuracy": accuracy}
            if weight > 0:
                logits = pictures @ F.normalize(model.prototypes, dim=-1).T * scale
                parts["prototype"] = F.cross_entropy(logits, concepts, label_smoothing=smoothing)
                loss = loss + weight * parts["prototype"]
            return loss, parts

        return self.train(model, loss, config["train"])

    def encode(self):
        model = self.load(CodeAutoencoder(self.sizes["codes"]), "codes").eval()
        frozen = self.frozen()
        with torch.inference_mode():
            codes, ms = self.timed(lambda _: model.encode(frozen(self.inputs["pictures"])).cpu())
        return {"codes": codes[0].flatten().tolist(), "ms": ms}

    def train(self, model, loss, config, after=lambda step: None):
        """Forward, backward, clipping of the global norm, AdamW: what the step loop does."""
        adamw, groups = config["optimizer"], {True: [], False: []}
        for name, parameter in model.named_parameters():
            decays = parameter.ndim >= 2 and not any(part in name for part in ("bias", "ln", "bn"))
            groups[decays].append(parameter)
        optimizer = torch.optim.AdamW(
            [
                {"params": groups[True], "weight_decay": adamw["weight_decay"]},
                {"params": groups[False], "weight_decay": 0.0},
            ],
            lr=config["schedule"]["peak"],
            betas=(adamw["beta1"], adamw["beta2"]),
            eps=adamw["epsilon"],
        )

        def step(index):
            optimizer.zero_grad()
            total, parts = loss()
            total.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), config["clip_norm"])
            optimizer.step()
            after(index)
            return {name: value.detach() for name, value in dict(parts, gradient_norm=norm).items()}

        found, ms = self.timed(step)
        values = {name: [float(parts[name]) for parts in found] for name in found[0]}
        return {"values": values, "ms": ms}

    def timed(self, step):
        found, ms = [], []
        for index in range(self.spec["warmup"] + self.spec["steps"]):
            begun = time.perf_counter()
            result = step(index)
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            ms.append(1e3 * (time.perf_counter() - begun))
            found.append(result)
        return found, ms[self.spec["warmup"] :]


def memory(field):
    """A line of /proc/self/status in MB; None where there is no such file."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    (line,) = (line for line in status.splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024 / MEGABYTE


def main():
    path, work, device = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    base = memory("VmHWM")
    bench = Bench(path, device)
    works = {
        "stage-1": bench.stage_one,
        "stage-2": lambda: bench.stage_two(from_pixels=False),
        "stage-2-uncached": lambda: bench.stage_two(from_pixels=True),
        "encode": bench.encode,
        "clip": bench.clip,
    }
    answer = works[work]()
    print(json.dumps(dict(answer, base_mb=base, peak_mb=memory("VmHWM"))))


if __name__ == "__main__":
    main()
