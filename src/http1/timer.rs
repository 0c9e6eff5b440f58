//! A timer that is set for every wait of a connection, and costs nearly nothing where the wait ends
//! in time.
//!
//! Most waits end long before their deadline, so the runtime's timer is not moved for each: it
//! stays where it was set once, and when it fires too early, it is set again.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

/// The timer of one connection.
#[derive(Debug, Default)]
pub struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Resolves once `due` has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

/// Waits for `future`, at most for `limit`. No timer is made when it is ready at once.
///
/// # Errors
/// [`Elapsed`] when it was not ready in time.
pub async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let first = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
    match first {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => timeout(limit, future).await,
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_timer_fires_at_the_last_deadline_it_was_given() {
        let mut timer = Timer::default();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        for due in [10, 60, 20] {
            let asked = poll_fn(|cx| Poll::Ready(timer.poll(cx, at(due)))).await;
            assert!(asked.is_pending());
        }
        poll_fn(|cx| timer.poll(cx, at(30))).await;
        assert_eq!(Instant::now(), at(30));
        poll_fn(|cx| timer.poll(cx, at(45))).await;
        assert_eq!(Instant::now(), at(45));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_ready_in_time_is_returned_and_what_is_not_is_not() {
        let limit = Duration::from_secs(1);
        assert_eq!(within(limit, async { 1 }).await, Ok(1));
        let in_time = async { tokio::time::sleep(limit / 2).await };
        assert_eq!(within(limit, in_time).await, Ok(()));
        let late = async { tokio::time::sleep(limit * 2).await };
        assert!(within(limit, late).await.is_err());
    }
}
