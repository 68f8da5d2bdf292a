//! The captions that pictures choose among.

use std::collections::HashSet;

use seed_data::PairSet;

/// A caption of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The pair.
    pub pair: usize,
    /// Its number among the pair's [candidates](PairSet::candidates).
    pub caption: usize,
}

/// All different captions of a set's pictures, and what right is (SEED's protocol: each of several captions of a picture
/// is a candidate, and any of them is a hit).
#[derive(Debug, Clone)]
pub struct Candidates {
    /// The captions, in the order of their pairs.
    pub captions: Vec<Candidate>,
    /// What each picture shows.
    pub shown: Vec<usize>,
    /// What each caption names.
    pub named: Vec<usize>,
}

impl Candidates {
    /// The candidates of a set: a caption that several pictures of a concept bear is one.
    pub fn of(set: &dyn PairSet) -> Self {
        let shown: Vec<usize> = (0..set.len()).map(|pair| set.concept(pair)).collect();
        let mut seen = HashSet::new();
        let (mut captions, mut named) = (Vec::new(), Vec::new());
        for (pair, concept) in shown.iter().enumerate() {
            for (caption, text) in set.candidates(pair).iter().enumerate() {
                if seen.insert((*concept, text.as_str())) {
                    captions.push(Candidate { pair, caption });
                    named.push(*concept);
                }
            }
        }
        Self {
            captions,
            shown,
            named,
        }
    }

    /// The captions' texts, in the same order.
    pub fn texts<'a>(&self, set: &'a dyn PairSet) -> Vec<&'a str> {
        let captions = self.captions.iter();
        captions
            .map(|found| set.candidates(found.pair)[found.caption].as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;
    use seed_data::DataError;
    use seed_eval::{Features, GroundTruth};

    use super::*;

    /// Pictures with several captions each; those with the same first one show the same.
    struct Captioned(Vec<Vec<String>>);

    impl Captioned {
        fn new(captions: &[&[&str]]) -> Self {
            let own = |texts: &&[&str]| texts.iter().map(ToString::to_string).collect();
            Self(captions.iter().map(own).collect())
        }
    }

    impl PairSet for Captioned {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn id(&self, index: usize) -> &str {
            &self.0[index][0]
        }

        fn captions(&self, index: usize) -> &[String] {
            &self.0[index]
        }

        fn concept(&self, index: usize) -> usize {
            let first = |captions: &Vec<String>| captions[0] == self.0[index][0];
            self.0.iter().position(first).unwrap_or(index)
        }

        fn picture(&self, _index: usize) -> Result<RgbImage, DataError> {
            Ok(RgbImage::new(1, 1))
        }

        fn fingerprint(&self) -> [u8; 32] {
            [0; 32]
        }
    }

    /// The protocol of five captions a picture: each is a candidate, and any of a picture's own is a hit.
    #[test]
    fn every_caption_is_a_candidate_and_any_is_a_hit() {
        let set = Captioned::new(&[&["a cat", "it sleeps"], &["a dog", "it barks"]]);
        let candidates = Candidates::of(&set);
        let texts = candidates.texts(&set);
        assert_eq!(texts, ["a cat", "it sleeps", "a dog", "it barks"]);
        assert_eq!(candidates.named, [0, 0, 1, 1]);
        // Both pictures are nearest to their second captions.
        let pictures = Features::new(2, 2, vec![1.0, 0.0, 0.0, 1.0]).unwrap();
        let captions = vec![0.6, -0.8, 1.0, 0.1, -0.8, 0.6, 0.1, 1.0];
        let captions = Features::new(4, 2, captions).unwrap();
        let truth = GroundTruth::new(&candidates.shown, &candidates.named).unwrap();
        let scores = truth.cosine(&pictures, &captions).unwrap();
        assert!((scores.image_to_text.r1 - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_caption_of_several_pictures_of_a_concept_is_one() {
        let set = Captioned::new(&[&["a cat", "it sleeps"], &["a cat", "it eats"]]);
        let candidates = Candidates::of(&set);
        assert_eq!(candidates.texts(&set), ["a cat", "it sleeps", "it eats"]);
        assert_eq!(candidates.named, [0, 0, 0]);
    }
}
