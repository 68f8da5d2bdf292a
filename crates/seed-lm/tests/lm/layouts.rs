//! The same sequence, read in other company: token by token, padded, packed.

use burn::tensor::{Int, Tensor};
use seed_device::test_device;
use seed_lm::{KvCache, Layout, Opt, Sequence, SequenceBatch, VisualHead};

use crate::models::{POSITIONS, apart, assert_close, configs, ids, seed_lm};

const TOKENS: [[i64; 9]; 2] = [
    [2, 5, 9, 14, 3, 3, 27, 8, 21],
    [2, 17, 4, 29, 6, 11, 10, 5, 7],
];
/// The same width, the second row with two tokens of padding before it.
const LEFT: [[i64; 9]; 2] = [
    [2, 5, 9, 14, 3, 3, 27, 8, 21],
    [1, 1, 2, 17, 4, 29, 6, 11, 10],
];

/// Reads `tokens` in pieces of these lengths.
fn in_pieces(
    model: &Opt,
    tokens: &Tensor<2, Int>,
    mask: Option<&Tensor<2, Int>>,
    pieces: &[usize],
) -> Tensor<3> {
    let [batch, length] = tokens.dims();
    assert_eq!(pieces.iter().sum::<usize>(), length);
    let mut cache = KvCache::new(model.config(), batch, length + 3, &tokens.device()).unwrap();
    let mut states = Vec::new();
    let mut at = 0;
    for &new in pieces {
        let piece = tokens.clone().narrow(1, at, new);
        // Padding stands in the first piece alone; what follows needs no mask.
        let mask = mask.filter(|_| at == 0);
        let mask = mask.map(|mask| mask.clone().narrow(1, at, new));
        states.push(model.forward_cached(model.embed(piece), mask, &mut cache));
        at += new;
        assert_eq!(cache.length(), at);
    }
    Tensor::cat(states, 1)
}

#[test]
fn a_cache_changes_nothing() {
    let device = test_device();
    for config in configs() {
        device.seed(1);
        let model = config.init(&device).unwrap();
        let tokens = ids(TOKENS, &device);
        let whole = model.forward(model.embed(tokens.clone()), &Layout::full(9, &device));
        for pieces in [&[9][..], &[1; 9], &[4, 1, 1, 1, 1, 1], &[2, 3, 4]] {
            assert_close(
                in_pieces(&model, &tokens, None, pieces),
                whole.clone(),
                1e-4,
            );
        }
    }
}

#[test]
fn a_cache_with_padding_changes_nothing() {
    let device = test_device();
    for config in configs() {
        device.seed(2);
        let model = config.init(&device).unwrap();
        let tokens = ids(LEFT, &device);
        let mask = tokens.clone().not_equal_elem(1).int();
        let layout = Layout::padded(mask.clone());
        let whole = model.forward(model.embed(tokens.clone()), &layout);
        for pieces in [&[9][..], &[3, 1, 1, 1, 1, 1, 1], &[4, 2, 3]] {
            let found = in_pieces(&model, &tokens, Some(&mask), pieces);
            // What stands at padding has no meaning.
            assert_close(found.narrow(1, 2, 7), whole.clone().narrow(1, 2, 7), 1e-4);
        }
    }
}

#[test]
fn padding_changes_nothing() {
    let device = test_device();
    for config in configs() {
        device.seed(3);
        let model = config.init(&device).unwrap();
        let short = ids([[2, 17, 4, 29, 6, 11]], &device);
        let alone = model.forward(model.embed(short), &Layout::full(6, &device));
        let row = [2, 5, 9, 14, 3, 3, 27, 8, 21];
        for (padded, from) in [
            ([row, [2, 17, 4, 29, 6, 11, 1, 1, 1]], 0),
            ([row, [1, 1, 1, 2, 17, 4, 29, 6, 11]], 3),
        ] {
            let tokens = ids(padded, &device);
            let mask = tokens.clone().not_equal_elem(1).int();
            let states = model.forward(model.embed(tokens), &Layout::padded(mask));
            let found = states.narrow(0, 1, 1).narrow(1, from, 6);
            assert_close(found, alone.clone(), 1e-4);
        }
    }
}

