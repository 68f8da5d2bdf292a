//! Holding pictures of a user's own out of training.

use std::collections::BTreeSet;
use std::sync::Arc;

use image::RgbImage;
use proptest::prelude::*;
use seed_data::{DataError, PairSet, split_held_out};

/// Pairs known by what their pictures show alone.
struct Pictures(Vec<(String, u32)>);

impl Pictures {
    fn of(shown: impl IntoIterator<Item = u32>) -> Arc<dyn PairSet> {
        let pairs = shown.into_iter().enumerate();
        Arc::new(Self(
            pairs
                .map(|(i, shown)| (format!("{i}.png"), shown))
                .collect(),
        ))
    }
}

impl PairSet for Pictures {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn id(&self, index: usize) -> &str {
        &self.0[index].0
    }

    fn captions(&self, _: usize) -> &[String] {
        &[]
    }

    fn concept(&self, index: usize) -> usize {
        index
    }

    fn picture(&self, _: usize) -> Result<RgbImage, DataError> {
        Ok(RgbImage::new(1, 1))
    }

    fn content(&self, index: usize) -> [u8; 32] {
        blake3::hash(&self.0[index].1.to_le_bytes()).into()
    }

    fn fingerprint(&self) -> [u8; 32] {
        [0; 32]
    }
}

/// What the pictures held out show; `None` if one side is empty.
fn held_out(shown: &[u32], seed: u64, fraction: f64) -> Option<BTreeSet<u32>> {
    let set = Pictures::of(shown.iter().copied());
    let (training, held_out) = split_held_out(&set, seed, fraction).ok()?;
    let shows = |part: &[usize]| -> BTreeSet<u32> { part.iter().map(|&i| shown[i]).collect() };
    let (training, held_out) = (shows(training.indices()), shows(held_out.indices()));
    assert!(
        training.is_disjoint(&held_out),
        "the same picture on both sides"
    );
    assert_eq!(&training | &held_out, shown.iter().copied().collect());
    Some(held_out)
}

proptest! {
    #[test]
    fn adding_pictures_moves_none(
        old in prop::collection::vec(0..500_u32, 2..60),
        new in prop::collection::vec(0..500_u32, 0..60),
        order in any::<u64>(),
        seed in any::<u64>(),
        fraction in 0.05..0.95,
    ) {
        let mut all = [old.clone(), new].concat();
        let by = (order as usize) % all.len();
        all.rotate_left(by);
        let distinct = |shown: &[u32]| shown.iter().collect::<BTreeSet<_>>().len();
        prop_assume!(distinct(&old) > 1);
        if let (Some(few), Some(many)) = (held_out(&old, seed, fraction), held_out(&all, seed, fraction)) {
            for shown in old {
                prop_assert_eq!(few.contains(&shown), many.contains(&shown));
            }
        }
    }
}

#[test]
fn the_share_held_out_is_near_the_fraction() {
    let set = Pictures::of(0..4000);
    for (seed, fraction) in [(0, 0.1), (1, 0.1), (2, 0.5), (u64::MAX, 0.9)] {
        let (training, held_out) = split_held_out(&set, seed, fraction).expect("a split");
        assert_eq!(training.len() + held_out.len(), 4000);
        let share = held_out.len() as f64 / 4000.0;
        // Four standard deviations.
        let deviation = (fraction * (1.0 - fraction) / 4000.0).sqrt();
        assert!((share - fraction).abs() < 4.0 * deviation, "{share}");
    }
}

#[test]
fn an_empty_side_is_an_error_that_names_a_seed_which_works() {
    let set = Pictures::of(0..7);
    let mut empty = 0;
    for seed in 0..50 {
        match split_held_out(&set, seed, 0.1) {
            Ok((training, held_out)) => assert!(!training.is_empty() && !held_out.is_empty()),
            Err(error) => {
                let text = error.to_string();
                let DataError::NothingHeldOut {
                    works: Some((works, count)),
                    ..
                } = error
                else {
                    panic!("{text}");
                };
                let told = format!(
                    "none of the 7 pictures are held out with split_seed {seed}; split_seed {works} holds out {count}"
                );
                assert_eq!(text, told);
                let (_, held_out) = split_held_out(&set, works, 0.1).expect("a split");
                assert_eq!(held_out.len(), count);
                empty += 1;
            }
        }
    }
    // 0.9⁷ of the seeds hold nothing out.
    assert!((10..40).contains(&empty), "{empty}");

    let error = (0..9).find_map(|seed| split_held_out(&set, seed, 0.95).err());
    let text = error.expect("a seed that holds out all").to_string();
    assert!(
        text.starts_with("all of the 7 pictures are held out"),
        "{text}"
    );
    let error = split_held_out(&set, 0, 1e-12).err().expect("no split");
    assert!(matches!(
        error,
        DataError::NothingHeldOut { works: None, .. }
    ));
    assert!(error.to_string().contains("share"), "{error}");
}

#[test]
fn a_single_picture_is_for_training_and_shares_lie_between_0_and_1() {
    for seed in 0..20 {
        for set in [Pictures::of([]), Pictures::of([5]), Pictures::of([5, 5])] {
            let (training, held_out) = split_held_out(&set, seed, 0.9).expect("a split");
            assert_eq!((training.len(), held_out.len()), (set.len(), 0));
        }
    }
    for fraction in [0.0, 1.0, -0.5, 1.5, f64::NAN] {
        let error = split_held_out(&Pictures::of(0..9), 0, fraction).err();
        assert!(
            matches!(error, Some(DataError::HeldOutShare { .. })),
            "{fraction}"
        );
    }
}
