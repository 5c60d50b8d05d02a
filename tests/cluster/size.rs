//! How much the large tests do: what fits into every run, or what a person asks for by `cargo xtask bench fleet`.

/// The number for every run, or with TICKWIRE_FULL_SIZE set that for the whole.
pub(crate) fn size(every_run: usize, full: usize) -> usize {
    if is_full() { full } else { every_run }
}

/// Whether the whole is asked for.
pub(crate) fn is_full() -> bool {
    std::env::var_os("TICKWIRE_FULL_SIZE").is_some_and(|value| !value.is_empty())
}
