//! The official split of the embedded corpus, so that scores are comparable and honest.
//!
//! - **Vendors**: each has one [`Split`] (see [`Vendor::split`](crate::Vendor::split)); all drawings
//!   of a validation or test vendor are kept from training.
//! - **Concepts**: 80 % / 10 % / 10 % for training, validation and test, drawn by *family*, so that
//!   no near-twin of a held-out concept is in training. Which part a family belongs to follows from a
//!   hash of its key alone ([`split_of`]): it never depends on the other families or on any order.
//!   The few families of more than 12 members (people, clock faces, keycaps …) are always in training:
//!   their members hardly differ, so one of them held out would be a large and arbitrary part of a
//!   small set.
//! - **Flags** are in none of the three: vendors draw them alike and no one can guess an unseen one.
//!
//! # Families
//!
//! Concepts with the same [`family_key`] are one family. The key is the label without the words that
//! tell twins apart: gender and age words, what follows a colon of a person (hair, beard, "facing
//! right", the members of a couple), directions, colours, sizes, states such as "open" or "oncoming",
//! "face" of an animal, and a plural's s. A few families are named outright: keycaps, clock faces,
//! moons, families, globes, mailboxes, speakers, royalty, the Clauses and the merfolk. Erring on the
//! side of one family too large costs nothing; signs of the zodiac stay apart.

use std::collections::BTreeMap;

/// The part of the data a vendor or a family of concepts belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// What models are trained on, frozen parts included.
    Train,
    /// What choices are made on.
    Validation,
    /// What results are reported on.
    Test,
}

/// Share of the families held out for validation, and again for test.
const HELD_OUT: f64 = 0.1;

/// Families of more members are never held out.
const LARGE: usize = 12;

/// Names the draw: another string would be another split.
const DRAW: &str = "seed corpus split 1: ";

/// Words that tell twins apart, without a plural's s.
const TWIN_WORDS: &[&str] = &[
    // gender and age
    "man",
    "men",
    "woman",
    "women",
    "person",
    "people",
    "boy",
    "girl",
    "child",
    "male",
    "female",
    // directions
    "up",
    "down",
    "left",
    "right",
    "leftward",
    "rightward",
    "upward",
    "downward",
    "up-right",
    "up-left",
    "down-right",
    "down-left",
    "left-right",
    "up-down",
    "left-facing",
    "right-facing",
    "facing",
    "clockwise",
    "counterclockwise",
    // colours
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "brown",
    "black",
    "white",
    "pink",
    "grey",
    "light",
    "dark",
    // sizes and degrees
    "large",
    "medium",
    "small",
    "medium-small",
    "low",
    "high",
    "slightly",
    // states and order
    "open",
    "closed",
    "oncoming",
    "incoming",
    "raised",
    "1st",
    "2nd",
    "3rd",
    "first",
    "last",
    "next",
    "done",
    "not",
    "slash",
    "japanese",
    // the glue between them
    "a",
    "and",
    "in",
    "of",
    "the",
    "with",
];

/// Families named outright: if the label has this word, the family has that key.
const NAMED: &[(&str, &str)] = &[
    ("keycap", "keycap"),
    ("moon", "moon"),
    ("family", "family"),
    ("globe", "globe"),
    ("mailbox", "mailbox"),
    ("speaker", "speaker"),
    ("clau", "claus"),
    ("prince", "crown"),
    ("princess", "crown"),
    ("merman", "merperson"),
    ("mermaid", "merperson"),
    ("merperson", "merperson"),
    ("unlocked", "locked"),
    ("older", "old"),
    ("breast-feeding", "feeding baby"),
];

/// The key of a concept's family; see the [module documentation](self).
pub fn family_key(label: &str, group: &str) -> String {
    let person = group == "people-body";
    let label = label.to_lowercase().replace(['’', '\''], "");
    let clock = |word: &str| word == "oclock" || word.ends_with("-thirty");
    let all = words(&label);
    if all.iter().any(|word| clock(word)) {
        return "clock face".to_owned();
    }
    if let Some((_, key)) = NAMED
        .iter()
        .find(|(named, _)| all.iter().any(|word| word == named))
    {
        return (*key).to_owned();
    }

    let head = if person {
        label.split(':').next().unwrap_or(&label)
    } else {
        &label
    };
    let is_twin_word =
        |word: &str| TWIN_WORDS.contains(&word) || (group == "animals-nature" && word == "face");
    let kept: Vec<String> = words(head)
        .into_iter()
        .filter(|word| !is_twin_word(word))
        .collect();
    match (kept.is_empty(), person) {
        (false, _) => kept.join(" "),
        (true, true) => "person".to_owned(),
        (true, false) => all.join(" "),
    }
}

/// The words of a label, without a plural's s.
fn words(label: &str) -> Vec<String> {
    label
        .split(|c: char| !c.is_alphanumeric() && c != '-')
        .filter(|word| !word.is_empty())
        .map(|word| match word.strip_suffix('s') {
            Some(stem) if stem.len() > 2 && !stem.ends_with('s') => stem.to_owned(),
            _ => word.to_owned(),
        })
        .collect()
}

/// The part a family belongs to, by a hash of its key; large families are in training.
pub fn split_of(family_key: &str, members: usize) -> Split {
    if members > LARGE {
        return Split::Train;
    }
    let hash = blake3::hash(format!("{DRAW}{family_key}").as_bytes());
    let head = hash.as_bytes()[..8].iter().rev();
    let number = head.fold(0u64, |number, &byte| number << 8 | u64::from(byte));
    let draw = number as f64 / u64::MAX as f64;
    if draw < HELD_OUT {
        Split::Validation
    } else if draw < 2.0 * HELD_OUT {
        Split::Test
    } else {
        Split::Train
    }
}

/// A family's number, in the order in which keys first appear, and its size.
#[derive(Clone, Copy)]
pub(crate) struct Family {
    pub(crate) number: usize,
    pub(crate) members: usize,
}

/// The families by key.
pub(crate) fn families(keys: &[String]) -> BTreeMap<&str, Family> {
    let mut families = BTreeMap::new();
    for key in keys {
        let number = families.len();
        let family = families
            .entry(key.as_str())
            .or_insert(Family { number, members: 0 });
        family.members += 1;
    }
    families
}
