//! How long to wait before trying again. Written once, for every connector.

use std::time::Duration;

use catchment_core::Error;
use rand::RngExt as _;
use tokio::sync::watch;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// Doubling pauses with jitter, from a quarter of a second to half a minute.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next pause: between half and the whole of the doubled one.
    pub fn next_pause(&mut self) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures += 1;
        whole.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Something worked: the next pause is short again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Says what failed and waits before the next attempt.
pub(crate) async fn pause(backoff: &mut Backoff, name: &str, what: &str, error: &Error) {
    let pause = backoff.next_pause();
    tracing::warn!(name, pause_ms = pause.as_millis() as u64, error = error.chain(), "{what}; trying again");
    tokio::time::sleep(pause).await;
}

/// Resolves once `stop` is set, or when nobody can set it any more.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stopped| *stopped).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_start_again() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..20).map(|_| backoff.next_pause()).collect();
        assert!(pauses[0] <= FIRST && pauses[19] <= LONGEST && pauses[19] >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.next_pause() <= FIRST);
    }
}
