//! How well an autoencoder gives pictures back.

use std::{fmt, path::Path};

use seed_diffusion::AutoencoderKl;
use serde::Serialize;

use super::training::{AutoencoderTraining, plain_pictures, rebuilt};
use crate::{error::RecipeError, pixels::ContactSheet, tensors::rgb_images};

/// Pictures of each held-out set on the sheet.
const SHOWN: usize = 12;

/// Pictures of held-out sets through latents and back.
#[derive(Debug, Clone, Serialize)]
pub struct AutoencoderReport {
    /// A line for each set.
    pub sets: Vec<RebuiltSet>,
}

/// One held-out set.
#[derive(Debug, Clone, Serialize)]
pub struct RebuiltSet {
    /// Its name.
    pub set: String,
    /// Number of pictures.
    pub pictures: usize,
    /// Mean peak signal-to-noise ratio in decibels.
    pub psnr: f64,
}

impl AutoencoderTraining<'_> {
    /// Judges a trained model by all held-out sets.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Data`] if a picture cannot be read.
    pub fn report(&self, model: &AutoencoderKl) -> Result<AutoencoderReport, RecipeError> {
        let sets = self.splits.evaluations.iter().map(|held_out| {
            let set = held_out.set.as_ref();
            let indices: Vec<usize> = (0..set.len()).collect();
            Ok(RebuiltSet {
                set: held_out.name.to_string(),
                pictures: set.len(),
                psnr: self.decibels(model, set, &indices)?,
            })
        });
        Ok(AutoencoderReport {
            sets: sets.collect::<Result<_, RecipeError>>()?,
        })
    }
}

impl AutoencoderTraining<'_> {
    /// Held-out pictures of each set beside what came back.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Data`] if a picture cannot be read.
    pub fn sheet(&self, model: &AutoencoderKl) -> Result<ContactSheet, RecipeError> {
        let size = model.config().sample_size;
        let sets = self.splits.evaluations.iter();
        let items = sets
            .clone()
            .map(|held_out| held_out.set.len().min(SHOWN))
            .sum();
        let mut sheet = ContactSheet::new(items, 2, [size as u32; 2]);
        let mut item = 0;
        for held_out in sets {
            let set = held_out.set.as_ref();
            let shown = set.len().min(SHOWN);
            let indices: Vec<usize> = (0..shown).map(|place| place * set.len() / shown).collect();
            let originals = plain_pictures(set, &indices, size, self.device)?;
            let both = [originals.clone(), rebuilt(model, originals)];
            let both = both.map(|pictures| rgb_images(pictures.add_scalar(1.0).div_scalar(2.0)));
            for (original, other) in both[0].iter().zip(&both[1]) {
                sheet.put(item, 0, original);
                sheet.put(item, 1, other);
                item += 1;
            }
        }
        Ok(sheet)
    }
}

impl AutoencoderReport {
    /// Writes `report.json` into a run's folder.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Report`] if it cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), RecipeError> {
        let path = folder.join("report.json");
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        seed_files::write_file(&path, text.as_bytes())
            .map_err(|source| RecipeError::Report { path, source })
    }
}

impl fmt::Display for AutoencoderReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:48} {:>8} {:>9}", "held out", "pictures", "PSNR, dB")?;
        for RebuiltSet {
            set,
            pictures,
            psnr,
        } in &self.sets
        {
            writeln!(f, "{set:48} {pictures:8} {psnr:9.2}")?;
        }
        Ok(())
    }
}
