//! Which held-out set a line of a table is about.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A held-out set. Written as `test · openmoji · seen`; parts that are empty are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetName {
    /// `validation` or `test`.
    pub split: String,
    /// Who drew or gathered its pictures: the vendor, the folder.
    pub source: String,
    /// `seen`, `unseen`, `flags`: whether training saw other pictures of its concepts.
    pub concepts: String,
}

impl SetName {
    /// Joins the parts.
    pub fn new(
        split: impl Into<String>,
        source: impl Into<String>,
        concepts: impl Into<String>,
    ) -> Self {
        Self {
            split: split.into(),
            source: source.into(),
            concepts: concepts.into(),
        }
    }

    /// `test vendor, seen concepts`, below a headline.
    pub fn place(&self) -> String {
        format!("{} vendor, {} concepts", self.split, self.concepts)
    }

    /// Whether it is the test split's set of concepts that training saw: what headlines are about.
    pub fn is_test_seen(&self) -> bool {
        self.split == "test" && self.concepts == "seen"
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = vec![&*self.split, &*self.source, &*self.concepts];
        parts.retain(|part| !part.is_empty());
        f.write_str(&parts.join(" · "))
    }
}
