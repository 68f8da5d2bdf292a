//! A figure that matters, and what was asked of it.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::{
    figure::Figure,
    numbers::{number, thousands},
    score::Score,
    target::{Asked, Verdict},
};

/// One figure that matters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Headline {
    /// What it is.
    pub label: String,
    /// The figure.
    pub value: Figure,
    /// Written after it: `%`, `points`, …
    pub unit: String,
    /// Digits after the point.
    pub decimals: usize,
    /// Which score it is, so that a target finds it.
    pub score: Option<Score>,
    /// The set it was measured on; empty for none.
    #[serde(default)]
    pub set: String,
    /// What was asked of it.
    pub asked: Option<Asked>,
    /// A few words of context.
    pub note: Option<String>,
}

impl Headline {
    /// A figure with one decimal; a share in percent, a number without a unit.
    pub fn new(label: impl Into<String>, value: impl Into<Figure>) -> Self {
        let value = value.into();
        let unit = match value {
            Figure::Share(_) => "%",
            Figure::Number(_) => "",
        };
        Self {
            label: label.into(),
            value,
            unit: unit.to_owned(),
            decimals: 1,
            score: None,
            set: String::new(),
            asked: None,
            note: None,
        }
    }

    /// Sets the unit.
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = unit.into();
        self
    }

    /// Sets the digits after the point.
    pub fn decimals(mut self, decimals: usize) -> Self {
        self.decimals = decimals;
        self
    }

    /// Says which score this is and on which set, so that a target of the two is judged here. The set is shown.
    pub fn of(mut self, score: Score, set: impl Display) -> Self {
        self.score = Some(score);
        self.set = set.to_string();
        self
    }

    /// Adds a few words of context.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// The standard error of a share in points; `None` for what is no sample: a number, and the codebook, whose codes
    /// are all counted.
    pub fn standard_error(&self) -> Option<f64> {
        match (self.value, self.score) {
            (Figure::Number(_), _) | (_, Some(Score::CodebookInUse)) => None,
            (Figure::Share(share), _) => Some(share.standard_error()),
        }
    }

    /// What became of what was asked; `None` if nothing was.
    pub fn verdict(&self) -> Option<Verdict> {
        self.asked.map(|asked| asked.judge(self.value))
    }

    /// `345 of 1,327, asked at least 345 of 1,327: reached`; `None` if nothing was asked.
    pub fn judgement(&self) -> Option<String> {
        Some(format!("{}: {}", self.compared()?, self.verdict()?))
    }

    /// The line of a table at the end of a run; `None` if nothing was asked.
    pub(crate) fn line(&self) -> Option<String> {
        Some(format!("{}: {}", self.name(), self.judgement()?))
    }

    /// What to warn of unless the target is reached.
    pub(crate) fn warning(&self) -> Option<String> {
        let (compared, name) = (self.compared()?, self.name());
        match self.verdict()? {
            Verdict::Reached => None,
            Verdict::NotReached => Some(format!("Not reached: {name}: {compared}.")),
            Verdict::NotCompared => Some(format!("Not compared: {name}: {compared}.")),
        }
    }

    /// The label, with the set where there is one.
    fn name(&self) -> String {
        if self.set.is_empty() {
            self.label.clone()
        } else {
            format!("{} ({})", self.label, self.set)
        }
    }

    /// The figure beside what was asked; of shares of different numbers, these numbers alone.
    fn compared(&self) -> Option<String> {
        let asked = self.asked?;
        Some(match (self.value, asked.figure()) {
            (Figure::Share(found), Figure::Share(wanted)) if found.of != wanted.of => {
                let [wanted, found] = [wanted.of, found.of].map(thousands);
                format!("asked of {wanted}, {found} were judged")
            }
            (Figure::Number(found), Figure::Number(wanted)) => {
                let found = self.with_unit(told_apart(found, wanted, self.decimals));
                format!("{found}, asked {}", self.with_unit(asked.to_string()))
            }
            (found, _) => format!("{found}, asked {asked}"),
        })
    }

    fn with_unit(&self, mut number: String) -> String {
        if !self.unit.is_empty() {
            number.push(' ');
            number.push_str(&self.unit);
        }
        number
    }
}

/// `found` with as many digits as it takes to see on which side of `wanted` it is: 3.34 is not 3.3.
fn told_apart(found: f64, wanted: f64, decimals: usize) -> String {
    let apart = |decimals: &usize| number(found, *decimals) != number(wanted, *decimals);
    let enough = (decimals..=decimals + 12).find(apart).unwrap_or(decimals);
    number(found, enough)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::Share;

    fn judged(value: impl Into<Figure>, asked: Asked) -> String {
        let headline = Headline {
            asked: Some(asked),
            ..Headline::new("it", value)
        };
        headline.judgement().unwrap()
    }

    #[test]
    fn says_what_was_asked_and_what_became_of_it() {
        let share = |hits, of| Figure::from(Share::new(hits, of));
        let asked = Asked::AtLeast(share(345, 1327));
        for (found, text) in [
            (
                share(345, 1327),
                "345 of 1,327, asked at least 345 of 1,327: reached",
            ),
            (
                share(344, 1327),
                "344 of 1,327, asked at least 345 of 1,327: not reached",
            ),
            (
                share(290, 300),
                "asked of 1,327, 300 were judged: not compared",
            ),
            (
                Figure::Number(26.0),
                "26, asked at least 345 of 1,327: not compared",
            ),
        ] {
            assert_eq!(judged(found, asked), text);
        }
        let few = Asked::AtMost(share(2, 149));
        assert_eq!(
            judged(share(3, 149), few),
            "3 of 149, asked at most 2 of 149: not reached"
        );
    }

    #[test]
    fn numbers_are_told_apart() {
        let asked = Asked::AtMost(3.3.into());
        for (found, text) in [
            (3.3, "3.3, asked at most 3.3: reached"),
            (2.1, "2.1, asked at most 3.3: reached"),
            (3.3004, "3.3004, asked at most 3.3: not reached"),
            (3.299_96, "3.29996, asked at most 3.3: reached"),
            (f64::NAN, "–, asked at most 3.3: not reached"),
        ] {
            assert_eq!(judged(found, asked), text);
        }
    }
}
