//! What a trained UNet draws of captions, to be looked at.

use std::sync::Arc;

use burn::tensor::Tensor;
use seed_data::EvalTransform;
use seed_diffusion::{Condition, Drawing, Guidance, Noise, NoiseUse, StableDiffusion, nano};

use super::training::{DiffusionTraining, LatentDiffusion};
use crate::{error::RecipeError, pixels::ContactSheet, tensors::rgb_images};

/// Pictures of each held-out set on the sheet.
const SHOWN: usize = 12;

impl DiffusionTraining<'_> {
    /// Held-out pictures of each set beside what is drawn from the text states of their first captions, which for seen concepts
    /// were trained on: the best that codes can lead to.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Data`] if a picture cannot be read; [`RecipeError::Diffusion`] if the scheduler has fewer steps.
    pub fn sheet(&self, trained: &LatentDiffusion) -> Result<ContactSheet, RecipeError> {
        let model = StableDiffusion {
            unet: trained.unet.clone(),
            autoencoder: self.autoencoder.clone(),
        };
        let size = self.autoencoder.config().sample_size as u32;
        let sets = self.splits.evaluations.iter();
        let items = sets
            .clone()
            .map(|held_out| held_out.set.len().min(SHOWN))
            .sum();
        let mut sheet = ContactSheet::new(items, 2, [size; 2]);
        let mut item = 0;
        for held_out in sets {
            let set = Arc::clone(&held_out.set);
            let shown = set.len().min(SHOWN);
            let indices: Vec<usize> = (0..shown).map(|place| place * set.len() / shown).collect();
            let captions = indices.iter().map(|&index| set.captions(index)[0].clone());
            let drawn = self.drawn(&model, trained, captions.collect())?;
            for (&index, drawn) in indices.iter().zip(&drawn) {
                let original = EvalTransform::new(size).pixels(&set.picture(index)?);
                sheet.put(item, 0, &original);
                sheet.put(item, 1, drawn);
                item += 1;
            }
        }
        Ok(sheet)
    }

    /// Pictures of captions, as the nano model draws by default.
    fn drawn(
        &self,
        model: &StableDiffusion,
        trained: &LatentDiffusion,
        mut captions: Vec<String>,
    ) -> Result<Vec<image::RgbImage>, RecipeError> {
        let count = captions.len();
        captions.push(String::new());
        let states = self.states(&captions)?;
        let [_, tokens, width] = states.dims();
        let condition = |states: Tensor<3>| {
            let rows = states.dims()[0];
            let condition = Condition::context(states);
            match &trained.normalizer {
                Some(normalizer) => condition.with_class_labels(normalizer.zero_labels(rows)),
                None => condition,
            }
        };
        let config = &self.config.unet;
        let side = config.sample_size;
        let drawing = Drawing {
            condition: condition(states.clone().narrow(0, 0, count)),
            negative: condition(states.narrow(0, count, 1).expand([count, tokens, width])),
            guidance: Guidance::new(nano::GUIDANCE)?,
            scheduler: self.scheduler().init(nano::STEPS)?,
            start: Noise::new(self.config.train.seed).draw(
                NoiseUse::Latents,
                [count, config.input_channels, side, side],
                self.device,
            ),
        };
        let latents = model.draw(&drawing, |_| true)?;
        Ok(latents.map_or(Vec::new(), |latents| rgb_images(model.pictures(latents))))
    }
}
