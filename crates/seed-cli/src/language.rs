//! Which language model a command runs, and how it generates.

use std::{error::Error, io::Write, path::PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use clap::{ArgGroup, Args};
use rayon::prelude::*;
use seed_data::{DataError, EvalTransform, Normalize, PictureOptions, TextTokenizer, read_picture};
use seed_eval::white_space;
use seed_lm::{
    Encode, Example, LmAbout, Opt, SavedLm, SeedLm, Template,
    generation::{Decoding, GenerationConfig, Prompt, generate, generate_with},
    nano,
};
use seed_recipes::language::{BaseLm, code_vectors, encode};
use seed_tokenizer::{SeedConfig, SeedTokenizer};

use crate::model::{Model, ModelArguments};

/// The language model and its image tokenizer, as arguments of a command.
#[derive(Debug, Args)]
pub(crate) struct LanguageArguments {
    /// A folder that `seed train lm` wrote; without it the nano language model of this program.
    #[arg(long, value_name = "DIR")]
    lm: Option<PathBuf>,
    /// The OPT that it was trained on, as a folder of transformers' files; without it the nano OPT.
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
}

/// How tokens are chosen, as arguments of a command that takes the most probable ones by itself.
#[derive(Debug, Args)]
#[command(next_help_heading = "Decoding")]
pub(crate) struct DecodingArguments {
    /// Search with so many hypotheses side by side, instead of taking the most probable token each time; the result comes
    /// at once, at the end.
    #[arg(long, value_name = "N", conflicts_with = SAMPLING)]
    beams: Option<usize>,
    /// Exponent of the length that beams' scores are divided by.
    #[arg(long, value_name = "X", default_value_t = 1.0, requires = "beams")]
    length_penalty: f64,
    #[command(flatten)]
    sampling: SamplingArguments,
}

impl DecodingArguments {
    /// Whether tokens are drawn at random.
    pub(crate) fn is_random(&self) -> bool {
        self.sampling.asked()
    }

    /// Up to so many tokens, chosen as asked; by `seed` where they are drawn at random.
    pub(crate) fn generation(&self, max_new_tokens: usize, seed: u64) -> GenerationConfig {
        let otherwise = self.beams.map_or(Decoding::Greedy, |beams| Decoding::Beam {
            beams,
            length_penalty: self.length_penalty,
            early_stopping: false,
        });
        self.sampling.generation(max_new_tokens, seed, otherwise)
    }
}

/// The seed of a command that draws nothing at random but tokens.
#[derive(Debug, Args)]
#[command(next_help_heading = "Decoding")]
pub(crate) struct SamplingSeed {
    /// Seed of the draws.
    #[arg(long, value_name = "N", default_value_t = SEED, requires = SAMPLING)]
    pub(crate) seed: u64,
}

/// The seed where none is named.
pub(crate) const SEED: u64 = 42;

/// What makes [`SamplingArguments`] draw: beams exclude it.
pub(crate) const SAMPLING: &str = "sampling";

/// Tokens drawn at random, and penalties, as arguments of a command.
#[derive(Debug, Args)]
#[group(skip)]
#[command(
    next_help_heading = "Decoding",
    group = ArgGroup::new(SAMPLING).args(["temperature", "top_k", "top_p"]).multiple(true)
)]
pub(crate) struct SamplingArguments {
    /// Draw tokens at random, from scores divided by this; by 1 where only --top-k or --top-p asks for draws.
    #[arg(long, value_name = "X")]
    temperature: Option<f64>,
    /// Draw among so many of the most probable tokens; without it, or with 0, among all.
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Draw among the most probable tokens that together have this share; without it among all.
    #[arg(long, value_name = "X")]
    top_p: Option<f64>,
    /// Weaken tokens that have occurred by this factor.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    repetition_penalty: f64,
}

impl SamplingArguments {
    /// Whether draws were asked for.
    fn asked(&self) -> bool {
        self.temperature.is_some() || self.top_k.is_some() || self.top_p.is_some()
    }

    /// Up to so many tokens, drawn by `seed` if that was asked for, chosen as by `otherwise` if not.
    pub(crate) fn generation(
        &self,
        max_new_tokens: usize,
        seed: u64,
        otherwise: Decoding,
    ) -> GenerationConfig {
        let decoding = if self.asked() {
            Decoding::Sample {
                temperature: self.temperature.unwrap_or(1.0),
                top_k: self.top_k.unwrap_or(0),
                top_p: self.top_p.unwrap_or(1.0),
                seed,
            }
        } else {
            otherwise
        };
        GenerationConfig {
            repetition_penalty: self.repetition_penalty,
            decoding,
            ..GenerationConfig::greedy(max_new_tokens, None)
        }
    }
}

