//! How much may be tried again: a fifth of what is asked at most, so that a backend that breaks off
//! everything does not get everything twice, and a hundred requests at one time, since one that dies
//! breaks off all that it had. Each thread has a budget of its own for each backend.

/// What is left to be spent.
#[derive(Debug)]
pub(super) struct Budget(u32);

/// What a try costs; a request brings 1.
const PRICE: u32 = 5;

/// What is kept for hard times.
const MOST: u32 = 100 * PRICE;

impl Default for Budget {
    fn default() -> Self {
        Self(MOST)
    }
}

impl Budget {
    /// A request has come.
    pub(super) fn earn(&mut self) {
        self.0 = (self.0 + 1).min(MOST);
    }

    /// Whether one may be tried again, which is paid for then.
    pub(super) fn spend(&mut self) -> bool {
        let left = self.0.checked_sub(PRICE);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_long_run_a_fifth_is_tried_again() {
        let mut budget = Budget::default();
        let mut tried = 0;
        for _ in 0..10_000 {
            budget.earn();
            tried += usize::from(budget.spend());
        }
        assert!((2000..=2100).contains(&tried), "{tried}");
        for _ in 0..10_000 {
            budget.earn();
        }
        let at_once = (0..1000).filter(|_| budget.spend()).count();
        assert_eq!(at_once, 100);
    }
}
