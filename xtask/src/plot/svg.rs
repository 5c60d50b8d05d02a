//! The text of an SVG. Colours of text, grid and ground follow the reader's: light or dark.

use std::fmt::Write as _;

/// A picture that is being written.
pub(crate) struct Document(String);

/// A part of a picture, in pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rect {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// Where a text stands about its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// The classes that are used, in light and in dark.
const STYLE: &str = "\
.ground{fill:#ffffff}.panel{fill:#f6f8fa;stroke:#d8dee4}.text{fill:#1f2328}.faint{fill:#59636e}.grid{stroke:#d8dee4}.axis{stroke:#9aa4af}
@media (prefers-color-scheme:dark){.ground{fill:#0d1117}.panel{fill:#161b22;stroke:#30363d}.text{fill:#e6edf3}.faint{fill:#9198a1}.grid{stroke:#2a313a}.axis{stroke:#59636e}}
.line{fill:none;stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}.area{stroke:none;fill-opacity:.22}
";

/// Sans-serif letters are about so wide, of their size: enough to know what fits.
const LETTER: f64 = 0.56;

impl Document {
    /// An empty one of this size, with a title for those who do not see it.
    pub(crate) fn new(width: f64, height: f64, title: &str) -> Self {
        let (width, height) = (number(width), number(height));
        Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             font-family=\"ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif\" role=\"img\">\n\
             <title>{}</title>\n<style>\n{STYLE}</style>\n<rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n",
            escape(title)
        ))
    }

    /// A rectangle with round corners.
    pub(crate) fn panel(&mut self, Rect { x, y, width, height }: Rect) {
        self.line(&format!(
            "<rect class=\"panel\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"4\"/>",
            number(x),
            number(y),
            number(width),
            number(height)
        ));
    }

    /// A text of this size; `fill` is a colour, or none and `class` says it.
    pub(crate) fn text(&mut self, at: (f64, f64), text: &str, style: &Text<'_>) {
        let fill = style.colour.map_or(String::new(), |colour| format!(" style=\"fill:{colour}\""));
        let bold = if style.bold { " font-weight=\"600\"" } else { "" };
        let turn = if style.upright {
            format!(" transform=\"rotate(-90 {} {})\"", number(at.0), number(at.1))
        } else {
            String::new()
        };
        self.line(&format!(
            "<text class=\"{}\" x=\"{}\" y=\"{}\" font-size=\"{}\" text-anchor=\"{}\"{bold}{fill}{turn}>{}</text>",
            if style.faint { "faint" } else { "text" },
            number(at.0),
            number(at.1),
            number(style.size),
            style.anchor.name(),
            escape(text)
        ));
    }

    /// A straight line of this class: grid or axis.
    pub(crate) fn rule(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        self.line(&format!(
            "<line class=\"{class}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>",
            number(from.0),
            number(from.1),
            number(to.0),
            number(to.1)
        ));
    }

    /// A line across, where something should not be beyond.
    pub(crate) fn threshold(&mut self, colour: &str, from: (f64, f64), to: (f64, f64)) {
        let path = format!("M{} {}L{} {}", number(from.0), number(from.1), number(to.0), number(to.1));
        self.line(&format!("<path d=\"{path}\" stroke=\"{colour}\" stroke-width=\"1\" stroke-dasharray=\"3 4\" stroke-opacity=\".7\"/>"));
    }

    /// A line through points, each piece by itself.
    pub(crate) fn polyline(&mut self, pieces: &[Vec<(f64, f64)>], colour: &str, dashed: bool) {
        let mut path = String::new();
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            path += &points(piece);
            if let [(x, y)] = piece[..] {
                // A line to where it began is a dot, by its round ends.
                path += &format!("L{} {}", number(x), number(y));
            }
        }
        let dash = if dashed { " stroke-dasharray=\"6 5\"" } else { "" };
        self.line(&format!("<path class=\"line\" d=\"{path}\" stroke=\"{colour}\"{dash}/>"));
    }

    /// What is between two lines; the second is gone along backwards.
    pub(crate) fn area(&mut self, above: &[(f64, f64)], below: &[(f64, f64)], colour: &str) {
        if above.len() < 2 {
            return;
        }
        let outline: Vec<_> = above.iter().chain(below.iter().rev()).copied().collect();
        self.line(&format!("<path class=\"area\" d=\"{}Z\" fill=\"{colour}\"/>", points(&outline)));
    }

    /// A small square of a colour.
    pub(crate) fn swatch(&mut self, (x, y): (f64, f64), side: f64, colour: &str) {
        let (x, y, side) = (number(x), number(y), number(side));
        self.line(&format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" rx=\"2\" fill=\"{colour}\"/>"
        ));
    }

    /// The whole text.
    pub(crate) fn finish(self) -> String {
        self.0 + "</svg>\n"
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }
}

/// How a text looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    pub(crate) size: f64,
    pub(crate) anchor: Anchor,
    pub(crate) bold: bool,
    pub(crate) faint: bool,
    /// From the bottom to the top.
    pub(crate) upright: bool,
    pub(crate) colour: Option<&'a str>,
}

impl Default for Text<'_> {
    fn default() -> Self {
        Self { size: 11.0, anchor: Anchor::Start, bold: false, faint: false, upright: false, colour: None }
    }
}

/// About how many pixels wide a text of this size is.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * LETTER
}

/// As much of a text as fits.
pub(crate) fn fit(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let letters = (room / (size * LETTER)).floor().max(1.0) as usize;
    text.chars().take(letters.saturating_sub(1)).chain(['…']).collect()
}

fn points(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (n, (x, y)) in points.iter().enumerate() {
        let command = if n == 0 { 'M' } else { 'L' };
        // Writing to a string cannot fail.
        let _written = write!(path, "{command}{} {}", number(*x), number(*y));
    }
    path
}

/// A tenth of a pixel is as fine as anybody sees.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_escaped_and_the_numbers_are_short() {
        let mut document = Document::new(100.0, 50.5, "a < b & c");
        document.polyline(&[vec![(0.0, 1.26), (-0.01, 2.0)]], "#fff", true);
        document.text((1.0, 2.0), "<script>", &Text::default());
        let svg = document.finish();
        assert!(svg.contains("viewBox=\"0 0 100 50.5\""), "{svg}");
        assert!(svg.contains("<title>a &lt; b &amp; c</title>"), "{svg}");
        assert!(svg.contains("d=\"M0 1.3L0 2\""), "{svg}");
        assert!(!svg.contains("<script>"), "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn a_text_that_is_too_long_ends_in_dots_and_then_fits() {
        assert_eq!(fit("short", 10.0, 100.0), "short");
        let cut = fit("a rather long name of a series", 10.0, 60.0);
        assert!(cut.ends_with('…') && width(&cut, 10.0) <= 60.0, "{cut}");
    }
}
