//! Batches made by worker threads, in an order that depends on the seed and the epoch alone.
//!
//! Worker `w` of `n` makes every `n`-th batch and the consumer takes from the workers in turn, so
//! the stream is the same for any number of workers and can start at any step.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a generator is for, so that no two uses of one seed share a stream.
#[derive(Clone, Copy)]
enum Purpose {
    Order = 1,
    Item = 2,
}

fn keyed_rng(purpose: Purpose, seed: u64, epoch: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key
        .chunks_exact_mut(8)
        .zip([purpose as u64, seed, epoch, index])
    {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// The order in which an epoch visits `len` items: a Fisher–Yates shuffle keyed by the seed and
/// the epoch only.
pub fn order(seed: u64, epoch: u64, len: u32) -> Vec<u32> {
    let mut rng = keyed_rng(Purpose::Order, seed, epoch, 0);
    let mut order: Vec<u32> = (0..len).collect();
    for last in (1..order.len()).rev() {
        // Written out, so that the order can never change with a version of `rand`.
        let below = (u128::from(rng.next_u64()) * (last as u128 + 1)) >> 64;
        order.swap(last, below as usize);
    }
    order
}

/// The generator of everything random about one item in one epoch (crop, caption choice, …).
pub fn item_rng(seed: u64, epoch: u64, index: u32) -> ChaCha8Rng {
    keyed_rng(Purpose::Item, seed, epoch, u64::from(index))
}

/// How a [`Loader`] works. Only `batch_size`, `seed`, `shuffle` and `drop_last` change what it
/// yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderConfig {
    /// Items in a batch.
    pub batch_size: usize,
    /// Seed of the order and of every item's generator.
    pub seed: u64,
    /// Visit the items in a new random order each epoch (default), or by index.
    pub shuffle: bool,
    /// Worker threads, at least one.
    pub workers: usize,
    /// Batches kept ready ahead of the consumer, over all workers (at least one each).
    pub prefetch: usize,
    /// Leave out the smaller batch at the end of an epoch (default).
    pub drop_last: bool,
}

impl LoaderConfig {
    /// A shuffling configuration with one worker per core but one, and two batches ahead of each.
    pub fn new(batch_size: usize, seed: u64) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = cores.saturating_sub(1).max(1);
        Self {
            batch_size,
            seed,
            shuffle: true,
            workers,
            prefetch: 2 * workers,
            drop_last: true,
        }
    }
}

/// What an item is made from.
#[derive(Debug)]
pub struct ItemContext {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Index of the item in the set.
    pub index: u32,
    /// The item's own generator in this epoch, see [`item_rng`].
    pub rng: ChaCha8Rng,
}

/// The items of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<T> {
    /// Step, from 0, counted over all epochs.
    pub step: u64,
    /// Epoch, from 0.
    pub epoch: u64,
    /// Index of each item in the set.
    pub indices: Vec<u32>,
    /// What was made of each index.
    pub items: Vec<T>,
}

/// Why a loader could not be set up, or a batch not be made.
#[derive(Debug, thiserror::Error)]
pub enum LoaderError<E> {
    /// The configuration gives no batch at all.
    #[error(
        "batches of {batch_size} cannot be drawn from {len} items; \
         use a batch size between 1 and the number of items"
    )]
    NoBatch {
        /// Number of items.
        len: u32,
        /// The batch size asked for.
        batch_size: usize,
    },
    /// A thread could not be started.
    #[error("cannot start a loader thread: {0}")]
    Thread(#[source] std::io::Error),
    /// An item could not be made.
    #[error("step {step}, epoch {epoch}: item {index} could not be loaded: {source}")]
    Item {
        /// Step of the lost batch.
        step: u64,
        /// Its epoch.
        epoch: u64,
        /// The item at fault.
        index: u32,
        /// What went wrong.
        source: E,
    },
    /// Making an item panicked.
    #[error("step {step}, epoch {epoch}: loading item {index} panicked: {message}")]
    Panicked {
        /// Step of the lost batch.
        step: u64,
        /// Its epoch.
        epoch: u64,
        /// The item at fault.
        index: u32,
        /// What the panic said.
        message: String,
    },
}

type Make<T, E> = dyn Fn(ItemContext) -> Result<T, E> + Send + Sync;

/// Makes batches of items of type `T` from indices, on worker threads.
///
/// An item that fails with `E` costs its whole batch, and the loader goes on with the next one. A
/// caller who would rather leave out or replace single items lets `make` return them as such
/// (`T = Option<_>`, or another item drawn from the context's generator).
pub struct Loader<T, E> {
    plan: Arc<Plan>,
    make: Arc<Make<T, E>>,
}

impl<T: Send + 'static, E: Send + 'static> Loader<T, E> {
    /// A loader over the indices `0..len`. No thread runs before [`Loader::start_at`].
    pub fn new<F>(len: u32, config: LoaderConfig, make: F) -> Result<Self, LoaderError<E>>
    where
        F: Fn(ItemContext) -> Result<T, E> + Send + Sync + 'static,
    {
        let batch_size = config.batch_size;
        let smallest = if config.drop_last { batch_size } else { 1 };
        if batch_size == 0 || (len as usize) < smallest {
            return Err(LoaderError::NoBatch { len, batch_size });
        }
        Ok(Self {
            plan: Arc::new(Plan { len, config }),
            make: Arc::new(make),
        })
    }

