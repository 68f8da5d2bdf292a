//! The loader's stream depends on the seed alone, survives failing items, and stops cleanly.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use rand::Rng;
use seed_data::{Batch, ItemContext, Loader, LoaderConfig, LoaderError, item_rng, order};

fn config(batch_size: usize, workers: usize) -> LoaderConfig {
    LoaderConfig {
        workers,
        prefetch: 4,
        ..LoaderConfig::new(batch_size, 11)
    }
}

/// Items that show which index, epoch and random stream they were made of.
fn loader(len: u32, config: LoaderConfig) -> Loader<(u32, u64, u64), Infallible> {
    Loader::new(len, config, |mut context: ItemContext| {
        Ok((context.index, context.epoch, context.rng.next_u64()))
    })
    .unwrap()
}

type Stream = Vec<Batch<(u32, u64, u64)>>;

fn take(len: u32, config: LoaderConfig, first: u64, count: usize) -> Stream {
    let batches = loader(len, config).start_at(first).unwrap();
    batches.take(count).map(Result::unwrap).collect()
}

#[test]
fn the_order_is_a_permutation_keyed_by_seed_and_epoch() {
    let base = order(1, 0, 100);
    let mut sorted = base.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..100));
    assert_eq!(base, order(1, 0, 100));
    assert_ne!(base, order(1, 1, 100));
    assert_ne!(base, order(2, 0, 100));
    assert!(order(1, 0, 0).is_empty());
    // Pinned: a resumed run must see the order that the interrupted one saw.
    assert_eq!(order(1, 0, 8), [4, 6, 0, 3, 7, 2, 5, 1]);
}

#[test]
fn every_item_has_its_own_generator() {
    let draw = |seed, epoch, index| item_rng(seed, epoch, index).next_u64();
    let base = draw(1, 2, 3);
    assert_eq!(base, draw(1, 2, 3));
    for other in [draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4), draw(1, 3, 2)] {
        assert_ne!(base, other);
    }
}

#[test]
fn an_epoch_holds_every_item_once() {
    let mut all = LoaderConfig {
        drop_last: false,
        ..config(4, 2)
    };
    let batches: Vec<_> = loader(10, all.clone())
        .epochs(1)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        batches.iter().map(|b| b.items.len()).collect::<Vec<_>>(),
        [4, 4, 2]
    );
    let mut seen: Vec<_> = batches.iter().flat_map(|b| b.indices.clone()).collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..10));

    all.shuffle = false;
    let first = loader(10, all).epochs(1).unwrap().next().unwrap().unwrap();
    assert_eq!(first.indices, [0, 1, 2, 3]);

    let whole = loader(10, config(4, 2));
    assert_eq!(whole.steps_per_epoch(), 2);
    let steps: Vec<_> = whole.epochs(3).unwrap().map(|b| b.unwrap().step).collect();
    assert_eq!(steps, [0, 1, 2, 3, 4, 5]);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_stream_is_the_same_for_any_workers_and_start(
        len in 5_u32..60,
        batch_size in 1_usize..6,
        drop_last in any::<bool>(),
        first in 0_u64..40,
    ) {
        let base = LoaderConfig { drop_last, ..config(batch_size, 1) };
        let reference = take(len, base.clone(), 0, first as usize + 12);
        for workers in [1, 2, 3, 8] {
            let other = take(len, LoaderConfig { workers, ..base.clone() }, first, 12);
            prop_assert_eq!(&other, &reference[first as usize..]);
        }
    }
}

#[test]
fn failing_items_are_named_and_the_stream_goes_on() {
    #[derive(Debug, thiserror::Error)]
    #[error("no such picture")]
    struct Missing;
    let make = |context: ItemContext| match context.index {
        3 => Err(Missing),
        5 => panic!("index {} is cursed", context.index),
        index => Ok(index),
    };
    let ordered = LoaderConfig {
        shuffle: false,
        ..config(2, 2)
    };
    let results: Vec<_> = Loader::new(8, ordered, make)
        .unwrap()
        .epochs(1)
        .unwrap()
        .collect();
    assert_eq!(results.len(), 4);
    assert_eq!(results[0].as_ref().unwrap().items, [0, 1]);
    assert!(matches!(
        &results[1],
        Err(LoaderError::Item {
            step: 1,
            index: 3,
            ..
        })
    ));
    match &results[2] {
        Err(LoaderError::Panicked {
            index: 5, message, ..
        }) => {
            assert_eq!(message, "index 5 is cursed");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(results[3].as_ref().unwrap().items, [6, 7]);
    let text = results[1].as_ref().unwrap_err().to_string();
    assert!(
        text.contains("item 3") && text.contains("no such picture"),
        "{text}"
    );
}

#[test]
fn impossible_batches_are_refused() {
    let new = |len, batch| {
        Loader::new(len, config(batch, 1), |c: ItemContext| {
            Ok::<_, Infallible>(c.index)
        })
    };
    for (len, batch) in [(3, 4), (3, 0), (0, 1)] {
        assert!(matches!(new(len, batch), Err(LoaderError::NoBatch { .. })));
    }
    assert!(new(3, 3).is_ok());
}

#[test]
fn prefetching_is_bounded_and_dropping_stops_the_workers() {
    let made = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&made);
    let loader = Loader::new(100, config(1, 2), move |context: ItemContext| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Infallible>(context.index)
    })
    .unwrap();
    let mut batches = loader.start_at(0).unwrap();
    batches.next().unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    // One taken, four ready, and one in the hands of each of the two workers.
    let ahead = made.load(Ordering::SeqCst);
    assert!((5..=7).contains(&ahead), "{ahead} items were made");
    drop(batches);
    let stopped = made.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(made.load(Ordering::SeqCst), stopped);
    assert_eq!(
        Arc::strong_count(&made),
        2,
        "only the loader itself holds the closure"
    );
}

#[test]
fn waiting_for_data_is_recorded() {
    let slow = Loader::new(10, config(1, 1), |context: ItemContext| {
        std::thread::sleep(Duration::from_millis(20));
        Ok::<_, Infallible>(context.index)
    })
    .unwrap();
    let mut batches = slow.start_at(0).unwrap();
    batches.next().unwrap().unwrap();
    assert_eq!(
        batches.waited(),
        Duration::ZERO,
        "the first batch does not count"
    );
    for _ in 0..4 {
        batches.next().unwrap().unwrap();
    }
    assert!(
        batches.waited() >= Duration::from_millis(60),
        "{:?}",
        batches.waited()
    );
}
