//! The one thread that writes.
//!
//! Operations wait in a queue; the thread runs all that wait, one after the other, each seeing what
//! the ones before it changed, and writes their changes as one batch with one sync. So operations are
//! serial by construction - 64 writers of one tag are 64 steps in some order - and durability costs
//! one sync for a whole group, however many wait.
//!
//! A group can end with an operation of the store's own ([`Closing`]): what follows from all that was done in it.
//!
//! It also tells whether the last group failed for a reason that can last until the database is opened anew.

use super::engine::{Changes, Engine};
use super::txn::Txn;
use crate::metadata::Error;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Most operations in one group. Bounds the time that the first of them waits for the last.
const GROUP_LIMIT: usize = 256;
/// Operations that can wait; further callers wait for a place.
const QUEUE_LIMIT: usize = 4096;

/// Tells the caller of an operation how the write of its group ended.
type Reply = Box<dyn FnOnce(Result<(), Error>) + Send>;
type Job = Box<dyn FnOnce(&mut Txn<'_>) -> (bool, Reply) + Send>;

/// What a group ends with. It sees all changes of the group and adds its own, which count only if it returns `Ok`; what it
/// returns is called when they are written. If it fails, the group is written without it.
pub(super) type Closing =
    dyn Fn(&mut Txn<'_>) -> Result<Option<Box<dyn FnOnce() + Send>>, Error> + Send + Sync;

struct Queued {
    job: Job,
    durable: bool,
}

/// Hands operations to the writing thread. Dropping it lets the thread finish what waits, and ends it; whoever drops it
/// waits for that, unless it is the thread itself.
pub(super) struct Committer {
    queue: Option<SyncSender<Queued>>,
    thread: Option<JoinHandle<()>>,
    failing: Arc<AtomicBool>,
}

impl Committer {
    pub(super) fn start(
        engine: Arc<dyn Engine>,
        closing: Arc<Closing>,
        observe: Arc<dyn Fn(std::time::Duration) + Send + Sync>,
    ) -> std::io::Result<Committer> {
        let (queue, jobs) = sync_channel(QUEUE_LIMIT);
        let failing = Arc::new(AtomicBool::new(false));
        let is_failing = failing.clone();
        let thread = std::thread::Builder::new()
            .name("metadata-commit".into())
            .spawn(move || run(&*engine, &jobs, &*closing, &*observe, &is_failing))?;
        Ok(Committer {
            queue: Some(queue),
            thread: Some(thread),
            failing,
        })
    }

    /// Whether the last group could not be written, for a reason that can last.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    /// Runs `operation` in the writing thread. Its changes are kept if it returns `Ok`, and the answer
    /// comes when they are written. With `durable` that means synced. If its group cannot be written, whatever it returned
    /// is answered with that error.
    pub(super) async fn run<T, X, F>(&self, durable: bool, operation: F) -> Result<T, X>
    where
        T: Send + 'static,
        X: From<Error> + Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Result<T, X> + Send + 'static,
    {
        let closed = || Error::Unavailable("it is closing".into());
        let (sender, answer) = oneshot::channel();
        let job: Job = Box::new(move |txn| {
            let outcome = operation(txn);
            let keep = outcome.is_ok();
            let reply: Reply = Box::new(move |written| {
                // A refusal as well counts only if the group was written: it may rest on a change of an operation before
                // it, such as a tag that is taken, and then that never happened.
                let told = written.map_err(X::from).and(outcome);
                // Nobody waits any more when the client went away; the change holds all the same.
                let _ = sender.send(told);
            });
            (keep, reply)
        });
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        let mut queued = Queued { job, durable };
        loop {
            match queue.try_send(queued) {
                Ok(()) => break,
                Err(std::sync::mpsc::TrySendError::Full(back)) => {
                    queued = back;
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
                Err(std::sync::mpsc::TrySendError::Disconnected(_)) => return Err(closed().into()),
            }
        }
        answer.await.unwrap_or_else(|_| {
            Err(Error::Unavailable("an operation failed inside; see the log".into()).into())
        })
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.queue = None;
        // What the thread calls when something is written may be the last to let go of the store. It ends after that by
        // itself, and would wait for itself for ever.
        let is_other =
            |thread: &JoinHandle<()>| thread.thread().id() != std::thread::current().id();
        if let Some(thread) = self.thread.take().filter(is_other) {
            let _ = thread.join();
        }
    }
}

fn run(
    engine: &dyn Engine,
    jobs: &Receiver<Queued>,
    closing: &Closing,
    observe: &dyn Fn(std::time::Duration),
    failing: &AtomicBool,
) {
    while let Ok(first) = jobs.recv() {
        let started = std::time::Instant::now();
        let mut group = Changes::new();
        let mut durable = false;
        let mut replies = Vec::new();
        let mut next = Some(first);
        while let Some(queued) = next.take() {
            let mut txn = Txn::new(engine, &group);
            // A bug in one operation must not take the others, or all later ones, with it.
            let ran = std::panic::catch_unwind(AssertUnwindSafe(|| (queued.job)(&mut txn)));
            match ran {
                Ok((keep, reply)) => {
                    if keep {
                        let changes = txn.into_changes();
                        durable |= queued.durable && !changes.is_empty();
                        group.extend(changes);
                    }
                    replies.push(reply);
                }
                Err(_) => tracing::error!(
                    "an operation on the metadata store panicked; nothing of it was kept"
                ),
            }
            if replies.len() < GROUP_LIMIT {
                next = jobs.try_recv().ok();
            }
        }
        // Only what is synced is told to anybody as having happened.
        let told = match durable {
            true => close(engine, closing, &mut group),
            false => None,
        };
        let written = if group.is_empty() {
            Ok(())
        } else {
            let written = engine.write(&group, durable);
            failing.store(written.as_ref().is_err_and(can_last), Ordering::Release);
            written
        };
        match (&written, told) {
            (Ok(()), Some(tell)) => tell(),
            (Ok(()), None) => {}
            (Err(error), _) => tracing::error!(%error, "metadata could not be written"),
        }
        observe(started.elapsed());
        for reply in replies {
            reply(written.clone());
        }
    }
}

/// Whether a write failed for a reason that can last until the database is opened anew. RocksDB takes no write any more
/// after one of its files could not be opened or written, whatever the reason, and never looks again. A full disk is none:
/// there it goes on by itself when there is space. Nor is damage: a start would meet it again.
fn can_last(error: &Error) -> bool {
    match error {
        Error::Unavailable(problem) => !problem.contains("No space left"),
        Error::Damaged(_) => false,
    }
}

/// Runs the closing operation over a group.
fn close(
    engine: &dyn Engine,
    closing: &Closing,
    group: &mut Changes,
) -> Option<Box<dyn FnOnce() + Send>> {
    let mut txn = Txn::new(engine, group);
    let closed = std::panic::catch_unwind(AssertUnwindSafe(|| closing(&mut txn)));
    match closed {
        Ok(Ok(told)) => {
            let changes = txn.into_changes();
            group.extend(changes);
            told
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "what follows from a group of changes was left out of it");
            None
        }
        Err(_) => {
            tracing::error!(
                "what follows from a group of changes panicked; nothing of it was kept"
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::engine::Family;
    use super::super::memory::MemoryEngine;
    use super::*;

    fn committer() -> (Arc<MemoryEngine>, Committer) {
        let engine = Arc::new(MemoryEngine::default());
        let closing = Arc::new(|_: &mut Txn<'_>| Ok(None));
        let committer = Committer::start(engine.clone(), closing, Arc::new(|_| {})).unwrap();
        (engine, committer)
    }

    fn add_one(txn: &mut Txn<'_>, key: &[u8]) -> Result<u32, Error> {
        let count = txn.get(Family::Server, key)?;
        let next = count.map_or(1, |v| u32::from_le_bytes(v.try_into().unwrap()) + 1);
        txn.put(Family::Server, key.to_vec(), next.to_le_bytes().to_vec());
        Ok(next)
    }

    fn count_of(engine: &MemoryEngine, key: &[u8]) -> u32 {
        let found = engine.get(Family::Server, key).unwrap();
        found.map_or(0, |value| u32::from_le_bytes(value.try_into().unwrap()))
    }

    #[tokio::test]
    async fn a_group_ends_with_what_follows_from_it_or_without() {
        let engine = Arc::new(MemoryEngine::default());
        let told = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let teller = told.clone();
        // Copies the count, unless that is a third; then it fails, or panics.
        let closing = move |txn: &mut Txn<'_>| {
            let count = txn.get(Family::Server, b"n")?.unwrap();
            txn.put(Family::Server, b"copy".to_vec(), count.clone());
            let count = u32::from_le_bytes(count.try_into().unwrap());
            assert!(count % 6 != 0, "a bug");
            if count % 3 == 0 {
                return Err(Error::Damaged("no".into()));
            }
            let teller = teller.clone();
            let tell = move || teller.store(count, std::sync::atomic::Ordering::SeqCst);
            Ok(Some(Box::new(tell) as Box<dyn FnOnce() + Send>))
        };
        let committer =
            Committer::start(engine.clone(), Arc::new(closing), Arc::new(|_| {})).unwrap();
        let mut last = 0;
        for number in 1..=9_u32 {
            let count = committer.run(true, |txn| add_one(txn, b"n")).await;
            assert_eq!(count.unwrap(), number);
            if number % 3 != 0 {
                last = number;
            }
            // Before the answer.
            assert_eq!(told.load(std::sync::atomic::Ordering::SeqCst), last);
            assert_eq!(count_of(&engine, b"copy"), last);
        }
        // What is not synced, and what changes nothing, has no such end.
        committer
            .run(false, |txn| add_one(txn, b"n"))
            .await
            .unwrap();
        committer.run(true, |_| Ok::<_, Error>(())).await.unwrap();
        assert_eq!(
            (count_of(&engine, b"n"), count_of(&engine, b"copy")),
            (10, 8)
        );
    }

    #[tokio::test]
    async fn operations_are_serial_and_a_failed_one_leaves_nothing() {
        let (engine, committer) = committer();
        let committer = Arc::new(committer);
        let mut tasks = Vec::new();
        for number in 0..500_u32 {
            let committer = committer.clone();
            tasks.push(tokio::spawn(async move {
                committer
                    .run(true, move |txn| {
                        let count = txn
                            .get(Family::Server, b"n")?
                            .map_or(0, |v| u32::from_le_bytes(v.try_into().unwrap()));
                        txn.put(
                            Family::Server,
                            b"n".to_vec(),
                            (count + 1).to_le_bytes().to_vec(),
                        );
                        if number % 5 == 0 {
                            Err(Error::Damaged("no".into()))
                        } else {
                            Ok(())
                        }
                    })
                    .await
            }));
        }
        let mut failed = 0;
        for task in tasks {
            failed += u32::from(task.await.unwrap().is_err());
        }
        assert_eq!(failed, 100);
        assert_eq!(
            engine.get(Family::Server, b"n").unwrap().unwrap(),
            400_u32.to_le_bytes()
        );
    }

    /// Whoever is told of a write may have the last hold of the store.
    #[tokio::test]
    async fn it_may_be_dropped_by_its_own_thread() {
        let slot = Arc::new(std::sync::Mutex::new(None::<Arc<Committer>>));
        let (dropped, is_dropped) = std::sync::mpsc::channel();
        let held = slot.clone();
        let closing = move |_: &mut Txn<'_>| {
            let (held, dropped) = (held.clone(), dropped.clone());
            let tell = move || {
                let last = held.lock().unwrap().take();
                drop(last);
                dropped.send(()).unwrap();
            };
            Ok(Some(Box::new(tell) as Box<dyn FnOnce() + Send>))
        };
        let engine = Arc::new(MemoryEngine::default());
        let committer = Committer::start(engine.clone(), Arc::new(closing), Arc::new(|_| {}));
        let committer = Arc::new(committer.unwrap());
        *slot.lock().unwrap() = Some(committer.clone());
        let (go, may_go) = std::sync::mpsc::channel::<()>();
        let adding = committer.run(true, move |txn| {
            may_go.recv().unwrap();
            add_one(txn, b"n")
        });
        // It is queued, and nobody waits for it any more.
        let patience = std::time::Duration::from_millis(1);
        assert!(tokio::time::timeout(patience, adding).await.is_err());
        drop(committer);
        go.send(()).unwrap();
        let patience = std::time::Duration::from_secs(20);
        is_dropped.recv_timeout(patience).unwrap();
        assert_eq!(count_of(&engine, b"n"), 1);
    }

    /// An engine whose next write fails with a text, if there is one.
    #[derive(Default)]
    struct Failing {
        engine: MemoryEngine,
        problem: std::sync::Mutex<Option<&'static str>>,
    }

    impl Failing {
        fn fail(&self, problem: Option<&'static str>) {
            *self.problem.lock().unwrap() = problem;
        }
    }

    impl Engine for Failing {
        fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
            self.engine.get(family, key)
        }

        fn scan(
            &self,
            family: Family,
            prefix: &[u8],
            from: &[u8],
            visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
        ) -> Result<(), Error> {
            self.engine.scan(family, prefix, from, visit)
        }

        fn last_key(&self, family: Family) -> Result<Option<Vec<u8>>, Error> {
            self.engine.last_key(family)
        }

        fn write(&self, changes: &Changes, durable: bool) -> Result<(), Error> {
            match *self.problem.lock().unwrap() {
                Some(problem) => Err(Error::Unavailable(problem.into())),
                None => self.engine.write(changes, durable),
            }
        }
    }

    fn failing() -> (Arc<Failing>, Committer) {
        let engine = Arc::new(Failing::default());
        let closing = Arc::new(|_: &mut Txn<'_>| Ok(None));
        let committer = Committer::start(engine.clone(), closing, Arc::new(|_| {})).unwrap();
        (engine, committer)
    }

    /// An answer that is the client's fault is final: it must not rest on what never happened.
    #[tokio::test]
    async fn a_refusal_does_not_rest_on_a_change_that_was_not_written() {
        #[derive(Debug, PartialEq)]
        enum Told {
            Taken,
            NotWritten,
        }
        impl From<Error> for Told {
            fn from(_: Error) -> Told {
                Told::NotWritten
            }
        }
        fn create(txn: &mut Txn<'_>) -> Result<(), Told> {
            if txn.has(Family::Tag, b"v1")? {
                return Err(Told::Taken);
            }
            txn.put(Family::Tag, b"v1".to_vec(), Vec::new());
            Ok(())
        }
        let (engine, committer) = failing();
        for problem in [Some("Too many open files"), None] {
            engine.fail(problem);
            // The first waits until the second is queued, so they are one group.
            let (go, may_go) = std::sync::mpsc::channel::<()>();
            let first = committer.run(true, move |txn| {
                may_go.recv().unwrap();
                create(txn)
            });
            let second = committer.run(true, create);
            let (first, second, ()) = tokio::join!(first, second, async { go.send(()).unwrap() });
            if problem.is_some() {
                assert_eq!(first, Err(Told::NotWritten));
                assert_eq!(second, Err(Told::NotWritten));
                assert_eq!(engine.get(Family::Tag, b"v1").unwrap(), None);
            } else {
                assert_eq!((first, second), (Ok(()), Err(Told::Taken)));
            }
        }
    }

    #[tokio::test]
    async fn a_reason_that_can_last_is_told_until_something_is_written() {
        let (engine, committer) = failing();
        for (problem, lasts) in [
            (None, false),
            (
                Some("IO error: while reopen file for write: Too many open files"),
                true,
            ),
            (
                Some("IO error: No space left on device: While appending"),
                false,
            ),
            (Some("Input/output error"), true),
            (None, false),
        ] {
            engine.fail(problem);
            let added = committer.run(true, |txn| add_one(txn, b"n")).await;
            assert_eq!(added.is_err(), problem.is_some());
            assert_eq!(committer.is_failing(), lasts, "{problem:?}");
            // Who only looks tells nothing of it.
            committer.run(true, |_| Ok::<_, Error>(())).await.unwrap();
            assert_eq!(committer.is_failing(), lasts, "{problem:?}");
        }
    }

    #[tokio::test]
    async fn a_panic_in_one_operation_ends_that_one_only() {
        let (_, committer) = committer();
        let broken = committer
            .run(true, |_| -> Result<(), Error> { panic!("a bug") })
            .await;
        assert!(matches!(broken, Err(Error::Unavailable(_))));
        assert!(committer.run(true, |_| Ok::<_, Error>(7)).await.is_ok());
    }
}
