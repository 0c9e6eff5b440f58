//! How long a client may be waited for, while it sends a body or takes an answer.
//!
//! Each wait has a limit, and so have all together: a client that sends a byte a minute would
//! otherwise hold its request, and the backend's part in it, for ever. The clock runs only while
//! the client is what is waited for, so that a backend may take its time.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use super::spec::ClientTimeouts;

/// How much waiting can be earned, in longest single waits: a client that was fast for an hour is not
/// waited for for a day.
const MOST_EARNED: u32 = 2;

/// The waits for a client in one direction of an exchange.
#[derive(Debug)]
pub(super) struct Pace {
    /// The longest single wait, and how long all waits may last before the rate counts.
    limit: Duration,
    /// Bytes a second; 0 for any.
    rate: u64,
    /// How long it may still be waited for, as far as the rate goes.
    left: Duration,
}

impl Pace {
    /// As it is configured.
    pub(super) const fn new(timeouts: &ClientTimeouts) -> Self {
        Self {
            limit: timeouts.body,
            rate: timeouts.body_rate,
            left: timeouts.body,
        }
    }

    /// For the end of an exchange, which is not worth more than this.
    pub(super) const fn at_most(limit: Duration) -> Self {
        Self {
            limit,
            rate: 0,
            left: limit,
        }
    }

    /// From now on, the client may be as slow as it likes within each single wait: it has nothing to
    /// say, and both sides know.
    pub(super) const fn any_rate(&mut self) {
        self.rate = 0;
    }

    /// So many bytes more have come or gone.
    pub(super) fn moved(&mut self, bytes: usize) {
        let micros = (bytes as u64).saturating_mul(1_000_000);
        let earned = micros.checked_div(self.rate).unwrap_or(0);
        let left = self.left.saturating_add(Duration::from_micros(earned));
        self.left = left.min(self.limit.saturating_mul(MOST_EARNED));
    }

    /// How long the next wait may last.
    pub(super) fn patience(&self) -> Duration {
        match self.rate {
            0 => self.limit,
            _ => self.limit.min(self.left),
        }
    }

    /// Waits for `work`, at most as long as it may last.
    ///
    /// # Errors
    /// [`Elapsed`] when it was not done in time.
    pub(super) async fn within<F: Future>(&mut self, work: F) -> Result<F::Output, Elapsed> {
        let patience = self.patience();
        let mut work = pin!(work);
        let first = std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
        match first {
            Poll::Ready(done) => Ok(done),
            Poll::Pending => self.timed(timeout(patience, work)).await,
        }
    }

    /// Waits for `work`, which ends by itself after [`Self::patience`].
    pub(super) async fn time<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        let first = std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
        match first {
            Poll::Ready(done) => done,
            Poll::Pending => self.timed(work).await,
        }
    }

    /// The clock is only read where there is something to wait for. A wait that is given up half way
    /// does not count: then nobody goes on waiting either.
    async fn timed<F: Future>(&mut self, work: F) -> F::Output {
        let begun = Instant::now();
        let done = work.await;
        self.left = self.left.saturating_sub(begun.elapsed());
        done
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(rate: u64) -> Pace {
        Pace::new(&ClientTimeouts {
            body: 10 * SECOND,
            body_rate: rate,
            ..ClientTimeouts::default()
        })
    }

    /// For how long a client is waited for that moves so many bytes after each of these waits.
    async fn held(pace: &mut Pace, bytes: usize, wait: Duration) -> Duration {
        let begun = Instant::now();
        while pace.within(sleep(wait)).await.is_ok() && begun.elapsed() < 1000 * SECOND {
            pace.moved(bytes);
        }
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_cut_off_and_what_is_fast_enough_is_not() {
        let trickle = held(&mut pace(100), 1, SECOND).await;
        assert!((10 * SECOND..12 * SECOND).contains(&trickle), "{trickle:?}");
        let half = held(&mut pace(100), 50, SECOND).await;
        assert!((19 * SECOND..22 * SECOND).contains(&half), "{half:?}");
        assert!(held(&mut pace(100), 101, SECOND).await >= 1000 * SECOND);
        assert!(held(&mut pace(0), 1, SECOND).await >= 1000 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_fast_before_is_not_waited_for_for_ever() {
        let mut pace = pace(100);
        pace.moved(100 << 20);
        let trickle = held(&mut pace, 1, 9 * SECOND).await;
        assert!((18 * SECOND..30 * SECOND).contains(&trickle), "{trickle:?}");
        // But each pause within its limit, as long as there is something between them.
        let pauses = held(&mut self::pace(100), 1000, 9 * SECOND).await;
        assert!(pauses >= 1000 * SECOND, "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_wait_has_its_limit_however_much_has_come_before() {
        let mut pace = pace(1);
        pace.moved(1 << 30);
        let begun = Instant::now();
        assert!(pace.within(pending::<()>()).await.is_err());
        assert_eq!(begun.elapsed(), 10 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_passes_elsewhere_does_not_count() {
        let mut pace = pace(100);
        for _ in 0..1000 {
            sleep(SECOND).await;
            assert!(pace.within(ready(())).await.is_ok());
            pace.moved(1);
        }
        assert_eq!(pace.patience(), 10 * SECOND);
    }
}
