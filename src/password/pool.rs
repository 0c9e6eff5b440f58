//! The hashing pool: a fixed number of OS threads behind a bounded queue, so that a flood of logins
//! takes neither the forwarding threads nor unbounded memory.
//!
//! Not here: how often somebody may try (lockout), and what a password may look like.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::stored::{Cost, StoredPassword};

/// How far hashing stands back from forwarding: it gets a tenth of a core that is wanted by both, so
/// that logins still go on under full load.
const NICENESS: i32 = 10;

/// A bounded pool of OS threads for hashing; forwarding threads never hash.
///
/// Clones share the threads. They end once the last clone is gone and the queue is worked off;
/// nobody waits for them, so dropping the pool never blocks.
#[derive(Clone, Debug)]
pub struct HashPool {
    queue: SyncSender<Job>,
}

/// Everything one attempt to log in needs. No `Debug`: it holds the password.
pub struct Attempt {
    pub user: String,
    pub password: Zeroizing<Vec<u8>>,
    /// `None` for an unknown or disabled user.
    pub stored: Option<StoredPassword>,
    /// The distinct costs of all known users.
    pub costs: Arc<[Cost]>,
    /// The realms tried for the formats that hash one in; empty stands for the usual ones.
    pub realms: Arc<[String]>,
}

/// Why an attempt has no answer. None of these says anything about the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    #[error("all hashing threads are busy and their queue is full")]
    Busy,
    #[error("the hashing pool has stopped")]
    Stopped,
    #[error("a hashing job panicked")]
    Panicked,
}

type Job = Box<dyn FnOnce() + Send>;

// === impl HashPool ===

impl HashPool {
    /// `queue` is how many attempts may wait besides those being worked on, at least one: without
    /// a waiting place, an attempt would be refused while a free thread is still on its way to
    /// the queue.
    pub fn new(threads: NonZeroUsize, queue: usize) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(queue.max(1));
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..threads.get() {
            let receiver = Arc::clone(&receiver);
            thread::Builder::new()
                .name(format!("hash-{number}"))
                .spawn(move || {
                    // Where cores are short, what is forwarded goes first. Only a matter of
                    // speed: a system that refuses has slower requests during a rush of logins.
                    let _refused = rustix::process::nice(NICENESS);
                    while let Some(job) = next(&receiver) {
                        job();
                    }
                })?;
        }
        Ok(Self { queue: sender })
    }

    /// Whether the password is the user's. `Err(Busy)` at once when the queue is full.
    pub async fn verify(&self, attempt: Attempt) -> Result<bool, PoolError> {
        self.work(move || attempt.run()).await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let (reply, answer) = oneshot::channel();
        self.queue(move || {
            // Whoever asked has hung up: hashing for nobody would only delay the others.
            if reply.is_closed() {
                return;
            }
            // The job owns all it touches, so nothing half-changed survives a panic.
            let outcome = catch_unwind(AssertUnwindSafe(work)).map_err(|_| PoolError::Panicked);
            // Fails only if the asker has left meanwhile.
            let _ = reply.send(outcome);
        })?;
        answer.await.unwrap_or(Err(PoolError::Stopped))
    }

    /// Has work done that nobody waits for. `Err(Busy)` when the queue is full.
    pub(super) fn run(&self, work: impl FnOnce() + Send + 'static) -> Result<(), PoolError> {
        self.queue(move || drop(catch_unwind(AssertUnwindSafe(work))))
    }

    fn queue(&self, job: impl FnOnce() + Send + 'static) -> Result<(), PoolError> {
        let sent = self.queue.try_send(Box::new(job));
        sent.map_err(|refused| match refused {
            TrySendError::Full(_) => PoolError::Busy,
            TrySendError::Disconnected(_) => PoolError::Stopped,
        })
    }
}

/// Waits for a job; `None` when the pool is gone. A function of its own so that the lock is
/// released before the job runs: held any longer, one thread would do all the work.
fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .recv()
        .ok()
}

// === impl Attempt ===

