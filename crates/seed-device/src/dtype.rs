//! The precision policy: what is stored and computed in which floating-point type.

use burn::tensor::DType;
use serde::{Deserialize, Serialize};

/// Precision of stored weights.
///
/// Burn has no automatic mixed precision, so the policy is explicit: parameters that are trained
/// stay in `F32`; frozen weights may be stored in `F16` or `Bf16`; the quantiser's distances,
/// softmax, the statistics of norms and all losses are computed in `F32` whatever is chosen here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
}

impl Precision {
    /// Burn's name for the type.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }
}