/// How a command reads pictures: as a person sees them, or for `reference` as the reference does.
pub(crate) fn picture_options(reference: bool) -> PictureOptions {
    if reference {
        PictureOptions::reference()
    } else {
        PictureOptions::default()
    }
}

/// A loaded language model with its two tokenizers.
pub(crate) struct Language {
    model: SeedLm,
    about: LmAbout,
    text: TextTokenizer,
    images: SeedTokenizer,
    images_config: SeedConfig,
    release: String,
    device: Device,
}

impl LanguageArguments {
    /// Loads everything, and checks that it belongs together.
    pub(crate) fn load(&self) -> Result<Language, Box<dyn Error>> {
        let saved = self.saved()?;
        let published = self.model.open()?;
        let release = published.release.clone();
        let Model {
            tokenizer: images,
            config: images_config,
            device,
        } = self.model.load(published)?;
        let BaseLm {
            opt,
            tokenizer,
            identity,
            ..
        } = self.base(&saved, &device)?;
        let model = Self::joined(&saved, opt, &identity, (&images, &images_config))?;
        Ok(Language {
            model,
            about: saved.about,
            text: TextTokenizer::clone(&tokenizer),
            images,
            images_config,
            release,
            device,
        })
    }

    /// What was trained, not yet joined with its base.
    pub(crate) fn saved(&self) -> Result<SavedLm, Box<dyn Error>> {
        Ok(match &self.lm {
            Some(folder) => SavedLm::open(folder)?,
            None => nano::saved()?,
        })
    }

    /// The language model that it stands on.
    pub(crate) fn base(&self, saved: &SavedLm, device: &Device) -> Result<BaseLm, Box<dyn Error>> {
        Ok(match &self.base {
            Some(folder) => BaseLm::open(folder, self.model.dtype, device)?,
            None if saved.about.base == nano::BASE => BaseLm::nano(self.model.dtype, device)?,
            None => {
                let base = &saved.about.base;
                return Err(format!(
                    "this language model stands on {base}: name its folder with --base"
                )
                .into());
            }
        })
    }

    /// Both as one, if base and image tokenizer are those that it was trained with.
    pub(crate) fn joined(
        saved: &SavedLm,
        base: Opt,
        base_identity: &str,
        (images, config): (&SeedTokenizer, &SeedConfig),
    ) -> Result<SeedLm, Box<dyn Error>> {
        let visual = &saved.about.model.visual;
        let quantizer = &config.codes.quantizer;
        let found = [quantizer.codes, config.tokens.tokens()];
        let expected = [visual.codes, visual.per_image];
        if found != expected {
            return Err(format!(
                "the image tokenizer has {} codes, {} an image; this language model reads {}, {} an image: name the tokenizer it \
                 was trained with by --checkpoint",
                found[0], found[1], expected[0], expected[1]
            )
            .into());
        }
        let device = base.embed_tokens.weight.val().device();
        let model = saved.load(base, base_identity, &device)?;
        let vectors = code_vectors(images, visual.vectors);
        let own = model.vocabulary.codebook.val();
        let size = own.clone().abs().max();
        let apart = (vectors.dims() == own.dims())
            .then(|| ((vectors - own).abs().max() / size).into_data());
        let apart = apart.and_then(|apart| apart.iter::<f32>().next());
        // Rounding to f16 moves them by less.
        if apart.is_none_or(|apart| apart.is_nan() || apart > 0.01) {
            return Err("the image tokenizer's codebook is not the one that this language model reads: name the tokenizer it \
                 was trained with by --checkpoint"
                .into());
        }
        Ok(model)
    }
}

impl Language {
    /// The codes of some pictures.
    pub(crate) fn codes(
        &self,
        pictures: &[PathBuf],
        options: &PictureOptions,
    ) -> Result<Vec<Vec<i64>>, Box<dyn Error>> {
        let size = self.images_config.image.image_size;
        let transform = EvalTransform::new(size as u32);
        let pixels = pictures
            .par_iter()
            .map(|picture| {
                let picture = read_picture(picture, options)?;
                Ok(transform.tensor(&picture, &Normalize::clip()))
            })
            .collect::<Result<Vec<Vec<f32>>, DataError>>()?;
        let data = TensorData::new(pixels.concat(), [pictures.len(), 3, size, size]);
        let codes: Tensor<2, Int> = self.images.encode(Tensor::from_data(data, &self.device));
        let [_, per_image] = codes.dims();
        let codes: Vec<i64> = codes.into_data().iter::<i64>().collect();
        Ok(codes.chunks(per_image).map(<[i64]>::to_vec).collect())
    }

