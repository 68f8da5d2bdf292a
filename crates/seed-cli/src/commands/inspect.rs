//! `seed inspect`: what is in a checkpoint.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use clap::Args;
use seed_tokenizer::open_release;
use seed_weights::Checkpoint;

use crate::{
    model::local,
    outcome::{Outcome, Status},
    output::{self, bytes, thousands},
};

/// Show what a checkpoint holds: its format, what it is, and its modules with shapes, types and sizes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed inspect seed_quantizer.pt
  seed inspect causal_qformer.pth --depth 2
  seed inspect runs/tokenizer/tokenizer.safetensors --all")]
pub(crate) struct Arguments {
    /// A file, a folder, an index of shards, or hf:OWNER/NAME[@REVISION].
    #[arg(value_name = "CHECKPOINT")]
    input: String,
    /// Levels of the tree of modules that are shown.
    #[arg(long, default_value_t = 3)]
    depth: usize,
    /// Every tensor.
    #[arg(long, conflicts_with = "depth")]
    all: bool,
}

impl Arguments {
    pub(crate) fn run(&self) -> Outcome {
        let path = local(&self.input)?;
        // A release is looked at whole; of any other folder its one checkpoint.
        let release = path.is_dir().then(|| open_release(&path).ok()).flatten();
        let checkpoint = match release {
            Some(release) => release,
            None => Checkpoint::open(&path)?,
        };
        let depth = if self.all { usize::MAX } else { self.depth };
        output::to_stdout(described(&checkpoint, depth)?.as_bytes())?;
        Ok(Status::Done)
    }
}

fn described(checkpoint: &Checkpoint, depth: usize) -> Result<String, fmt::Error> {
    let mut root = Node::default();
    for key in checkpoint.keys() {
        let shape = checkpoint.shape(key).unwrap_or_default().to_vec();
        let element = checkpoint.element_type(key);
        let elements = shape.iter().product::<usize>() as u64;
        let leaf = Leaf {
            shape,
            elements,
            bytes: element.map_or(0, |element| elements * element.size() as u64),
            element: element.map_or_else(|| "?".to_owned(), |e| format!("{e:?}").to_lowercase()),
        };
        root.insert(key, leaf);
    }
    let mut text = String::new();
    writeln!(text, "{}", checkpoint.name())?;
    writeln!(text, "format      {}", checkpoint.format())?;
    writeln!(text, "what it is  {}", what_it_is(checkpoint))?;
    writeln!(
        text,
        "holds       {} tensors, {} elements, {} ({})",
        thousands(root.leaves),
        thousands(root.elements),
        bytes(root.bytes),
        root.types()
    )?;
    for (key, value) in checkpoint.metadata() {
        let shown: String = value.chars().take(200).collect();
        let rest = if shown.len() < value.len() { "…" } else { "" };
        writeln!(text, "metadata    {key}: {shown}{rest}")?;
    }
    text.push('\n');
    root.write(&mut text, 0, depth)?;
    Ok(text)
}

/// Which of the models that this project knows the keys belong to.
fn what_it_is(checkpoint: &Checkpoint) -> String {
    let has = |key: &str| checkpoint.shape(key).is_some();
    let is_vit = |prefix: &str| has(&format!("{prefix}blocks.0.attn.q_bias"));
    let known: &[(&str, bool)] = &[
        (
            "SEED tokenizer of this library",
            checkpoint.metadata().contains_key("config") && has("quantize.embedding.weight"),
        ),
        (
            "SEED v2, quantiser and image head (seed_quantizer.pt)",
            has("image_down.0.weight"),
        ),
        (
            "SEED v1, stage II (seed_tokenizer.pth)",
            has("distill_text_proj.weight"),
        ),
        (
            "SEED v2, training code of February 2024",
            has("distill_image_proj.weight"),
        ),
        (
            "Causal Q-Former or BLIP-2, stage I (causal_qformer.pth, blip2_pretrained.pth)",
            has("query_tokens") && has("vision_proj.weight"),
        ),
        (
            "EVA image tower (eva_vit_g.pth)",
            is_vit("") || is_vit("visual_encoder."),
        ),
        (
            "CLIP of the transformers library",
            has("text_model.final_layer_norm.weight"),
        ),
        (
            "OPT of the transformers library",
            has("model.decoder.embed_tokens.weight") || has("decoder.embed_tokens.weight"),
        ),
        (
            "LoRA adapter of the PEFT library",
            checkpoint.keys().any(|key| key.contains(".lora_A.")),
        ),
        (
            "visual vocabulary of this library: codes of a language model",
            has("codebook") && has("marks") && has("projection.weight"),
        ),
    ];
    let found = known.iter().find(|(_, matches)| *matches);
    found.map_or_else(
        || "none of the models this program knows".to_owned(),
        |(name, _)| (*name).to_owned(),
    )
}

struct Leaf {
    shape: Vec<usize>,
    element: String,
    elements: u64,
    bytes: u64,
}

/// A module: its tensors and the modules in it.
#[derive(Default)]
struct Node {
    children: BTreeMap<Name, Node>,
    tensor: Option<Leaf>,
    leaves: u64,
    elements: u64,
    bytes: u64,
    of_type: BTreeMap<String, u64>,
}

/// Numbers sort as numbers, so that block 2 comes before block 10.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Index(u64),
    Word(String),
}

impl Node {
    fn insert(&mut self, key: &str, leaf: Leaf) {
        self.leaves += 1;
        self.elements += leaf.elements;
        self.bytes += leaf.bytes;
        *self.of_type.entry(leaf.element.clone()).or_default() += 1;
        let (head, rest) = key
            .split_once('.')
            .map_or((key, None), |(h, r)| (h, Some(r)));
        let name = head
            .parse()
            .map_or_else(|_| Name::Word(head.to_owned()), Name::Index);
        let child = self.children.entry(name).or_default();
        match rest {
            Some(rest) => child.insert(rest, leaf),
            None => child.tensor = Some(leaf),
        }
    }

    fn types(&self) -> String {
        let types = self.of_type.iter();
        let types: Vec<String> = types
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        types.join(", ")
    }

    fn write(&self, text: &mut String, level: usize, depth: usize) -> fmt::Result {
        for (name, child) in &self.children {
            let name = match name {
                Name::Index(index) => index.to_string(),
                Name::Word(word) => word.clone(),
            };
            let label = format!("{}{name}", "  ".repeat(level));
            if let Some(leaf) = &child.tensor {
                writeln!(text, "{label:<40} {:<6} {:?}", leaf.element, leaf.shape)?;
            }
            if !child.children.is_empty() {
                writeln!(
                    text,
                    "{label:<40} {} tensors, {} elements, {}",
                    thousands(child.leaves),
                    thousands(child.elements),
                    bytes(child.bytes)
                )?;
                if level + 1 < depth {
                    child.write(text, level + 1, depth)?;
                }
            }
        }
        Ok(())
    }
}
