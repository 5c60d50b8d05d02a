//! How long to wait after a failure, where the server has not said.

use std::time::Duration;

use rand::RngExt as _;

/// Waits at random up to a bound that doubles with each failure: clients that lost the same server do not come back together.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    bound: Duration,
}

impl Backoff {
    /// The bound goes from `min` to `max`.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, bound: min }
    }

    /// How long to wait now.
    pub fn wait(&mut self) -> Duration {
        let wait = self.bound.mul_f64(rand::rng().random_range(0.0..=1.0));
        self.bound = (self.bound * 2).min(self.max);
        wait
    }

    /// Something worked.
    pub fn reset(&mut self) {
        self.bound = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_within_a_bound_that_doubles_up_to_the_maximum_and_starts_anew() {
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(30));
        let mut backoff = Backoff::new(min, max);
        for bound in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(backoff.bound, Duration::from_secs(bound));
            assert!(backoff.wait() <= Duration::from_secs(bound));
        }
        backoff.reset();
        assert_eq!(backoff.bound, min);
    }
}
