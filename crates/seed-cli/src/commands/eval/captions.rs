//! `seed eval captions`: COCO, Karpathy's splits and NoCaps from their own files.

use std::{collections::BTreeMap, error::Error, path::PathBuf};

use clap::{Args, ValueEnum};
use seed_eval::{
    CaptionItem, CaptionScores,
    annotations::{
        CaptionedImage, KarpathySplit, NoCapsDomain, coco_captions, karpathy_captions,
        nocaps_captions,
    },
};
use serde_json::json;

use super::benchmark::{Asked, BenchmarkArguments, Protocol};
use crate::{
    language::SAMPLING,
    outcome::{Outcome, Status},
    output::{self, Format},
};

/// The form of a file of captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// COCO's own form, such as `captions_val2014.json`.
    Coco,
    /// Karpathy's splits of COCO or Flickr30K, such as `dataset_coco.json`; the test split is judged.
    Karpathy,
    /// NoCaps with its domains, such as `nocaps_val_4500_captions.json`.
    Nocaps,
}

/// An image, and its domain where the benchmark has some.
type Entry = (CaptionedImage, Option<NoCapsDomain>);

/// Captions of a benchmark's images: BLEU, ROUGE-L and CIDEr.
///
/// The images and the file of annotations are the benchmark's own, as they are published. Scores are those of the
/// COCO caption evaluation, without METEOR and SPICE. Decoding is the published one if nothing else is asked for: five
/// beams, 8 to 30 new tokens.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed eval captions --benchmark karpathy --annotations dataset_coco.json --images coco/ --lm runs/lm --checkpoint weights/ --base opt-2.7b/
  seed eval captions --benchmark nocaps --annotations nocaps_val_4500_captions.json --images nocaps/ --beams 1 --predictions said.json")]
pub(crate) struct Arguments {
    /// The form of the file.
    #[arg(long, value_enum)]
    benchmark: Benchmark,
    /// The file of captions.
    #[arg(long, value_name = "FILE")]
    annotations: PathBuf,
    /// Shortest caption, in tokens.
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "Decoding")]
    min_new_tokens: usize,
    /// Longest caption, in tokens.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 30,
        help_heading = "Decoding"
    )]
    max_new_tokens: usize,
    /// Exponent of the length that beams' scores are divided by.
    #[arg(long, value_name = "X", default_value_t = 1.0, conflicts_with = SAMPLING, help_heading = "Decoding")]
    length_penalty: f64,
    #[command(flatten)]
    run: BenchmarkArguments,
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Outcome {
        let images = self.run.limit(self.images()?);
        let said = self.run.say(
            &images,
            &self.protocol(),
            |(image, _)| Asked {
                file_name: &image.file_name,
                question: "",
            },
            |(image, _), said| json!({ "image_id": image.id, "caption": said }),
            quiet,
        )?;
        output::to_stdout(self.written(&images, &said)?.as_bytes())?;
        Ok(Status::Done)
    }

    fn protocol(&self) -> Protocol {
        Protocol {
            template: |templates| &templates.image_to_text,
            min_new_tokens: self.min_new_tokens,
            max_new_tokens: self.max_new_tokens,
            length_penalty: self.length_penalty,
        }
    }

    fn images(&self) -> Result<Vec<Entry>, Box<dyn Error>> {
        let images = match self.benchmark {
            Benchmark::Coco => coco_captions(&self.annotations)?,
            Benchmark::Karpathy => karpathy_captions(&self.annotations, KarpathySplit::Test)?,
            Benchmark::Nocaps => {
                let images = nocaps_captions(&self.annotations)?.into_iter();
                return Ok(images
                    .map(|image| (image.image, Some(image.domain)))
                    .collect());
            }
        };
        Ok(images.into_iter().map(|image| (image, None)).collect())
    }

    /// Scores of all images and, where there are some, of each domain.
    fn written(&self, images: &[Entry], said: &[String]) -> Result<String, Box<dyn Error>> {
        let mut parts: BTreeMap<Option<NoCapsDomain>, Vec<CaptionItem<'_>>> = BTreeMap::new();
        for ((image, domain), said) in images.iter().zip(said) {
            let item = CaptionItem {
                hypothesis: said,
                references: &image.captions,
            };
            parts.entry(None).or_default().push(item);
            if domain.is_some() {
                parts.entry(*domain).or_default().push(item);
            }
        }
        let mut scores = Vec::new();
        for (domain, items) in &parts {
            let name = match domain {
                None => "all",
                Some(NoCapsDomain::In) => "in-domain",
                Some(NoCapsDomain::Near) => "near-domain",
                Some(NoCapsDomain::Out) => "out-domain",
            };
            scores.push((name, items.len(), CaptionScores::of(items)?));
        }
        if self.run.format == Format::Json {
            let lines: Vec<_> = scores
                .iter()
                .map(|(name, images, scores)| {
                    let scores = json!({
                        "images": images,
                        "part": name,
                        "bleu": scores.bleu,
                        "rouge_l": scores.rouge_l,
                        "cider_d": scores.cider_d,
                        "cider": scores.cider_plain,
                    });
                    self.run.with_decoding(&self.protocol(), scores)
                })
                .collect();
            return Ok(serde_json::to_string_pretty(&lines)? + "\n");
        }
        let rows = scores.iter().map(|(name, images, scores)| {
            let mut row = vec![(*name).to_owned(), images.to_string()];
            // Papers print them times 100.
            let [bleu1, _, _, bleu4] = scores.bleu;
            let figures = [bleu1, bleu4, scores.rouge_l, scores.cider_d];
            row.extend(figures.map(|score| format!("{:.1}", 100.0 * score)));
            row
        });
        let header = ["", "images", "BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr"];
        let mut table = output::table(header);
        let how = self.run.in_words(&self.protocol());
        Ok(format!("{}\n{how}\n", table.add_rows(rows)))
    }
}
