//! What a text says to a diffusion model: its text tower, which SEED's codes take the place of, and its tokenizer.
//!
//! The empty text stays: guidance leads away from it, and unCLIP's image embeddings stand beside it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::{Device, Int, Tensor, TensorData};
use seed_data::{TextTokenizer, clip_bpe_of_files};
use seed_encoders::{
    ClipText, ClipTextConfig, clip_text_keys,
    nano::{self, NanoClip},
};
use seed_nn::ConfigError;
use seed_weights::{Checkpoint, KeyMap, load};
use serde_json::Value;

use super::error::PixelError;

/// Weights of a text tower, the first that is there is read.
const WEIGHTS: [&str; 5] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "model.fp16.safetensors",
    "pytorch_model.bin",
    "pytorch_model.fp16.bin",
];
/// Positions of the nano text tower that the nano diffusion model is trained on: those of stage II's text target.
const NANO_LENGTH: usize = 16;

/// Where a single file of Stable Diffusion 1 holds its text tower, which is that of CLIP L/14.
const IN_SINGLE_FILE: &str = "cond_stage_model.transformer.text_model";
/// Ids of CLIP's start and end; the second fills a text up, too.
const CLIP_ENDS: [i64; 2] = [49_406, 49_407];

/// A text tower with its tokenizer.
#[derive(Debug, Clone)]
pub struct Prompts {
    tower: ClipText,
    tokens: Tokens,
    config: ClipTextConfig,
    length: usize,
    device: Device,
}

/// What becomes of words.
#[derive(Debug, Clone)]
enum Tokens {
    /// Ids of a tokenizer.
    Of(Box<TextTokenizer>),
    /// No tokenizer is there: the empty text alone is known, by its start and its end, which fills it up.
    Empty([i64; 2]),
}

impl Prompts {
    /// The nano CLIP's text tower, which the nano diffusion model is conditioned on.
    ///
    /// # Errors
    ///
    /// [`PixelError`] if a shipped file is damaged.
    pub fn nano(device: &Device) -> Result<Self, PixelError> {
        let NanoClip { clip, config, .. } = nano::clip(device)?;
        Self::new(
            clip.text,
            config.text,
            TextTokenizer::from_json(nano::tokenizer_json())?,
            NANO_LENGTH,
            device,
        )
    }

