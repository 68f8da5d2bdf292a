//! The names of Karpathy's splits.

use serde::{Deserialize, Serialize};

/// A part of the data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KarpathySplit {
    /// For training.
    Train,
    /// The rest of COCO's validation images, commonly trained on too.
    Restval,
    /// For choosing a model.
    Val,
    /// For the reported numbers: 5000 images of COCO, 1000 of Flickr30K.
    Test,
}