impl Attempt {
    /// One verification of every distinct cost: the user's own for real, the others against
    /// nothing. Doing only the user's own would tell by the clock who exists.
    fn run(&self) -> bool {
        let own = self.stored.as_ref().map(StoredPassword::cost);
        for cost in self.costs.iter().filter(|cost| Some(**cost) != own) {
            cost.burn_as(&self.user, &self.password, &self.realms);
        }
        self.stored
            .as_ref()
            .is_some_and(|stored| stored.verify(&self.user, &self.password, &self.realms))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::Future;
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::super::stored::meter;
    use super::*;

    const BF1: &str = "BF1:00128:0123456789abcdef:4Z/dCOBTlxaMM1iB757MY/EOelEPcpI1";
    const SHA256: &str = "74aed7ffe6e795fb8730016790306423ad8f52ad0b9507172bd7f50bedb7d9ef";
    const BCRYPT: &str = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";
    const ARGON2ID: &str =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    fn pool(threads: usize, queue: usize) -> HashPool {
        HashPool::new(NonZeroUsize::new(threads).unwrap(), queue).unwrap()
    }

    fn attempt(stored: Option<&str>, password: &str) -> Attempt {
        let costs =
            [BF1, SHA256, BCRYPT, ARGON2ID].map(|text| StoredPassword::parse(text).unwrap().cost());
        Attempt {
            user: "ralph".to_owned(),
            password: Zeroizing::new(password.as_bytes().to_vec()),
            stored: stored.map(|text| StoredPassword::parse(text).unwrap()),
            costs: Arc::new(costs),
            realms: Arc::new([]),
        }
    }

    /// A job that reports its start and then waits to be let go.
    fn blocker() -> (
        impl FnOnce() + Send + 'static,
        Receiver<()>,
        mpsc::Sender<()>,
    ) {
        let (started, has_started) = mpsc::channel();
        let (let_go, wait) = mpsc::channel::<()>();
        let job = move || {
            started.send(()).unwrap();
            let _ = wait.recv();
        };
        (job, has_started, let_go)
    }

    /// Starts `future` and leaves it pending.
    fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn the_right_password_of_a_known_user_is_accepted() {
        for (stored, password) in [
            (BF1, "pass5"),
            (SHA256, "pass5"),
            (BCRYPT, "correctbatteryhorsestapler"),
            (ARGON2ID, "password"),
        ] {
            assert_eq!(
                pool(2, 4).verify(attempt(Some(stored), password)).await,
                Ok(true)
            );
        }
    }

    #[tokio::test]
    async fn a_wrong_password_is_refused() {
        for stored in [BF1, SHA256, BCRYPT, ARGON2ID] {
            assert_eq!(
                pool(2, 4).verify(attempt(Some(stored), "wrong")).await,
                Ok(false)
            );
        }
    }

    #[tokio::test]
    async fn an_unknown_user_is_refused_with_any_password() {
        for password in ["pass5", "password", "", "\0"] {
            assert_eq!(pool(1, 1).verify(attempt(None, password)).await, Ok(false));
        }
    }

    #[test]
    fn every_attempt_does_the_same_work() {
        let work_of = |stored, password: &str| {
            meter::take();
            attempt(stored, password).run();
            let mut work = meter::take();
            work.sort();
            work
        };
        let of_an_unknown_user = work_of(None, "pass5");
        // Three inputs and two realms' worth for the formats with several, one for the others.
        assert_eq!(of_an_unknown_user.len(), 4 + 4 + 1 + 1);
        let long = "x".repeat(5000);
        for stored in [None, Some(BF1), Some(SHA256), Some(BCRYPT), Some(ARGON2ID)] {
            for password in [
                "pass5",
                "wrong",
                "correctbatteryhorsestapler",
                "",
                "\0",
                &long,
            ] {
                assert_eq!(work_of(stored, password), of_an_unknown_user, "{stored:?}");
            }
        }
    }

    #[test]
    fn the_work_grows_with_the_realms_for_known_and_unknown_alike() {
        let work_of = |stored| {
            meter::take();
            let realms = Arc::new(["a", "b", "c"].map(str::to_owned));
            Attempt {
                realms,
                ..attempt(stored, "pass5")
            }
            .run();
            let mut work = meter::take();
            work.sort();
            work
        };
        assert_eq!(work_of(None).len(), 5 + 5 + 1 + 1);
        assert_eq!(work_of(Some(BF1)), work_of(None));
    }

    #[tokio::test]
    async fn a_full_queue_answers_busy_and_a_free_place_is_used() {
        let pool = pool(1, 1);
        let (job, has_started, let_go) = blocker();
        let mut working = pin!(pool.work(job));
        assert!(poll_once(working.as_mut()).is_pending());
        has_started.recv().unwrap();

        let mut waiting = pin!(pool.verify(attempt(Some(BF1), "pass5")));
        assert!(poll_once(waiting.as_mut()).is_pending());
        assert_eq!(
            pool.verify(attempt(Some(BF1), "pass5")).await,
            Err(PoolError::Busy)
        );

        let_go.send(()).unwrap();
        assert_eq!(working.await, Ok(()));
        assert_eq!(waiting.await, Ok(true));
        assert_eq!(pool.verify(attempt(Some(BF1), "pass5")).await, Ok(true));
    }

    #[tokio::test]
    async fn a_queue_of_none_still_lets_one_wait() {
        assert_eq!(
            pool(1, 0).verify(attempt(Some(BF1), "pass5")).await,
            Ok(true)
        );
    }

    #[tokio::test]
    async fn a_job_whose_asker_has_left_is_skipped() {
        let pool = pool(1, 4);
        let (job, has_started, let_go) = blocker();
        let mut working = pin!(pool.work(job));
        assert!(poll_once(working.as_mut()).is_pending());
        has_started.recv().unwrap();

        let (ran, runs) = mpsc::channel();
        let left = ran.clone();
        {
            let mut leaving = pin!(pool.work(move || left.send("left").unwrap()));
            assert!(poll_once(leaving.as_mut()).is_pending());
        }
        let mut staying = pin!(pool.work(move || ran.send("stayed").unwrap()));
        assert!(poll_once(staying.as_mut()).is_pending());
        let_go.send(()).unwrap();
        assert_eq!(staying.await, Ok(()));
        assert_eq!(runs.iter().collect::<Vec<_>>(), ["stayed"]);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_thread_lives_on() {
        let pool = pool(1, 1);
        let before = pool.work(|| thread::current().id()).await;
        assert_eq!(
            pool.work(|| -> bool { panic!("on purpose") }).await,
            Err(PoolError::Panicked)
        );
        assert_eq!(pool.work(|| thread::current().id()).await, before);
    }

    #[tokio::test]
    async fn threads_are_numbered_and_work_side_by_side() {
        let pool = pool(2, 2);
        let (one, one_started, one_go) = blocker();
        let (two, two_started, two_go) = blocker();
        let mut one = pin!(pool.work(|| {
            one();
            thread::current().name().map(str::to_owned)
        }));
        let mut two = pin!(pool.work(|| {
            two();
            thread::current().name().map(str::to_owned)
        }));
        assert!(poll_once(one.as_mut()).is_pending());
        assert!(poll_once(two.as_mut()).is_pending());
        one_started.recv().unwrap();
        two_started.recv().unwrap();
        one_go.send(()).unwrap();
        two_go.send(()).unwrap();
        let mut names = [one.await.unwrap().unwrap(), two.await.unwrap().unwrap()];
        names.sort();
        assert_eq!(names, ["hash-0", "hash-1"]);
    }

    #[tokio::test]
    async fn threads_end_with_the_last_clone() {
        thread_local! {
            static ALIVE: RefCell<Option<mpsc::Sender<()>>> = const { RefCell::new(None) };
        }
        let pool = pool(1, 1);
        let clone = pool.clone();
        let (alive, ended) = mpsc::channel();
        pool.work(move || ALIVE.set(Some(alive))).await.unwrap();
        drop(pool);
        assert_eq!(clone.work(|| 7).await, Ok(7));
        assert_eq!(ended.try_recv(), Err(mpsc::TryRecvError::Empty));
        drop(clone);
        let end = ended.recv_timeout(Duration::from_secs(10));
        assert_eq!(end, Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
