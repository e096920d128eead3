//! Batches prepared on threads of their own while the last one is learnt from.
//!
//! A batch is prepared by one thread, and several threads prepare several batches: nothing is divided further, so
//! what they take of the cores that train is at most their number, and only while batches are missing. A thread that
//! has one ready waits until it is taken, so there are never more batches than threads.

use crate::{buffer::Buffer, sources::Feed};
use indexmap::IndexMap;
use std::{
    sync::mpsc::{Receiver, sync_channel},
    thread::JoinHandle,
};

/// How many threads prepare batches: one for four cores, at least two (one works while the other's batch waits),
/// and no more than hold batches that fit into memory.
pub fn workers() -> usize {
    (rayon::current_num_threads() / 4).clamp(2, 8)
}

/// The batches of one step of training, in order. Which batch comes when depends on numbers alone,
/// never on the threads.
#[derive(Debug)]
pub struct Prefetch {
    workers: Vec<Worker>,
    /// The thread that has the next batch.
    next: usize,
}

#[derive(Debug)]
struct Worker {
    batches: Receiver<IndexMap<String, Buffer>>,
    thread: JoinHandle<()>,
}

impl Prefetch {
    /// Starts preparing the batches with these numbers on so many threads, at least one.
    pub fn start(feed: &Feed, numbers: impl Iterator<Item = u64> + Clone + Send + 'static, workers: usize) -> Prefetch {
        let workers = (0..workers).map(|first| {
            // Every thread has the batches of its turns.
            let (feed, numbers) = (feed.clone(), numbers.clone().skip(first).step_by(workers));
            let (sender, batches) = sync_channel(0);
            let thread = std::thread::Builder::new().name(format!("batches {first}")).spawn(move || {
                for number in numbers {
                    // Nobody receives any more: training has ended.
                    if sender.send(feed.batch(number)).is_err() {
                        break;
                    }
                }
            });
            let thread = thread.unwrap_or_else(|error| panic!("a thread cannot be started: {error}"));
            Worker { batches, thread }
        });
        Prefetch { workers: workers.collect(), next: 0 }
    }

    /// The next batch.
    ///
    /// # Panics
    /// If there is none: the numbers have run out, or preparing one failed.
    pub fn take(&mut self) -> IndexMap<String, Buffer> {
        let batch = self.workers.get(self.next).and_then(|worker| worker.batches.recv().ok());
        self.next = (self.next + 1) % self.workers.len().max(1);
        batch.unwrap_or_else(|| panic!("there are no more batches"))
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        // All are told before any is waited for.
        let threads: Vec<_> = self.workers.drain(..).map(|worker| worker.thread).collect();
        for thread in threads {
            // A panic there has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}
