//! Recall against the paper's table, a brute force and a simulation; the reference's own numbers are
//! the case `12_metrics` of `tests/fixtures`.

use proptest::prelude::*;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use seed_eval::{EvalError, Features, GroundTruth, Recall, RetrievalScores, nearest};

#[track_caller]
fn close(a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance, "{a} is not {b}");
}

#[test]
fn r_mean_of_the_papers_table_1() {
    let recall = |[r1, r5, r10]: [f64; 3]| Recall { r1, r5, r10 };
    for (image_to_text, text_to_image, r_mean) in [
        ([81.9, 98.4, 99.7], [82.4, 96.5, 98.4], 92.9),
        ([90.0, 99.6, 99.9], [80.0, 95.3, 97.6], 93.7),
        ([86.3, 98.6, 99.5], [75.9, 93.2, 96.7], 91.7),
        ([65.3, 89.9, 95.3], [59.1, 82.7, 89.4], 80.3),
        ([71.9, 91.1, 95.9], [56.7, 80.7, 87.7], 80.7),
        ([65.7, 88.1, 93.8], [52.5, 78.0, 86.0], 77.4),
    ] {
        let scores = RetrievalScores::new(recall(image_to_text), recall(text_to_image));
        // The paper rounds to one decimal.
        close(scores.r_mean, r_mean, 0.05 + 1e-9);
    }
}

#[test]
fn ties_count_against_the_model() {
    let concepts = [0, 1, 2];
    let truth = GroundTruth::new(&concepts, &concepts).unwrap();
    let collapsed = truth.scores(&[0.5; 9]).unwrap();
    close(collapsed.image_to_text.r1, 0.0, 0.0);
    close(collapsed.text_to_image.r5, 100.0, 0.0);
    // Two texts of one concept that tie are both right.
    let truth = GroundTruth::new(&[0, 1], &[0, 0, 1]).unwrap();
    let scores = truth.scores(&[0.9, 0.9, 0.1, 0.2, 0.2, 0.8]).unwrap();
    close(scores.r_mean, 100.0, 0.0);
}

#[test]
fn refuses_what_does_not_fit() {
    let error = GroundTruth::new(&[0, 4], &[0, 0]).unwrap_err();
    assert!(
        matches!(
            error,
            EvalError::Unanswerable {
                side: "image",
                row: 1,
                concept: 4,
                ..
            }
        ),
        "{error}"
    );
    assert!(GroundTruth::new(&[0], &[0, 1]).is_err());
    assert!(matches!(
        GroundTruth::new(&[], &[]),
        Err(EvalError::Empty("images"))
    ));
    let truth = GroundTruth::new(&[0, 1], &[0, 1]).unwrap();
    let error = truth.scores(&[0.0, 0.0, f32::NAN, 0.0]).unwrap_err();
    assert!(
        matches!(
            error,
            EvalError::NotFinite {
                row: 1,
                column: 0,
                ..
            }
        ),
        "{error}"
    );
    assert!(matches!(
        truth.scores(&[0.0]),
        Err(EvalError::Mismatch {
            got: 1,
            wanted: 4,
            ..
        })
    ));
    let (two, three) = (features(2, 3), features(3, 3));
    assert!(truth.cosine(&two, &three).is_err());
    assert!(truth.cosine(&two, &features(2, 4)).is_err());
}

fn features(rows: usize, dim: usize) -> Features {
    Features::new(
        rows,
        dim,
        (1_u8..).map(f32::from).take(rows * dim).collect(),
    )
    .unwrap()
}

#[test]
fn nearest_are_the_best_in_order() {
    let query = Features::new(1, 2, vec![2.0, 0.0]).unwrap();
    let candidates = Features::new(4, 2, vec![0.0, 1.0, 5.0, 5.0, 3.0, 0.0, 7.0, 0.0]).unwrap();
    let found = nearest(&query, &candidates, 3).unwrap();
    let rows: Vec<_> = found[0].iter().map(|n| n.row).collect();
    assert_eq!(rows, [2, 3, 1]);
    close(f64::from(found[0][2].score), 0.5_f64.sqrt(), 1e-6);
    assert_eq!(nearest(&query, &candidates, 9).unwrap()[0].len(), 4);
    assert!(nearest(&query, &candidates, 0).unwrap()[0].is_empty());
}

