//! Colours that can be told apart on white and on nearly black.

/// Of series, in their order; then it begins anew.
const PALETTE: [&str; 10] = [
    "#3b82f6", "#f59e0b", "#10b981", "#a855f7", "#06b6d4", "#ec4899", "#84a110", "#f97316", "#64748b",
    "#14b8a6",
];

/// The colour of something that is wrong.
const RED: &str = "#ef4444";

/// The colour of the series at this place.
pub(crate) fn of(index: usize) -> &'static str {
    PALETTE[index % PALETTE.len()]
}

/// The colour that Grafana calls so; `None`: that of plain text.
pub(crate) fn of_grafana(name: &str) -> Option<&'static str> {
    match name {
        "red" => Some(RED),
        "green" => Some("#16a34a"),
        "yellow" | "orange" => Some("#d97706"),
        "blue" => Some(PALETTE[0]),
        _ => None,
    }
}
