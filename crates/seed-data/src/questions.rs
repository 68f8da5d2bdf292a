//! Questions with answers about the corpus' pictures, templated from the groups that Unicode sorts emoji into.
//!
//! They stand where VQAv2 stands in the paper, at a size that trains in minutes; scores on them say nothing about
//! real questions.

use std::collections::BTreeMap;

use crate::{Concept, Corpus};

/// A question about a picture, with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is asked.
    pub question: String,
    /// The one answer that is right.
    pub answer: String,
}

/// Groups in Unicode's charts and what their members are called.
const GROUPS: [(&str, &str); 8] = [
    ("smileys-emotion", "feeling"),
    ("people-body", "person"),
    ("animals-nature", "living thing"),
    ("food-drink", "food or drink"),
    ("travel-places", "place or vehicle"),
    ("activities", "activity"),
    ("objects", "object"),
    ("symbols", "symbol"),
];

/// Questions about a concept: its group, its subgroup, and one about a group that is right and one that is
/// wrong. None for concepts of other groups (flags).
pub fn questions_about(concept: &Concept) -> Vec<Question> {
    let Some(place) = GROUPS.iter().position(|(group, _)| *group == concept.group) else {
        return Vec::new();
    };
    let kind = GROUPS[place].1;
    // Which wrong group is asked for follows from the concept, so that all of them are.
    let step = 1 + concept.hexcode.bytes().map(usize::from).sum::<usize>() % (GROUPS.len() - 1);
    let other = GROUPS[(place + step) % GROUPS.len()].1;
    let question = |question: String, answer: &str| Question {
        question,
        answer: answer.to_owned(),
    };
    let subgroup = concept.subgroup.replace('-', " ");
    vec![
        question("what kind of thing is this?".to_owned(), kind),
        question(format!("what kind of {kind} is this?"), &subgroup),
        question(format!("is this a {kind}?"), "yes"),
        question(format!("is this a {other}?"), "no"),
    ]
}

impl Corpus {
    /// Questions about every concept, by its index.
    pub fn questions(&self) -> BTreeMap<usize, Vec<Question>> {
        let concepts = self.concepts().iter().enumerate();
        concepts
            .map(|(index, concept)| (index, questions_about(concept)))
            .filter(|(_, questions)| !questions.is_empty())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_concept_but_flags_is_asked_about() {
        let corpus = Corpus::embedded().unwrap();
        let questions = corpus.questions();
        for (index, concept) in corpus.concepts().iter().enumerate() {
            assert_eq!(
                questions.contains_key(&index),
                !concept.is_flag(),
                "{}",
                concept.label
            );
        }
        let all: Vec<&Question> = questions.values().flatten().collect();
        let yes = all
            .iter()
            .filter(|question| question.answer == "yes")
            .count();
        let no = all
            .iter()
            .filter(|question| question.answer == "no")
            .count();
        assert_eq!(yes, no);
        assert!(all.iter().all(|question| question.question.ends_with('?')));
    }
}
