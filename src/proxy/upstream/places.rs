//! How many requests a backend gets at one time, over all threads together.
//!
//! Threads take places for their requests a few at a time and keep some that they may need again, so
//! that most requests touch nothing that threads share. Where there are few places, or none is left,
//! nothing is kept.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Of each thread's even part, how much it takes at one time: what threads keep without a use for it is
/// an eighth of all places at most.
const PARTS: usize = 16;

/// The places that no thread has.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    left: AtomicUsize,
}

impl Places {
    /// So many.
    pub(super) const fn new(most: usize) -> Self {
        Self {
            most,
            left: AtomicUsize::new(most),
        }
    }

    fn take(&self, wanted: usize) -> usize {
        let taking = |left: usize| Some(left.saturating_sub(wanted));
        let before = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taking);
        before.map_or(0, |before| before.min(wanted))
    }
}

/// Those that one thread has.
#[derive(Debug)]
pub(super) struct Held {
    /// How many it takes at one time.
    batch: usize,
    used: usize,
    spare: usize,
}

impl Held {
    /// None, for one of so many threads.
    pub(super) fn none(places: &Places, threads: usize) -> Self {
        Self {
            batch: (places.most / threads.max(1) / PARTS).max(1),
            used: 0,
            spare: 0,
        }
    }

    /// Takes one; whether there was one.
    pub(super) fn enter(&mut self, places: &Places) -> bool {
        if self.spare == 0 {
            self.spare = places.take(self.batch);
        }
        let is_there = self.spare > 0;
        self.spare -= usize::from(is_there);
        self.used += usize::from(is_there);
        is_there
    }

    /// Gives one back.
    pub(super) fn leave(&mut self, places: &Places) {
        if self.used == 0 {
            return;
        }
        self.used -= 1;
        self.spare += 1;
        let is_scarce = self.batch == 1 || places.left.load(Ordering::Relaxed) == 0;
        let kept = if is_scarce { 0 } else { self.batch };
        if self.spare > 2 * kept {
            let given = self.spare - kept;
            self.spare = kept;
            places.left.fetch_add(given, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter_all(held: &mut Held, places: &Places) -> usize {
        (0..).take_while(|_| held.enter(places)).count()
    }

    #[test]
    fn where_there_are_few_each_thread_may_have_them_all_and_none_is_lost() {
        for most in [1, 2, 5, 31] {
            let places = Places::new(most);
            let mut threads = [(); 2].map(|()| Held::none(&places, 2));
            for turn in 0..6 {
                let held = &mut threads[turn % 2];
                assert_eq!(enter_all(held, &places), most, "{turn}");
                assert!(!threads[(turn + 1) % 2].enter(&places));
                (0..most).for_each(|_| threads[turn % 2].leave(&places));
            }
        }
    }

    #[test]
    fn what_threads_keep_for_themselves_is_little_and_never_more_than_there_is() {
        const THREADS: usize = 16;
        let places = Places::new(1024);
        let mut threads = [(); THREADS].map(|()| Held::none(&places, THREADS));
        // All have been busy, and are not any more.
        for held in &mut threads {
            (0..40).for_each(|_| assert!(held.enter(&places)));
            (0..40).for_each(|_| held.leave(&places));
        }
        let most = enter_all(&mut threads[0], &places);
        assert!((896..=1024).contains(&most), "{most}");
        let others = threads.iter_mut().skip(1);
        let others: usize = others.map(|held| enter_all(held, &places)).sum();
        assert_eq!(most + others, 1024);
        // Where none is left, whoever has one to give back keeps nothing.
        threads[0].leave(&places);
        assert_eq!(enter_all(&mut threads[1], &places), 1);
    }
}
