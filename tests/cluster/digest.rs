//! What a stream holds, as one number: equal where the same ticks stand under the same sequences.

/// A tick's part of it. All parts are added up, so that a sum may begin and end anywhere.
pub(crate) fn digest(sequence: u64, symbol: &str, time: u64, price: i64, size: u64) -> u64 {
    let symbol = symbol.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(257).wrapping_add(byte.into()));
    [sequence, symbol, time, price.cast_unsigned(), size]
        .into_iter()
        .fold(0x5eed, |hash, part| mix(hash ^ part))
}

/// Spreads every bit over the whole word (the finaliser of SplitMix64).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)).wrapping_add(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_differs_in_a_tick_its_place_included_is_another_digest() {
        let one = digest(7, "AAA", 1, 2, 3);
        let others = [
            digest(8, "AAA", 1, 2, 3),
            digest(7, "AAB", 1, 2, 3),
            digest(7, "AAA", 2, 2, 3),
            digest(7, "AAA", 1, -2, 3),
            digest(7, "AAA", 1, 3, 2),
        ];
        assert!(others.iter().all(|other| *other != one));
        assert_ne!(
            digest(1, "A", 1, 1, 1).wrapping_add(digest(2, "B", 1, 1, 1)),
            digest(1, "B", 1, 1, 1).wrapping_add(digest(2, "A", 1, 1, 1)),
            "nor do two that have changed places"
        );
    }
}
