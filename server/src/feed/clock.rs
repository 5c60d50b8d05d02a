//! The feed's time, which may run faster or slower than the clock on the wall.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A factor in thousandths: 0.001 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed(u32);

impl Speed {
    /// As fast as the clock on the wall.
    pub const REAL: Self = Self(1000);

    /// In thousandths.
    #[must_use]
    pub fn thousandths(self) -> u32 {
        self.0
    }

    /// How much of the feed's time passes in so much of the wall's, both in nanoseconds. Saturates.
    #[must_use]
    pub fn feed_nanos(self, wall: u64) -> u64 {
        u64::try_from(u128::from(wall) * u128::from(self.0) / 1000).unwrap_or(u64::MAX)
    }

    /// The inverse of [`feed_nanos`](Self::feed_nanos), rounded up: waiting so long is never too short. Saturates.
    #[must_use]
    pub fn wall_nanos(self, feed: u64) -> u64 {
        u64::try_from((u128::from(feed) * 1000).div_ceil(u128::from(self.0))).unwrap_or(u64::MAX)
    }
}

impl FromStr for Speed {
    type Err = InvalidSpeed;

    fn from_str(text: &str) -> Result<Self, InvalidSpeed> {
        let factor: f64 = text.parse().map_err(|_| InvalidSpeed)?;
        if !(0.001..=10_000.0).contains(&factor) {
            return Err(InvalidSpeed);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "1 to 10,000,000, by the check above"
        )]
        let thousandths = (factor * 1000.0).round() as u32;
        Ok(Self(thousandths))
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 1000.0)
    }
}

/// The text is not a speed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must be 0.001 to 10000")]
pub struct InvalidSpeed;

/// Turns the wall's time into the feed's: they agree at `wall_origin`/`feed_origin`, and the feed's runs `speed` times as fast.
#[derive(Clone, Copy, Debug)]
pub struct FeedClock {
    wall_origin: u64,
    feed_origin: u64,
    speed: Speed,
}

impl FeedClock {
    /// A clock that shows `feed_origin` when the clock on the wall shows `wall_origin`, both in nanoseconds since 1970 (UTC).
    #[must_use]
    pub fn new(wall_origin: u64, feed_origin: u64, speed: Speed) -> Self {
        Self { wall_origin, feed_origin, speed }
    }

    /// The feed's time when the wall's is `wall`; before the origin it stands still.
    #[must_use]
    pub fn feed_time(&self, wall: u64) -> u64 {
        self.feed_origin.saturating_add(self.speed.feed_nanos(wall.saturating_sub(self.wall_origin)))
    }

    /// The wall's time when the feed's is `feed`. May lie before the origin.
    #[must_use]
    pub fn wall_time(&self, feed: u64) -> u64 {
        match feed.checked_sub(self.feed_origin) {
            Some(after) => self.wall_origin.saturating_add(self.speed.wall_nanos(after)),
            None => self.wall_origin.saturating_sub(self.speed.wall_nanos(self.feed_origin - feed)),
        }
    }

    /// Waits until the feed's time is `feed`, or for a second, whichever is sooner: the clock on the wall may be set.
    pub async fn wait_until(&self, feed: u64) {
        let wait = Duration::from_nanos(self.wall_time(feed).saturating_sub(wall_now()));
        tokio::time::sleep(wait.min(Duration::from_secs(1))).await;
    }
}

/// The clock on the wall, in nanoseconds since 1970 (UTC); it lasts until 2554.
#[must_use]
pub fn wall_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_at_sixty_times_the_speed_has_its_minute_in_a_second() {
        let clock = FeedClock::new(1_000, 5_000, "60".parse().unwrap());
        assert_eq!(clock.feed_time(1_000 + 1_000_000_000), 5_000 + 60_000_000_000);
        assert_eq!(clock.wall_time(5_000 + 60_000_000_000), 1_000 + 1_000_000_000);
        assert_eq!(clock.feed_time(0), 5_000);
    }

    #[test]
    fn speeds_read_as_people_write_them() {
        assert_eq!("0.5".parse::<Speed>().unwrap().to_string(), "0.5");
        for text in ["0", "-1", "fast", "NaN", "1e9"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }
}
