//! Which symbols a subscription wants.

use crate::feed::{SymbolId, Symbols};

/// All symbols, or some. Equal filters share their frames.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// No symbol is left out.
    All,
    /// These alone; sorted, each once, and not all.
    Only(Box<[SymbolId]>),
}

impl Filter {
    /// The filter for a SUBSCRIBE's symbols; none means all.
    ///
    /// # Errors
    ///
    /// The first name that the feed does not have.
    pub fn new<'a>(names: &'a [String], symbols: &Symbols) -> Result<Self, &'a str> {
        let mut ids = Vec::with_capacity(names.len());
        for name in names {
            ids.push(symbols.id(name).ok_or(name.as_str())?);
        }
        ids.sort_unstable();
        ids.dedup();
        let all = ids.is_empty() || ids.len() == symbols.len();
        Ok(if all { Self::All } else { Self::Only(ids.into()) })
    }

    /// Whether a symbol is wanted.
    #[must_use]
    pub fn wants(&self, symbol: SymbolId) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.binary_search(&symbol).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn order_and_repeats_do_not_matter_and_all_is_all() {
        let symbols = Symbols::new(["A", "B", "C"].map(Arc::from).into());
        let filter = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            Filter::new(&names, &symbols).map_err(ToOwned::to_owned)
        };
        assert_eq!(filter(&["C", "A", "C"]), filter(&["A", "C"]));
        assert_eq!(filter(&[]), Ok(Filter::All));
        assert_eq!(filter(&["C", "B", "A"]), Ok(Filter::All));
        assert_eq!(filter(&["A", "X", "Y"]), Err("X".into()));
        assert!(filter(&["A", "C"]).unwrap().wants(2) && !filter(&["A", "C"]).unwrap().wants(1));
    }
}
