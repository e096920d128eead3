//! All threads of a pool going through the steps of a program together.
//!
//! A program is one hand-over, however many steps it has: every thread walks through all of them, takes
//! pieces of the current one, and goes on when all of them are done, by whomever; no step waits for a
//! thread that is still being woken. Pieces are shared out evenly; a thread takes those of its own share in order,
//! so that what it reads follows on what it has read, and then helps the others with theirs. Waiting threads
//! spin, since a step is often shorter than it takes to wake a thread.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The threads, with what they share: nothing is allocated and nothing is locked in a step.
pub(super) struct Crew {
    /// The threads beside the one that runs a program; none if there is no other.
    pool: Option<rayon::ThreadPool>,
    threads: usize,
    steps: usize,
    /// How many pieces of each thread's share are taken, for each step.
    taken: Vec<AtomicUsize>,
    /// How many pieces of each step are done.
    done: Vec<AtomicUsize>,
    /// Whether a thread has left in a panic: nobody waits for it.
    broken: AtomicBool,
}

/// Turns of a waiting thread before it lets others have its core.
const PATIENCE: u32 = 1 << 12;

impl Crew {
    /// Threads for programs of so many steps; as many threads as there are cores if `threads` is 0.
    pub fn new(threads: usize, steps: usize) -> Result<Crew, rayon::ThreadPoolBuildError> {
        let threads = match threads {
            0 => rayon::current_num_threads(),
            given => given,
        };
        let others = || rayon::ThreadPoolBuilder::new().num_threads(threads - 1).build();
        Ok(Crew {
            pool: if threads > 1 { Some(others()?) } else { None },
            threads,
            steps,
            taken: (0..steps * threads).map(|_| AtomicUsize::new(0)).collect(),
            done: (0..steps).map(|_| AtomicUsize::new(0)).collect(),
            broken: AtomicBool::new(false),
        })
    }

    /// The number of threads, with the one that runs a program.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs the pieces of every step: `work(step, piece, thread)` for each piece below `pieces(step)`, all of a
    /// step before any of the next. After each step, one thread calls `ended(step)`.
    pub fn run(
        &mut self,
        pieces: impl Fn(usize) -> usize + Sync,
        work: impl Fn(usize, usize, usize) + Sync,
        ended: impl Fn(usize) + Sync,
    ) {
        self.taken.iter_mut().chain(&mut self.done).for_each(|counter| *counter.get_mut() = 0);
        *self.broken.get_mut() = false;
        let crew = &*self;
        let walk = |thread: usize| crew.walk(thread, &pieces, &work, &ended);
        // Where no step has work for two, nobody is woken.
        let shared = (0..self.steps).any(|step| pieces(step) > 1);
        match self.pool.as_ref().filter(|_| shared) {
            None => walk(0),
            Some(pool) => pool.in_place_scope(|scope| {
                scope.spawn_broadcast(|_, context| walk(context.index() + 1));
                walk(0);
            }),
        }
    }

    /// One thread's way through the steps.
    fn walk(
        &self,
        thread: usize,
        pieces: &(impl Fn(usize) -> usize + Sync),
        work: &(impl Fn(usize, usize, usize) + Sync),
        ended: &(impl Fn(usize) + Sync),
    ) {
        let _leaving = Leaving(&self.broken);
        let threads = self.threads;
        for step in 0..self.steps {
            let count = pieces(step);
            for share in (thread..threads).chain(0..thread) {
                let (first, end) = (share * count / threads, (share + 1) * count / threads);
                let taken = &self.taken[step * threads + share];
                loop {
                    let piece = first + taken.fetch_add(1, Ordering::Relaxed);
                    if piece >= end {
                        break;
                    }
                    work(step, piece, thread);
                    // What the piece has written is seen by those who see that it is done.
                    self.done[step].fetch_add(1, Ordering::AcqRel);
                }
            }
            if !self.wait(step, count) {
                return;
            }
            if thread == 0 {
                ended(step);
            }
        }
    }

    /// Waits until so many pieces of a step are done; false if they never will be.
    fn wait(&self, step: usize, pieces: usize) -> bool {
        let mut turns = 0;
        while self.done[step].load(Ordering::Acquire) < pieces {
            if self.broken.load(Ordering::Relaxed) {
                return false;
            }
            turns += 1;
            if turns < PATIENCE {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        true
    }
}

/// Tells the others when its thread panics.
struct Leaving<'a>(&'a AtomicBool);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::Mutex,
    };

    #[test]
    fn every_piece_runs_once_and_steps_follow_one_another() {
        for threads in [1, 2, 5] {
            let mut crew = Crew::new(threads, 40).unwrap();
            let count = |step: usize| step * 7 % 11;
            for _ in 0..20 {
                let done = Mutex::new(Vec::new());
                let ended = Mutex::new(Vec::new());
                crew.run(
                    count,
                    |step, piece, thread| {
                        assert!(thread < threads);
                        done.lock().unwrap().push((step, piece));
                    },
                    |step| ended.lock().unwrap().push(step),
                );
                let mut done = done.into_inner().unwrap();
                assert!(done.is_sorted_by_key(|(step, _)| *step));
                done.sort_unstable();
                let expected: Vec<_> =
                    (0..40).flat_map(|step| (0..count(step)).map(move |piece| (step, piece))).collect();
                assert_eq!(done, expected);
                assert_eq!(ended.into_inner().unwrap(), (0..40).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn work_for_one_is_done_by_one() {
        let mut crew = Crew::new(4, 3).unwrap();
        let done = Mutex::new(Vec::new());
        crew.run(|step| step % 2, |step, _, thread| done.lock().unwrap().push((step, thread)), |_| ());
        assert_eq!(done.into_inner().unwrap(), [(1, 0)]);
    }

    #[test]
    fn a_panic_ends_the_run_and_not_the_crew() {
        let mut crew = Crew::new(3, 4).unwrap();
        let panics = catch_unwind(AssertUnwindSafe(|| {
            crew.run(|_| 8, |step, piece, _| assert!((step, piece) != (2, 5), "this piece fails"), |_| ());
        }));
        assert!(panics.is_err());
        let pieces = AtomicUsize::new(0);
        crew.run(
            |_| 8,
            |_, _, _| {
                pieces.fetch_add(1, Ordering::Relaxed);
            },
            |_| (),
        );
        assert_eq!(pieces.into_inner(), 32);
    }
}
