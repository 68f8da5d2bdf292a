//! Feature rows gathered batch by batch.

use burn::tensor::Tensor;
use seed_eval::Features;

use crate::error::RecipeError;

/// Rows of features, as they come off a device.
#[derive(Default)]
pub(crate) struct FeatureRows {
    count: usize,
    values: Vec<f32>,
}

impl FeatureRows {
    /// Adds the rows of `batch`, `[rows, width]`.
    pub(crate) fn push(&mut self, batch: Tensor<2>) {
        self.count += batch.dims()[0];
        self.values.extend(batch.into_data().iter::<f32>());
    }

    /// All rows.
    pub(crate) fn features(self) -> Result<Features, RecipeError> {
        let dim = self.values.len() / self.count.max(1);
        Ok(Features::new(self.count, dim, self.values)?)
    }
}
