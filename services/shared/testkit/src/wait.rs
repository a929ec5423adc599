//! Waiting for a state with a limit, never for a time.

use std::time::{Duration, Instant};

/// How often a state is looked at.
const EVERY: Duration = Duration::from_millis(10);

/// What `probe` gives as soon as it gives something.
///
/// # Panics
/// When it gave nothing within `limit`; the message says what was waited for.
pub async fn wait_for<T>(limit: Duration, what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = probe().await {
            return seen;
        }
        assert!(started.elapsed() < limit, "{what} did not happen within {limit:?}");
        tokio::time::sleep(EVERY).await;
    }
}

/// [`wait_for`] for a truth value.
///
/// # Panics
/// When it did not become true within `limit`.
pub async fn wait_until(limit: Duration, what: &str, mut probe: impl AsyncFnMut() -> bool) {
    wait_for(limit, what, async || probe().await.then_some(())).await;
}
