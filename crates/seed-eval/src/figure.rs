//! What a score is on a set: a share that was counted, or a plain number.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::share::Share;

/// A share that was counted, or a number that is no share. Saved as `{"hits": 345, "of": 1327}` or `3.3`; NaN, which
/// JSON cannot write, comes back from `null`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Figure {
    /// How many of how many.
    Share(Share),
    /// A number; NaN if it was not measured.
    Number(f64),
}

impl Figure {
    /// The number, or the share in percent.
    pub fn value(self) -> f64 {
        match self {
            Self::Share(share) => share.percent(),
            Self::Number(number) => number,
        }
    }

    /// Whether there is a figure at all.
    pub fn is_measured(self) -> bool {
        self.value().is_finite()
    }
}

impl From<Share> for Figure {
    fn from(share: Share) -> Self {
        Self::Share(share)
    }
}

impl From<f64> for Figure {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

/// `345 of 1,327`, or the number in as few digits as tell it.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => f.write_str(&share.counts()),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// By hand, since an untagged enum would not say what is wrong with a share.
impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FigureVisitor)
    }
}

struct FigureVisitor;

impl<'de> Visitor<'de> for FigureVisitor {
    type Value = Figure;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a share { hits = .., of = .. }")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Figure, E> {
        Ok(number.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Figure, E> {
        Ok(Figure::Number(number as f64))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Figure, E> {
        Ok(Figure::Number(number as f64))
    }

    fn visit_unit<E: Error>(self) -> Result<Figure, E> {
        Ok(Figure::Number(f64::NAN))
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Figure, M::Error> {
        Share::deserialize(MapAccessDeserializer::new(map)).map(Figure::Share)
    }
}
