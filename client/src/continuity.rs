//! The proof that nothing is missing: one comparison per batch. Source: docs/PROTOCOL.md, "Sequences".

use tickwire_proto::message::Resume;

use crate::batch::Batch;

/// Where a subscription has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Continuity {
    position: Option<Resume>,
}

/// A batch that does not start where the one before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Discontinuity {
    /// Sequences are missing.
    #[error("a gap: sequence {expected} is due, but the batch starts at {found}")]
    Gap {
        /// The first sequence that is missing.
        expected: u64,
        /// The batch's first.
        found: u64,
    },
    /// Sequences come again.
    #[error("a repeat: sequence {expected} is due, but the batch starts at {found}")]
    Repeat {
        /// The sequence that is due.
        expected: u64,
        /// The batch's first.
        found: u64,
    },
    /// The numbering is another one, without having been announced.
    #[error("the epoch changed from {expected} to {found} in the middle of a subscription")]
    Epoch {
        /// The one before.
        expected: u64,
        /// The batch's.
        found: u64,
    },
    /// A range that ends before it starts.
    #[error("a batch covers {first} to {last}, which is no range")]
    Range {
        /// The batch's first.
        first: u64,
        /// The batch's last.
        last: u64,
    },
}

impl Continuity {
    /// Begins after `position`, which an earlier subscription reached; `None`: anywhere.
    #[must_use]
    pub fn after(position: Option<Resume>) -> Self {
        Self { position }
    }

    /// Where to resume.
    #[must_use]
    pub fn position(&self) -> Option<Resume> {
        self.position
    }

    /// Forgets the position: the next batch may start anywhere.
    pub fn forget(&mut self) {
        self.position = None;
    }

    /// Takes a batch's range in.
    ///
    /// # Errors
    ///
    /// [`Discontinuity`]; the position stays as it was.
    pub fn check(&mut self, epoch: u64, first: u64, last: u64) -> Result<(), Discontinuity> {
        if first == 0 || last < first - 1 {
            return Err(Discontinuity::Range { first, last });
        }
        if let Some(Resume { epoch: expected, after_sequence }) = self.position {
            // Epoch 0 stands for whichever the server has; and with it, sequence 0 for where that one's log begins.
            let from_the_start = expected == 0 && after_sequence == 0;
            if expected != 0 && epoch != expected {
                return Err(Discontinuity::Epoch { expected, found: epoch });
            }
            let (expected, found) = (after_sequence.saturating_add(1), first);
            if found > expected && !from_the_start {
                return Err(Discontinuity::Gap { expected, found });
            }
            if found < expected {
                return Err(Discontinuity::Repeat { expected, found });
            }
        }
        self.position = Some(Resume { epoch, after_sequence: last });
        Ok(())
    }

    /// As [`check`](Self::check), for a whole batch.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub fn check_batch(&mut self, batch: &Batch) -> Result<(), Discontinuity> {
        self.check(batch.epoch, batch.first_sequence, batch.last_sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_ranges_is_continuous_from_wherever_it_starts() {
        let mut continuity = Continuity::default();
        for (first, last) in [(101, 100), (101, 140), (141, 141), (142, 141), (142, 150)] {
            assert_eq!(continuity.check(7, first, last), Ok(()));
        }
        assert_eq!(continuity.position(), Some(Resume { epoch: 7, after_sequence: 150 }));
    }

    #[test]
    fn whatever_breaks_the_chain_is_told_and_leaves_the_position_alone() {
        let start = Continuity::after(Some(Resume { epoch: 7, after_sequence: 10 }));
        for (epoch, first, last, expected) in [
            (7, 12, 13, Discontinuity::Gap { expected: 11, found: 12 }),
            (7, 10, 13, Discontinuity::Repeat { expected: 11, found: 10 }),
            (8, 11, 13, Discontinuity::Epoch { expected: 7, found: 8 }),
            (7, 11, 9, Discontinuity::Range { first: 11, last: 9 }),
            (7, 0, 9, Discontinuity::Range { first: 0, last: 9 }),
        ] {
            let mut continuity = start;
            assert_eq!(continuity.check(epoch, first, last), Err(expected));
            assert_eq!(continuity, start);
        }
    }
}
