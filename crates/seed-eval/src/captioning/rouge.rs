//! ROUGE-L (Lin, 2004): the longest common subsequence of words.

use super::item::CaptionItem;

/// How much more recall weighs than precision.
const BETA: f64 = 1.2;

/// The F score of the best precision and the best recall over the references.
pub(super) fn score(item: &CaptionItem<'_>) -> f64 {
    // As in Python's `split(" ")`, nothing is one empty word: the lengths are never 0.
    let words = |caption: &'_ str| caption.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let hypothesis = words(item.hypothesis);
    let (mut precision, mut recall) = (0.0_f64, 0.0_f64);
    for reference in item.references {
        let reference = words(reference);
        let common = common_subsequence(&hypothesis, &reference) as f64;
        precision = precision.max(common / hypothesis.len() as f64);
        recall = recall.max(common / reference.len() as f64);
    }
    if precision > 0.0 && recall > 0.0 {
        let beta = BETA * BETA;
        (1.0 + beta) * precision * recall / (recall + beta * precision)
    } else {
        0.0
    }
}

/// The length of the longest common subsequence.
fn common_subsequence(a: &[String], b: &[String]) -> usize {
    // `row[j]` is the answer for what of `a` was seen and the first `j` of `b`.
    let mut row = vec![0; b.len() + 1];
    for word in a {
        let mut diagonal = 0;
        for (j, other) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if word == other {
                diagonal + 1
            } else {
                above.max(row[j])
            };
            diagonal = above;
        }
    }
    row[b.len()]
}
