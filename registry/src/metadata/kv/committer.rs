//! The one thread that writes.
//!
//! Operations wait in a queue; the thread runs all that wait, one after the other, each seeing what
//! the ones before it changed, and writes their changes as one batch with one sync. So operations are
//! serial by construction - 64 writers of one tag are 64 steps in some order - and durability costs
//! one sync for a whole group, however many wait.
//!
//! A group can end with an operation of the store's own ([`Closing`]): what follows from all that was done in it.

use super::engine::{Changes, Engine};
use super::txn::Txn;
use crate::metadata::Error;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
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
}

impl Committer {
    pub(super) fn start(
        engine: Arc<dyn Engine>,
        closing: Arc<Closing>,
        observe: Arc<dyn Fn(std::time::Duration) + Send + Sync>,
    ) -> std::io::Result<Committer> {
        let (queue, jobs) = sync_channel(QUEUE_LIMIT);
        let thread = std::thread::Builder::new()
            .name("metadata-commit".into())
            .spawn(move || run(&*engine, &jobs, &*closing, &*observe))?;
        Ok(Committer {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Runs `operation` in the writing thread. Its changes are kept if it returns `Ok`, and the answer
    /// comes when they are written. With `durable` that means synced.
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
                // Nobody waits any more when the client went away; the change holds all the same.
                let _ =
                    sender.send(outcome.and_then(|value| written.map(|()| value).map_err(X::from)));
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
            engine.write(&group, durable)
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