#[test]
fn chance_is_what_random_orders_give() {
    let images = [0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7];
    let texts = [7, 6, 5, 4, 3, 2, 1, 0, 0, 5, 5, 5];
    let truth = GroundTruth::new(&images, &texts).unwrap();
    let chance = truth.chance();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut scores: Vec<f32> = (0_u8..132).map(f32::from).collect();
    let rounds = 4000;
    let mut sums = [0.0; 7];
    for _ in 0..rounds {
        scores.shuffle(&mut rng);
        for (sum, value) in sums.iter_mut().zip(list(&truth.scores(&scores).unwrap())) {
            *sum += value / f64::from(rounds);
        }
    }
    for (simulated, expected) in sums.into_iter().zip(list(&chance)) {
        close(simulated, expected, 0.7);
    }
}

#[test]
fn chance_over_single_pairs_is_k_over_n() {
    let concepts: Vec<_> = (0..274).collect();
    let chance = GroundTruth::new(&concepts, &concepts).unwrap().chance();
    close(chance.image_to_text.r1, 100.0 / 274.0, 1e-9);
    close(chance.text_to_image.r10, 1000.0 / 274.0, 1e-9);
}

fn list(scores: &RetrievalScores) -> [f64; 7] {
    let RetrievalScores {
        image_to_text: i,
        text_to_image: t,
        r_mean,
    } = scores;
    [i.r1, i.r5, i.r10, t.r1, t.r5, t.r10, *r_mean]
}

/// Straight from the definition: sort the candidates, wrong before right where equal, look at the first K.
fn brute_force(
    queries: &[usize],
    candidates: &[usize],
    score: impl Fn(usize, usize) -> f32,
) -> Recall {
    let at = |k: usize| {
        let hit = |&query: &usize| {
            let right = |candidate: usize| candidates[candidate] == queries[query];
            let mut order: Vec<_> = (0..candidates.len()).collect();
            order.sort_by(|&a, &b| {
                score(query, b)
                    .total_cmp(&score(query, a))
                    .then(right(a).cmp(&right(b)))
            });
            order.into_iter().take(k).any(right)
        };
        100.0 * (0..queries.len()).filter(hit).count() as f64 / queries.len() as f64
    };
    Recall {
        r1: at(1),
        r5: at(5),
        r10: at(10),
    }
}

proptest! {
    #[test]
    fn agrees_with_brute_force(
        (images, texts, scores) in (1_usize..6).prop_flat_map(|concepts| {
            // Every concept on both sides, then some more of each; few different scores, so that ties are many.
            let side = move || prop::collection::vec(0..concepts, 0..15).prop_map(move |more| {
                (0..concepts).chain(more).collect::<Vec<_>>()
            });
            (side(), side())
        }).prop_flat_map(|(images, texts)| {
            let cells = images.len() * texts.len();
            let scores = prop::collection::vec((0_i8..12).prop_map(f32::from), cells);
            (Just(images), Just(texts), scores)
        })
    ) {
        let truth = GroundTruth::new(&images, &texts).unwrap();
        let got = truth.scores(&scores).unwrap();
        let score = |image, text| scores[image * texts.len() + text];
        prop_assert_eq!(got.image_to_text, brute_force(&images, &texts, score));
        prop_assert_eq!(got.text_to_image, brute_force(&texts, &images, |t, i| score(i, t)));
    }

    #[test]
    fn cosine_ignores_length(values in prop::collection::vec(0.1_f32..1.0, 6 * 4), scale in 0.01_f32..100.0) {
        let concepts = [0, 1, 2, 3, 4, 5];
        let truth = GroundTruth::new(&concepts, &concepts).unwrap();
        let texts = Features::new(6, 4, values.clone()).unwrap();
        let images = Features::new(6, 4, values.iter().map(|v| v * scale).collect()).unwrap();
        // Each row is nearest to itself unless another has its very direction.
        let scores = truth.cosine(&images, &texts).unwrap();
        prop_assert!(scores.r_mean > 99.0, "{:?}", scores);
    }
}
