//! Which of several addresses gets a request.
//!
//! Turns are each thread's own: a turn that all threads share would be one cache line that wanders
//! between the cores with every request. So that the threads do not go in step, each begins
//! somewhere else.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// One address that a request may go to.
pub(super) struct Candidate<'c> {
    /// Which one it is.
    pub(super) at: usize,
    /// Its share of the requests.
    pub(super) weight: u32,
    /// How much is owed to it.
    pub(super) turn: &'c mut i64,
}

/// Whose turn it is, by smooth weighted round robin, as nginx has it: all are owed their weight, the
/// one that is owed most is taken and pays for all. With weights 2, 1, 1 that is a b a c, and not a
/// a b c.
pub(super) fn take_turn<'c>(candidates: impl Iterator<Item = Candidate<'c>>) -> Option<usize> {
    let mut total = 0;
    let mut first: Option<Candidate<'c>> = None;
    for candidate in candidates {
        let weight = i64::from(candidate.weight);
        total += weight;
        *candidate.turn += weight;
        if first.as_ref().is_none_or(|it| *candidate.turn > *it.turn) {
            first = Some(candidate);
        }
    }
    let first = first?;
    *first.turn -= total;
    Some(first.at)
}

/// A number below `most`, another one for each thread and start. 0 where there is none.
pub(super) fn somewhere(most: u64) -> u64 {
    RandomState::new().build_hasher().finish() % most.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(weights: &[u32], turns: &mut [i64], count: usize) -> Vec<usize> {
        let mut taken = Vec::new();
        for _ in 0..count {
            let numbered = weights.iter().zip(turns.iter_mut()).enumerate();
            let candidates = numbered.map(|(at, (weight, turn))| Candidate {
                at,
                weight: *weight,
                turn,
            });
            taken.extend(take_turn(candidates));
        }
        taken
    }

    #[test]
    fn each_gets_its_share_and_none_gets_it_in_one_go() {
        assert_eq!(turns(&[1, 1, 1], &mut [0; 3], 6), [0, 1, 2, 0, 1, 2]);
        assert_eq!(turns(&[2, 1, 1], &mut [0; 3], 8), [0, 1, 2, 0, 0, 1, 2, 0]);
        let taken = turns(&[5, 1, 1], &mut [0; 3], 7);
        assert_eq!(taken, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(turns(&[], &mut [], 1), [0; 0]);
    }

    #[test]
    fn the_rest_share_what_one_of_them_cannot_take() {
        let weights = [1, 1, 1];
        let mut owed = [0; 3];
        turns(&weights, &mut owed, 2);
        // The second is away for a while, and is not owed anything for that time.
        for _ in 0..10 {
            let numbered = weights.iter().zip(owed.iter_mut()).enumerate();
            let here = numbered.filter(|(at, _)| *at != 1);
            take_turn(here.map(|(at, (weight, turn))| Candidate {
                at,
                weight: *weight,
                turn,
            }));
        }
        let mut taken = turns(&weights, &mut owed, 6);
        taken.sort_unstable();
        assert_eq!(taken, [0, 0, 1, 1, 2, 2]);
    }
}