    /// The text tower in a folder that diffusers saved, if there is one: `text_encoder/` with `tokenizer/`, which holds
    /// `tokenizer.json`, or `vocab.json` and `merges.txt`.
    ///
    /// # Errors
    ///
    /// [`PixelError`] if a file is missing, damaged, or says what this code does not do.
    pub fn open(folder: &Path, device: &Device) -> Result<Option<Self>, PixelError> {
        if folder.join("text_encoder").is_dir() {
            Self::of_folder(folder, device).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The text tower in such a folder, which must have one.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and [`PixelError::File`] if there is none.
    pub fn of_folder(folder: &Path, device: &Device) -> Result<Self, PixelError> {
        let tower = folder.join("text_encoder");
        let config = published(&tower.join("config.json"))?;
        let weights = WEIGHTS.iter().map(|file| tower.join(file));
        let weights = weights.into_iter().find(|path| path.is_file());
        // If there are none, the error names the folder.
        let checkpoint = Checkpoint::open(weights.unwrap_or_else(|| tower.clone()))?;
        let (model, _) = load(config.init(device)?, &checkpoint, &clip_text_keys())?;
        let tokenizer = tokenizer(&folder.join("tokenizer"))?;
        let length = config.max_length;
        Self::new(model, config, tokenizer, length, device)
    }

    /// The text tower in a single file, if it is of Stable Diffusion 1. Such a file has no tokenizer, so that the empty text
    /// alone is known.
    ///
    /// # Errors
    ///
    /// [`PixelError::Weights`] if it is damaged.
    pub fn of_single_file(
        checkpoint: &Checkpoint,
        device: &Device,
    ) -> Result<Option<Self>, PixelError> {
        let first = format!("{IN_SINGLE_FILE}.embeddings.token_embedding.weight");
        let config = ClipTextConfig::clip_l();
        if checkpoint.shape(&first) != Some(&[config.vocab_size, config.width]) {
            return Ok(None);
        }
        Self::within(checkpoint, config, CLIP_ENDS, device).map(Some)
    }

    fn within(
        checkpoint: &Checkpoint,
        config: ClipTextConfig,
        ends: [i64; 2],
        device: &Device,
    ) -> Result<Self, PixelError> {
        let rules = [("layers", "encoder.layers"), ("", "")];
        let keys = KeyMap::identity().nest("", IN_SINGLE_FILE, &rules);
        let (tower, _) = load(config.init(device)?, checkpoint, &keys)?;
        Ok(Self {
            tower,
            tokens: Tokens::Empty(ends),
            length: config.max_length,
            config,
            device: device.clone(),
        })
    }

    fn new(
        tower: ClipText,
        config: ClipTextConfig,
        tokenizer: TextTokenizer,
        length: usize,
        device: &Device,
    ) -> Result<Self, PixelError> {
        let (known, rows) = (tokenizer.vocab_size(), config.vocab_size);
        let rule = format!("at least the {known} of its tokenizer");
        ConfigError::check(known <= rows, "text tower", "vocab_size", rows, rule)?;
        Ok(Self {
            tower,
            tokens: Tokens::Of(Box::new(tokenizer)),
            config,
            length,
            device: device.clone(),
        })
    }

    /// Width of the states.
    pub fn width(&self) -> usize {
        self.config.width
    }

    /// Number of positions that the diffusion model is used to.
    pub fn length(&self) -> usize {
        self.length
    }

    /// States of a text, padded to so many positions or cut to them; padded positions carry meaning too.
    ///
    /// # Shapes
    ///
    /// - output: `[1, length, width]`
    ///
    /// # Errors
    ///
    /// [`PixelError::Sizes`] for more positions than the tower has; [`PixelError::Text`].
    pub fn states(&self, text: &str, length: usize) -> Result<Tensor<3>, PixelError> {
        let most = self.config.max_length;
        ConfigError::check_size("text tower", "positions of the context", length, most)?;
        let ids = self.ids(text, length)?;
        let ids = TensorData::new(ids, [1, length]);
        let ids = Tensor::<2, Int>::from_data(ids, &self.device);
        Ok(self.tower.forward(ids, None).last_hidden_state)
    }

    fn ids(&self, text: &str, length: usize) -> Result<Vec<i64>, PixelError> {
        match &self.tokens {
            Tokens::Of(tokenizer) => {
                let whole = tokenizer.encode_all(text)?.len();
                if whole > length {
                    tracing::warn!(
                        "the text has {whole} tokens, of which the first {length} count: {text}"
                    );
                }
                let row = tokenizer.encode(text, length)?;
                Ok(row.ids.into_iter().map(i64::from).collect())
            }
            Tokens::Empty([start, end]) if text.is_empty() => {
                let fill = std::iter::repeat_n(*end, length - 1);
                Ok(std::iter::once(*start).chain(fill).collect())
            }
            Tokens::Empty(_) => Err(PixelError::NoTextTokenizer {
                text: text.to_owned(),
            }),
        }
    }
}

/// Sizes of a published text tower.
fn published(file: &Path) -> Result<ClipTextConfig, PixelError> {
    ClipTextConfig::from_transformers(&read(file)?).map_err(|error| PixelError::File {
        path: file.to_owned(),
        reason: error.to_string(),
    })
}

/// The tokenizer of a published model, and the token that it pads with.
fn tokenizer(folder: &Path) -> Result<TextTokenizer, PixelError> {
    let json = folder.join("tokenizer.json");
    let tokenizer = if json.is_file() {
        TextTokenizer::from_file(&json)?
    } else {
        clip_bpe_of_files(&folder.join("vocab.json"), &folder.join("merges.txt"))?
    };
    // Where the two differ, as in Stable Diffusion 2, transformers follows the first.
    for file in ["special_tokens_map.json", "tokenizer_config.json"] {
        let file = folder.join(file);
        if !file.is_file() {
            continue;
        }
        let about: Value =
            serde_json::from_str(&read(&file)?).map_err(|error| PixelError::File {
                path: file.clone(),
                reason: error.to_string(),
            })?;
        let token = &about["pad_token"];
        if let Some(token) = token.as_str().or_else(|| token["content"].as_str()) {
            return Ok(tokenizer.with_padding(token)?);
        }
    }
    Ok(tokenizer)
}

fn read(path: &Path) -> Result<String, PixelError> {
    fs::read_to_string(path).map_err(|error| PixelError::File {
        path: PathBuf::from(path),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tolerance;
    use seed_device::test_device;

    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/fixtures")
            .join(name)
    }

    /// A folder with the tiny text tower of the parity case and CLIP's tokenizer, whose vocabulary the tower is told to have.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for part in ["text_encoder", "tokenizer"] {
            fs::create_dir(folder.path().join(part)).unwrap();
        }
        for file in ["config.json", "model.safetensors"] {
            let from = fixture("11_stable_diffusion/text_encoder").join(file);
            fs::copy(from, folder.path().join("text_encoder").join(file)).unwrap();
        }
        // Fifty tokens, as the tower has rows.
        let vocab: serde_json::Map<String, Value> = ["!", "a</w>", "b</w>"]
            .into_iter()
            .chain(["<|startoftext|>", "<|endoftext|>"])
            .enumerate()
            .map(|(id, token)| (token.to_owned(), id.into()))
            .collect();
        let tokenizer = folder.path().join("tokenizer");
        fs::write(tokenizer.join("vocab.json"), Value::from(vocab).to_string()).unwrap();
        fs::write(tokenizer.join("merges.txt"), "#version: 0.2\n").unwrap();
        folder
    }

    fn values(tensor: Tensor<3>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    #[test]
    fn the_nano_tower_says_what_stage_two_rebuilds() {
        let device = test_device();
        let prompts = Prompts::nano(&device).unwrap();
        assert_eq!((prompts.length(), prompts.width()), (16, 128));
        let states = prompts.states("a red apple", 16).unwrap();
        assert_eq!(states.dims(), [1, 16, 128]);
        assert_eq!(
            values(states.clone()),
            values(prompts.states("A RED  apple", 16).unwrap())
        );
        assert_ne!(
            values(states.clone()),
            values(prompts.states("", 16).unwrap())
        );
        // Causal: a shorter row is the first states of a longer one.
        let short = prompts.states("a red apple", 8).unwrap().into_data();
        let first = states.narrow(1, 0, 8).into_data();
        short.assert_approx_eq::<f32>(&first, Tolerance::absolute(1e-5));
        assert!(prompts.states("", 1000).is_err());
        assert!(prompts.states("", 0).is_err());
    }

    #[test]
    fn a_published_tower_is_read_with_its_tokenizer_and_its_padding() {
        let device = test_device();
        let folder = folder();
        let prompts = Prompts::open(folder.path(), &device).unwrap().unwrap();
        assert_eq!((prompts.length(), prompts.width()), (9, 20));
        let by_end = values(prompts.states("a b", 9).unwrap());
        let map = folder.path().join("tokenizer/special_tokens_map.json");
        fs::write(map, r#"{"pad_token": {"content": "!"}}"#).unwrap();
        let config = folder.path().join("tokenizer/tokenizer_config.json");
        fs::write(config, r#"{"pad_token": "<|endoftext|>"}"#).unwrap();
        let prompts = Prompts::open(folder.path(), &device).unwrap().unwrap();
        let by_sign = values(prompts.states("a b", 9).unwrap());
        // Start, two words and end are the same; padding is not.
        assert_eq!(by_end[..4 * 20], by_sign[..4 * 20]);
        assert_ne!(by_end[4 * 20..], by_sign[4 * 20..]);
        let none = tempfile::tempdir().unwrap();
        assert!(Prompts::open(none.path(), &device).unwrap().is_none());
    }

    /// A single file holds the same tower below another name, and no words.
    #[test]
    fn the_empty_text_needs_no_tokenizer() {
        let device = test_device();
        let folder = folder();
        let prompts = Prompts::open(folder.path(), &device).unwrap().unwrap();
        let weights = folder.path().join("text_encoder/model.safetensors");
        let open = || Checkpoint::open(&weights).unwrap();
        let file = open().below("cond_stage_model.transformer");
        let config = prompts.config.clone();
        let single = Prompts::within(&file, config, [3, 4], &device).unwrap();
        assert_eq!(
            values(single.states("", 9).unwrap()),
            values(prompts.states("", 9).unwrap())
        );
        let error = single.states("words", 9).unwrap_err().to_string();
        assert!(
            error.contains("words") && error.contains("tokenizer"),
            "{error}"
        );
        // Not of Stable Diffusion 1's sizes.
        assert!(Prompts::of_single_file(&file, &device).unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_with_a_published_tower_is_named() {
        let device = test_device();
        let folder = folder();
        let refusal = || {
            let opened = Prompts::open(folder.path(), &device);
            opened.map(|_| ()).unwrap_err().to_string()
        };
        let config = folder.path().join("text_encoder/config.json");
        let sound = fs::read_to_string(&config).unwrap();
        for (from, to, told) in [
            ("quick_gelu", "relu", "hidden_act"),
            ("clip_text_model", "t5", "model_type"),
            ("1e-05", "1e-06", "layer_norm_eps"),
            ("\"vocab_size\": 50", "\"vocab_size\": 4", "vocab_size"),
        ] {
            assert!(sound.contains(from), "{from}");
            fs::write(&config, sound.replace(from, to)).unwrap();
            let error = refusal();
            // Fewer rows than the file has are a shape that does not fit.
            let told = if told == "vocab_size" {
                "token_embedding"
            } else {
                told
            };
            assert!(error.contains(told), "{error}");
        }
        fs::write(&config, &sound).unwrap();
        fs::remove_file(folder.path().join("tokenizer/merges.txt")).unwrap();
        assert!(refusal().contains("merges.txt"), "{}", refusal());
        fs::remove_file(folder.path().join("text_encoder/model.safetensors")).unwrap();
        assert!(refusal().contains("text_encoder"), "{}", refusal());
    }
}
