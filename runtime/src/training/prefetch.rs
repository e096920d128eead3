//! Batches prepared on a thread of their own while the last one is learnt from.

use crate::{buffer::Buffer, sources::Feed};
use indexmap::IndexMap;
use std::{
    sync::mpsc::{Receiver, sync_channel},
    thread::JoinHandle,
};

/// The batches of one step of training, in order. Which batch comes when depends on numbers alone,
/// never on the thread.
#[derive(Debug)]
pub struct Prefetch {
    batches: Option<Receiver<IndexMap<String, Buffer>>>,
    worker: Option<JoinHandle<()>>,
}

impl Prefetch {
    /// Starts preparing the batches with these numbers.
    pub fn start(feed: Feed, numbers: impl Iterator<Item = u64> + Send + 'static) -> Prefetch {
        let (sender, receiver) = sync_channel(1);
        let worker = std::thread::Builder::new().name("batches".into()).spawn(move || {
            for number in numbers {
                // Nobody receives any more: training has ended.
                if sender.send(feed.batch(number)).is_err() {
                    break;
                }
            }
        });
        let worker = worker.unwrap_or_else(|error| panic!("a thread cannot be started: {error}"));
        Prefetch { batches: Some(receiver), worker: Some(worker) }
    }

    /// The next batch.
    ///
    /// # Panics
    /// If there is none: the numbers have run out, or preparing one failed.
    pub fn take(&mut self) -> IndexMap<String, Buffer> {
        let batch = self.batches.as_ref().and_then(|batches| batches.recv().ok());
        batch.unwrap_or_else(|| panic!("there are no more batches"))
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        drop(self.batches.take());
        if let Some(worker) = self.worker.take() {
            // A panic there has been reported by the thread itself.
            let _ = worker.join();
        }
    }
}