    /// The codes of one picture.
    pub(crate) fn codes_of(
        &self,
        picture: &PathBuf,
        options: &PictureOptions,
    ) -> Result<Vec<i64>, Box<dyn Error>> {
        let pictures = std::slice::from_ref(picture);
        Ok(self.codes(pictures, options)?.swap_remove(0))
    }

    /// The image tokenizer that its codes are of, with its sizes and its device.
    pub(crate) fn images(&self) -> (&SeedTokenizer, &SeedConfig, &Device) {
        (&self.images, &self.images_config, &self.device)
    }

    /// What the image tokenizer is.
    pub(crate) fn release(&self) -> &str {
        &self.release
    }

    /// How its sequences are put together.
    pub(crate) fn about(&self) -> &LmAbout {
        &self.about
    }

    /// Says what follows a template's condition, piece by piece as it comes; the whole text.
    pub(crate) fn say(
        &self,
        template: &Template,
        example: &Example<'_>,
        generation: &GenerationConfig,
        out: &mut impl Write,
    ) -> Result<String, Box<dyn Error>> {
        let config = self.for_text(generation);
        let mut ids = Vec::new();
        let mut said = String::new();
        let mut failed = None;
        let generated = generate_with(
            &self.model,
            Prompt::Ids(vec![self.prompt(template, example)?]),
            &config,
            |_, id| {
                ids.push(id);
                // A character may end in a later token: only what is whole is shown.
                let text = self.text.decode(&ids).unwrap_or_default();
                let shown = text
                    .trim_start_matches(white_space::is_space)
                    .trim_end_matches('\u{fffd}');
                if let Some(new) = shown
                    .strip_prefix(said.as_str())
                    .filter(|new| !new.is_empty())
                {
                    failed = write!(out, "{new}").and_then(|()| out.flush()).err();
                    said.push_str(new);
                }
                failed.is_none()
            },
        )?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let text = self.text.decode(&generated.best().swap_remove(0))?;
        let text = white_space::strip(&text).to_owned();
        if said.is_empty() {
            // Beams come at the end.
            write!(out, "{text}")?;
        }
        Ok(text)
    }

    /// Says what follows a template's condition for each of some examples.
    pub(crate) fn say_all(
        &self,
        template: &Template,
        examples: &[Example<'_>],
        generation: &GenerationConfig,
    ) -> Result<Vec<String>, Box<dyn Error>> {
        let config = self.for_text(generation);
        let prompts = examples
            .iter()
            .map(|example| self.prompt(template, example))
            .collect::<Result<_, _>>()?;
        let generated = generate(&self.model, Prompt::Ids(prompts), &config)?;
        let texts = generated
            .best()
            .into_iter()
            .map(|ids| Ok(white_space::strip(&self.text.decode(&ids)?).to_owned()));
        texts.collect()
    }

    /// Draws the codes of an image for a caption, one by one as they come.
    pub(crate) fn draw(
        &self,
        caption: &str,
        (decoding, seed): (&DecodingArguments, u64),
        grammar: bool,
        mut heard: impl FnMut(usize) -> std::io::Result<()>,
    ) -> Result<Option<Vec<i64>>, Box<dyn Error>> {
        let ids = self.model.ids();
        let example = Example {
            caption,
            ..Example::default()
        };
        let mut prompt = self.prompt(&self.about.templates.text_to_image, &example)?;
        // An image is asked for: its first mark is given.
        prompt.push(ids.open());
        let config = GenerationConfig {
            grammar: grammar.then(|| ids.into()),
            ..decoding.generation(ids.per_image + 1, seed)
        };
        let mut failed = None;
        let generated = generate_with(&self.model, Prompt::Ids(vec![prompt]), &config, |_, id| {
            if let Some(code) = ids.code(id) {
                failed = heard(code).err();
            }
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let mut image = vec![ids.open()];
        image.extend(generated.best().swap_remove(0));
        Ok(ids.codes_in(&image))
    }

    fn prompt(
        &self,
        template: &Template,
        example: &Example<'_>,
    ) -> Result<Vec<u32>, Box<dyn Error>> {
        let encode: Encode<'_> = &encode(&self.text);
        let opt = &self.about.model.opt;
        Ok(template.condition(example, &self.model.ids(), opt, encode)?)
    }

    /// How text is generated: up to OPT's end token, without codes outside an image.
    fn for_text(&self, generation: &GenerationConfig) -> GenerationConfig {
        GenerationConfig {
            end: Some(self.about.model.opt.end),
            grammar: Some(self.model.ids().into()),
            ..generation.clone()
        }
    }
}
