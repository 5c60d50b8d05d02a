//! What a test has seen, second by second, as a table: for `cargo xtask plot`.

use std::fmt::Write as _;

/// The folder where such tables go, if somebody wants them.
const FOLDER: &str = "TICKWIRE_REPORTS";

/// A table of seconds and whatever was counted in them.
pub(crate) struct Timeline {
    name: &'static str,
    columns: usize,
    text: String,
}

impl Timeline {
    /// Without rows yet; the first column is the seconds.
    pub(crate) fn new(name: &'static str, columns: &[&str]) -> Self {
        Self { name, columns: columns.len(), text: format!("seconds,{}\n", columns.join(",")) }
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, seconds: f64, values: &[f64]) {
        assert_eq!(values.len(), self.columns);
        write!(self.text, "{seconds:.1}").expect("a text");
        for value in values {
            write!(self.text, ",{value}").expect("a text");
        }
        self.text.push('\n');
    }

    /// Writes it, if somebody wants it.
    pub(crate) fn write(&self) {
        if let Some(folder) = std::env::var_os(FOLDER).filter(|folder| !folder.is_empty()) {
            let path = std::path::Path::new(&folder).join(format!("{}.csv", self.name));
            std::fs::write(&path, &self.text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            println!("wrote {}", path.display());
        }
    }
}