    /// Steps in one epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.plan.steps_per_epoch()
    }

    /// Starts the workers and yields the batches from this step on, without end.
    pub fn start_at(&self, step: u64) -> Result<Batches<T, E>, LoaderError<E>> {
        self.steps(step, u64::MAX)
    }

    /// Starts the workers and yields the batches of the first `epochs` epochs.
    pub fn epochs(&self, epochs: u64) -> Result<Batches<T, E>, LoaderError<E>> {
        self.steps(0, epochs.saturating_mul(self.steps_per_epoch()))
    }

    /// Starts the workers and yields the batches of the steps `first..end`.
    pub fn steps(&self, first: u64, end: u64) -> Result<Batches<T, E>, LoaderError<E>> {
        let remaining = end.saturating_sub(first);
        let workers = self.plan.config.workers.max(1);
        let workers = workers.min(usize::try_from(remaining).unwrap_or(usize::MAX));
        let ahead = self.plan.config.prefetch.div_ceil(workers.max(1)).max(1);
        let mut batches = Batches {
            queues: Vec::with_capacity(workers),
            threads: Vec::with_capacity(workers),
            stop: Arc::new(AtomicBool::new(false)),
            taken: 0,
            remaining,
            waited: Duration::ZERO,
        };
        for worker in 0..workers {
            let (sender, receiver) = bounded(ahead);
            let work = Work {
                plan: Arc::clone(&self.plan),
                make: Arc::clone(&self.make),
                stop: Arc::clone(&batches.stop),
            };
            let steps = (first + worker as u64..end).step_by(workers);
            let thread = std::thread::Builder::new()
                .name(format!("loader-{worker}"))
                .spawn(move || work.run(steps, &sender))
                .map_err(LoaderError::Thread)?;
            batches.queues.push(receiver);
            batches.threads.push(thread);
        }
        Ok(batches)
    }
}

/// Which indices each step holds.
struct Plan {
    len: u32,
    config: LoaderConfig,
}

impl Plan {
    fn steps_per_epoch(&self) -> u64 {
        let (len, batch) = (self.len as usize, self.config.batch_size);
        let steps = if self.config.drop_last {
            len / batch
        } else {
            len.div_ceil(batch)
        };
        steps as u64
    }

    fn order(&self, epoch: u64) -> Vec<u32> {
        if self.config.shuffle {
            order(self.config.seed, epoch, self.len)
        } else {
            (0..self.len).collect()
        }
    }
}

/// What a worker thread needs.
struct Work<T, E> {
    plan: Arc<Plan>,
    make: Arc<Make<T, E>>,
    stop: Arc<AtomicBool>,
}

impl<T, E> Work<T, E> {
    /// Makes the batches of these steps until they or the consumer are gone.
    fn run(
        &self,
        steps: impl Iterator<Item = u64>,
        sender: &Sender<Result<Batch<T>, LoaderError<E>>>,
    ) {
        let steps_per_epoch = self.plan.steps_per_epoch();
        let mut current = None;
        for step in steps {
            let epoch = step / steps_per_epoch;
            let order = match current.take() {
                Some((known, order)) if known == epoch => order,
                _ => self.plan.order(epoch),
            };
            let start = (step % steps_per_epoch) as usize * self.plan.config.batch_size;
            let end = (start + self.plan.config.batch_size).min(order.len());
            let Some(batch) = self.batch(step, epoch, &order[start..end]) else {
                return;
            };
            if sender.send(batch).is_err() {
                return;
            }
            current = Some((epoch, order));
        }
    }

    /// Makes one batch; `None` if the consumer is gone.
    fn batch(
        &self,
        step: u64,
        epoch: u64,
        indices: &[u32],
    ) -> Option<Result<Batch<T>, LoaderError<E>>> {
        let mut items = Vec::with_capacity(indices.len());
        for &index in indices {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            let context = ItemContext {
                epoch,
                index,
                rng: item_rng(self.plan.config.seed, epoch, index),
            };
            match catch_unwind(AssertUnwindSafe(|| (self.make)(context))) {
                Ok(Ok(item)) => items.push(item),
                Ok(Err(source)) => {
                    return Some(Err(LoaderError::Item {
                        step,
                        epoch,
                        index,
                        source,
                    }));
                }
                Err(panic) => {
                    return Some(Err(LoaderError::Panicked {
                        step,
                        epoch,
                        index,
                        message: panic_message(panic.as_ref()),
                    }));
                }
            }
        }
        Some(Ok(Batch {
            step,
            epoch,
            indices: indices.to_vec(),
            items,
        }))
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}

/// The running stream of batches. Dropping it stops the workers.
pub struct Batches<T, E> {
    queues: Vec<Receiver<Result<Batch<T>, LoaderError<E>>>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    taken: u64,
    remaining: u64,
    waited: Duration,
}

impl<T, E> Batches<T, E> {
    /// How long the consumer has waited for data so far, the first batch apart: that one is always
    /// waited for.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl<T, E> Iterator for Batches<T, E> {
    type Item = Result<Batch<T>, LoaderError<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return None;
        }
        let queue = &self.queues[(self.taken % self.queues.len() as u64) as usize];
        let batch = match queue.try_recv() {
            Err(TryRecvError::Empty) => {
                let start = Instant::now();
                let batch = queue.recv();
                if self.taken > 0 {
                    self.waited += start.elapsed();
                }
                batch.ok()
            }
            ready => ready.ok(),
        };
        self.taken += 1;
        self.remaining -= 1;
        batch
    }
}

impl<T, E> Drop for Batches<T, E> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the workers that wait for room in a queue.
        self.queues.clear();
        for thread in self.threads.drain(..) {
            // A worker catches the panics of `make`; there is nothing else to learn from it here.
            let _ = thread.join();
        }
    }
}
