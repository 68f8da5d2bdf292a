//! What an experiment asks of its scores, and whether it got it.
//!
//! Targets belong to an experiment's config, not to this library. A share is asked for as how many of how many:
//!
//! ```
//! use seed_eval::{Share, Target, Verdict};
//! # #[derive(serde::Deserialize)] struct Config { targets: Vec<Target> }
//! let config: Config = toml::from_str(r#"
//!     [[targets]]
//!     score = "image_to_text_r1"
//!     set = "test openmoji, seen"
//!     at_least = { hits = 345, of = 1327 }
//!
//!     [[targets]]
//!     score = "lost_by_codes"
//!     set = "test openmoji, seen"
//!     at_most = 3.3
//! "#)?;
//! assert_eq!(config.targets[0].judge(Share::new(345, 1327)), Verdict::Reached);
//! assert_eq!(config.targets[0].judge(Share::new(290, 300)), Verdict::NotCompared);
//! assert_eq!(config.targets[1].judge(3.31), Verdict::NotReached);
//! # Ok::<(), toml::de::Error>(())
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{figure::Figure, score::Score};

/// A figure that an experiment asks for. `Report::judge` and `LanguageReport::judge` look for it among theirs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Entry", into = "Entry")]
pub struct Target {
    score: Score,
    set: String,
    asked: Asked,
}

/// What a figure is asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// This or more.
    AtLeast(Figure),
    /// This or less.
    AtMost(Figure),
}

/// What becomes of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The figure is as asked.
    Reached,
    /// It is not.
    NotReached,
    /// It says nothing about what was asked: a share of another number.
    NotCompared,
}

/// Why a target asks for nothing that can be compared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TargetError {
    /// Neither or both bounds.
    #[error("target {0}: give either `at_least` or `at_most`")]
    Bounds(Score),
    /// A share is asked for as a bare number.
    #[error(
        "target {score}: it is a share, so ask for how many of how many, such as {{ hits = 345, of = 1327 }}, not \
         for {asked}"
    )]
    BareShare {
        /// The score.
        score: Score,
        /// What was asked.
        asked: f64,
    },
    /// A number is asked for as a share.
    #[error("target {score}: it is no share, so ask for a number, not for {asked}")]
    NoShare {
        /// The score.
        score: Score,
        /// What was asked.
        asked: Figure,
    },
    /// A share of none, or a number that is not finite.
    #[error(
        "target {score}: {asked} cannot be reached; ask for a share of at least 1, or for a finite number"
    )]
    Nothing {
        /// The score.
        score: Score,
        /// What was asked.
        asked: Figure,
    },
    /// The set is not named.
    #[error(
        "target {0}: name the set that it is measured on, such as `set = \"test openmoji, seen\"`"
    )]
    NoSet(Score),
    /// A set is named where there is none.
    #[error("target {score}: it is measured on no set of its own; take `set = {set:?}` out")]
    SetOfNone {
        /// The score.
        score: Score,
        /// The set named.
        set: String,
    },
}

impl Target {
    /// Asks for a score on a set, which is named as a table or a page does: `test openmoji, seen` and
    /// `test · openmoji · seen` are the same. It is empty for a score of no set.
    ///
    /// # Errors
    /// [`TargetError`] if what is asked is not of the score's kind, or the set is missing or too much.
    pub fn new(score: Score, set: impl Into<String>, asked: Asked) -> Result<Self, TargetError> {
        let set = set.into();
        let figure = asked.figure();
        match figure {
            Figure::Number(asked) if score.is_share() => {
                return Err(TargetError::BareShare { score, asked });
            }
            Figure::Share(_) if !score.is_share() => {
                let asked = figure;
                return Err(TargetError::NoShare { score, asked });
            }
            asked if !asked.is_measured() => return Err(TargetError::Nothing { score, asked }),
            _ => {}
        }
        let named = words(&set).next().is_some();
        match (score.has_set(), named) {
            (true, false) => Err(TargetError::NoSet(score)),
            (false, true) => Err(TargetError::SetOfNone { score, set }),
            _ => Ok(Self { score, set, asked }),
        }
    }

    /// The score.
    pub fn score(&self) -> Score {
        self.score
    }

    /// The set it is measured on; empty for a score of no set.
    pub fn set(&self) -> &str {
        &self.set
    }

    /// What is asked.
    pub fn asked(&self) -> Asked {
        self.asked
    }

    /// Compares a figure with what is asked.
    pub fn judge(&self, found: impl Into<Figure>) -> Verdict {
        self.asked.judge(found.into())
    }
}

impl Asked {
    /// The bound.
    pub fn figure(self) -> Figure {
        match self {
            Self::AtLeast(figure) | Self::AtMost(figure) => figure,
        }
    }

    /// Compares a figure with the bound: numbers with numbers, and shares by their hits where as many were judged as
    /// asked. NaN reaches nothing.
    pub fn judge(self, found: Figure) -> Verdict {
        let order = match (found, self.figure()) {
            (Figure::Share(found), Figure::Share(asked)) if found.of == asked.of => {
                Some(found.hits.cmp(&asked.hits))
            }
            (Figure::Number(found), Figure::Number(asked)) => found.partial_cmp(&asked),
            _ => return Verdict::NotCompared,
        };
        let reached = order.is_some_and(|order| match self {
            Self::AtLeast(_) => order.is_ge(),
            Self::AtMost(_) => order.is_le(),
        });
        if reached {
            Verdict::Reached
        } else {
            Verdict::NotReached
        }
    }
}

/// `at least 345 of 1,327`, `at most 3.3`.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(figure) => write!(f, "at least {figure}"),
            Self::AtMost(figure) => write!(f, "at most {figure}"),
        }
    }
}

/// `reached`, `not reached`, `not compared`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reached => "reached",
            Self::NotReached => "not reached",
            Self::NotCompared => "not compared",
        })
    }
}

/// A target as a config writes it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    score: Score,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    set: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<Figure>,
}

impl TryFrom<Entry> for Target {
    type Error = TargetError;

    fn try_from(entry: Entry) -> Result<Self, TargetError> {
        let asked = match (entry.at_least, entry.at_most) {
            (Some(figure), None) => Asked::AtLeast(figure),
            (None, Some(figure)) => Asked::AtMost(figure),
            _ => return Err(TargetError::Bounds(entry.score)),
        };
        Self::new(entry.score, entry.set, asked)
    }
}

impl From<Target> for Entry {
    fn from(Target { score, set, asked }: Target) -> Self {
        let (at_least, at_most) = match asked {
            Asked::AtLeast(figure) => (Some(figure), None),
            Asked::AtMost(figure) => (None, Some(figure)),
        };
        Self {
            score,
            set,
            at_least,
            at_most,
        }
    }
}

/// Whether two names of a set differ in punctuation alone.
pub(crate) fn same_set(one: &str, other: &str) -> bool {
    words(one).eq(words(other))
}

fn words(set: &str) -> impl Iterator<Item = &str> {
    let between = |c: char| c.is_whitespace() || matches!(c, ',' | '·');
    set.split(between).filter(|word| !word.is_empty())
}