#[test]
fn rows_of_a_cache_can_be_chosen() {
    let device = test_device();
    device.seed(4);
    let model = configs()[0].init(&device).unwrap();
    let tokens = ids(LEFT, &device);
    let mask = tokens.clone().not_equal_elem(1).int();
    let mut cache = KvCache::new(model.config(), 2, 12, &device).unwrap();
    model.forward_cached(model.embed(tokens), Some(mask), &mut cache);
    let next = |cache: &mut KvCache, tokens: &[i64]| {
        let tokens = Tensor::<1, Int>::from_data(tokens, &device).unsqueeze_dim(1);
        model.forward_cached(model.embed(tokens), None, cache)
    };
    let before = next(&mut cache.clone(), &[6, 7]);
    cache.select(Tensor::from_data([1, 0, 1], &device));
    let after = next(&mut cache, &[7, 6, 7]);
    for (row, from) in [(0, 1), (1, 0), (2, 1)] {
        let expected = before.clone().narrow(0, from, 1);
        assert_close(after.clone().narrow(0, row, 1), expected, 1e-5);
    }
    assert!(apart(before.clone().narrow(0, 0, 1), before.narrow(0, 1, 1)) > 1e-2);
}

/// Log-probabilities by sequence and depth.
fn log_likelihoods(model: &seed_lm::SeedLm, batch: &SequenceBatch) -> Vec<(usize, usize, f32)> {
    let device = model.opt.device();
    let [places, targets] = batch.targets(&device);
    let embeddings = model.embed(batch.ids(&device));
    let layout = batch.layout(&device);
    let found = model.log_likelihoods(embeddings, &layout, places, targets);
    let mut all: Vec<_> = batch
        .owners
        .iter()
        .zip(&batch.depths)
        .zip(found.into_data().iter::<f32>())
        .map(|((owner, depth), value)| (*owner, *depth, value))
        .collect();
    all.sort_by_key(|(owner, depth, _)| (*owner, *depth));
    all
}

#[test]
fn packing_changes_no_likelihood() {
    let device = test_device();
    let sequence = |ids: &[u32], target| Sequence {
        ids: ids.to_vec(),
        target,
    };
    // Words, and codes from 30 on.
    let sequences = [
        sequence(&[37, 30, 33, 36, 38, 2, 8, 9, 2], 6),
        sequence(&[2, 5, 6], 1),
        sequence(&[2, 20, 37, 31, 31, 35, 38], 2),
        sequence(&[2, 3, 4, 5, 6, 7], 3),
    ];
    for config in configs() {
        let model = seed_lm(&config, VisualHead::Tied, 5, &device);
        let alone: Vec<_> = sequences
            .iter()
            .enumerate()
            .flat_map(|(index, sequence)| {
                let one = std::slice::from_ref(sequence);
                let batch = SequenceBatch::padded(one, 1, POSITIONS).unwrap();
                let found = log_likelihoods(&model, &batch);
                found
                    .into_iter()
                    .map(move |(_, depth, value)| (index, depth, value))
            })
            .collect();
        assert_eq!(alone.len(), 3 + 2 + 5 + 3);
        let padded = SequenceBatch::padded(&sequences, 1, POSITIONS).unwrap();
        let packed = SequenceBatch::packed(&sequences, 1, 13).unwrap();
        assert_eq!((padded.shape, packed.shape), ([4, 9], [2, 13]));
        for batch in [padded, packed] {
            for (expected, found) in alone.iter().zip(log_likelihoods(&model, &batch)) {
                assert_eq!((expected.0, expected.1), (found.0, found.1));
                let difference = (expected.2 - found.2).abs();
                assert!(difference < 1e-4, "{expected:?} {found:?}");
            }
        }
    }
}
