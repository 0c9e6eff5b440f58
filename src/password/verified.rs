//! Passwords that were right a moment ago. HTTP Basic sends one with every request, and hashing it
//! each time would cost more than all the rest.
//!
//! Kept is a MAC of name, password and credential epoch under a key that is random at each start: no
//! password, and nothing that another process or a copy of the memory could be asked with. So a user
//! who is disabled or has another password is not found any more, with nobody having to forget.
//!
//! Looking takes no lock. Not here: who has to wait for the next try (`store::attempts`), which has
//! to be asked first, or this would answer guesses at the speed of a look-up.

use std::fmt;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use foldhash::{HashMap, HashMapExt as _};
use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use sha2::Sha256;
use tokio::sync::watch;

/// How long a right password counts without being looked at again, however much it is used: a
/// hundredth of the work for who asks twice a second, and nothing that anybody would want longer.
const LIFETIME: Duration = Duration::from_secs(60);

/// The most that are kept. All are copied whenever one is added, which a hash came before.
const MOST: usize = 4096;

/// The passwords that were right a moment ago.
pub struct Verified {
    key: [u8; 32],
    most: usize,
    /// Until when each counts.
    known: ArcSwap<HashMap<Mark, Instant>>,
    /// Those that are being looked at, by one for all who ask. Also held to change `known`.
    under_way: Mutex<HashMap<Mark, watch::Receiver<Option<bool>>>>,
}

/// Stands for a name with a password, and for the user of that name as they are at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark([u8; 32]);

/// Whose turn it is to find out whether a password is right.
#[derive(Debug)]
pub enum Turn<'v> {
    /// Nobody's: it is.
    Right,
    /// That of whoever gets this.
    Yours(Finding<'v>),
    /// Somebody else's, who is at it.
    Others(Asked),
}

/// Somebody finds out. Dropped without an answer, the next in turn does.
#[derive(Debug)]
pub struct Finding<'v> {
    verified: &'v Verified,
    mark: Mark,
    found: watch::Sender<Option<bool>>,
}

/// Somebody else was asked.
#[derive(Debug)]
pub struct Asked(watch::Receiver<Option<bool>>);

// === impl Verified ===

impl Verified {
    /// None so far.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new() -> Result<Self, getrandom::Error> {
        Self::with_room(MOST)
    }

    fn with_room(most: usize) -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self {
            key,
            most,
            known: ArcSwap::default(),
            under_way: Mutex::default(),
        })
    }

    /// What stands for `password` of the name `user`, whose credential epoch is this if there is
    /// such a user.
    #[must_use]
    pub fn mark(&self, user: &str, password: &[u8], epoch: Option<u64>) -> Mark {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key)
            .expect("HMAC takes keys of any length (RFC 2104 section 2)");
        mac.update(&[u8::from(epoch.is_some())]);
        mac.update(&epoch.unwrap_or_default().to_be_bytes());
        // The length keeps the two apart: no pair of them reads as another.
        mac.update(&(user.len() as u64).to_be_bytes());
        mac.update(user.as_bytes());
        mac.update(password);
        Mark(mac.finalize().into_bytes().into())
    }

    /// Whether it was right a moment ago, and otherwise who finds out. A hundred requests with one
    /// password are one attempt: more would lock their user out before the first is answered.
    #[must_use]
    pub fn turn(&self, mark: Mark, now: Instant) -> Turn<'_> {
        if self.is_known(&mark, now) {
            return Turn::Right;
        }
        let mut under_way = self.under_way.lock();
        // Whoever has found out meanwhile has said so before leaving.
        if self.is_known(&mark, now) {
            return Turn::Right;
        }
        if let Some(asked) = under_way.get(&mark) {
            return Turn::Others(Asked(asked.clone()));
        }
        let (found, asked) = watch::channel(None);
        under_way.insert(mark, asked);
        Turn::Yours(Finding {
            verified: self,
            mark,
            found,
        })
    }

    fn is_known(&self, mark: &Mark, now: Instant) -> bool {
        self.known
            .load()
            .get(mark)
            .is_some_and(|until| now < *until)
    }

    fn keep(&self, mark: Mark, now: Instant) {
        let _writing = self.under_way.lock();
        let old = self.known.load();
        let mut known = HashMap::with_capacity(old.len() + 1);
        known.extend(old.iter().filter(|(_, until)| now < **until));
        if known.len() >= self.most
            && let Some(oldest) = known.iter().min_by_key(|(_, until)| **until)
        {
            let oldest = *oldest.0;
            known.remove(&oldest);
        }
        known.insert(mark, now + LIFETIME);
        self.known.store(known.into());
    }
}

impl fmt::Debug for Verified {
    /// Says nothing of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").finish_non_exhaustive()
    }
}

// === impl Finding ===

impl Finding<'_> {
    /// It is right, and is not looked at again for a while.
    pub fn right(self, now: Instant) {
        self.verified.keep(self.mark, now);
        self.found.send_replace(Some(true));
    }

    /// It is wrong.
    pub fn wrong(self) {
        self.found.send_replace(Some(false));
    }
}

impl Drop for Finding<'_> {
    fn drop(&mut self) {
        self.verified.under_way.lock().remove(&self.mark);
    }
}

// === impl Asked ===

impl Asked {
    /// Whether it is right; `None` where whoever was asked has not found out.
    pub async fn answer(mut self) -> Option<bool> {
        let found = self.0.wait_for(Option::is_some).await;
        found.ok().and_then(|found| *found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(verified: &Verified, mark: Mark, now: Instant) -> &'static str {
        match verified.turn(mark, now) {
            Turn::Right => "right",
            Turn::Yours(_) => "mine",
            Turn::Others(_) => "another's",
        }
    }

    fn find(verified: &Verified, mark: Mark, now: Instant) -> Finding<'_> {
        match verified.turn(mark, now) {
            Turn::Yours(finding) => finding,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_right_password_counts_for_a_minute_however_much_it_is_used() {
        let verified = Verified::new().unwrap();
        let mark = verified.mark("ralph", b"secret", Some(1));
        let begun = Instant::now();
        find(&verified, mark, begun).right(begun);
        for second in 0..60 {
            let now = begun + Duration::from_secs(second);
            assert_eq!(turn(&verified, mark, now), "right", "{second}");
        }
        assert_eq!(turn(&verified, mark, begun + LIFETIME), "mine");
    }

    #[test]
    fn a_wrong_password_is_looked_at_each_time() {
        let verified = Verified::new().unwrap();
        let mark = verified.mark("ralph", b"guess", Some(1));
        let now = Instant::now();
        find(&verified, mark, now).wrong();
        assert_eq!(turn(&verified, mark, now), "mine");
    }

    #[test]
    fn another_name_password_epoch_or_process_is_another_mark() {
        let verified = Verified::new().unwrap();
        let mark = verified.mark("ralph", b"secret", Some(1));
        assert_eq!(verified.mark("ralph", b"secret", Some(1)), mark);
        let other = Verified::new().unwrap();
        for different in [
            verified.mark("ralphs", b"ecret", Some(1)),
            verified.mark("ralp", b"hsecret", Some(1)),
            verified.mark("ralph", b"secret", Some(2)),
            verified.mark("ralph", b"secret", Some(0)),
            verified.mark("ralph", b"secret", None),
            verified.mark("ralph", b"secret\0", Some(1)),
            other.mark("ralph", b"secret", Some(1)),
        ] {
            assert_ne!(different, mark);
        }
        assert_ne!(
            verified.mark("ralph", b"secret", Some(0)),
            verified.mark("ralph", b"secret", None)
        );
    }

    #[tokio::test]
    async fn those_who_ask_at_one_moment_are_answered_by_the_first() {
        let verified = Verified::new().unwrap();
        for is_right in [true, false] {
            let mark = verified.mark("ralph", &[u8::from(is_right)], Some(1));
            let now = Instant::now();
            let finding = find(&verified, mark, now);
            let Turn::Others(asked) = verified.turn(mark, now) else {
                panic!("it is somebody's turn");
            };
            match is_right {
                true => finding.right(now),
                false => finding.wrong(),
            }
            assert_eq!(asked.answer().await, Some(is_right));
        }
    }

    #[tokio::test]
    async fn where_the_first_leaves_the_next_finds_out() {
        let verified = Verified::new().unwrap();
        let mark = verified.mark("ralph", b"secret", Some(1));
        let now = Instant::now();
        let finding = find(&verified, mark, now);
        let Turn::Others(asked) = verified.turn(mark, now) else {
            panic!("it is somebody's turn");
        };
        drop(finding);
        assert_eq!(asked.answer().await, None);
        assert_eq!(turn(&verified, mark, now), "mine");
        assert!(verified.under_way.lock().is_empty());
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for_and_the_oldest_goes() {
        let verified = Verified::with_room(3).unwrap();
        let begun = Instant::now();
        let marks = [b"1", b"2", b"3", b"4"].map(|it| verified.mark("ralph", it, Some(1)));
        for (at, mark) in marks.iter().enumerate() {
            let now = begun + Duration::from_secs(at as u64);
            find(&verified, *mark, now).right(now);
        }
        let now = begun + Duration::from_secs(3);
        let turns = marks.map(|mark| turn(&verified, mark, now));
        assert_eq!(turns, ["mine", "right", "right", "right"]);
        // What is over makes room by itself.
        let later = begun + 2 * LIFETIME;
        find(&verified, marks[0], later).right(later);
        assert_eq!(verified.known.load().len(), 1);
    }
}
