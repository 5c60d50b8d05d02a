//! `cargo xtask picture`: what the demo's subscriber prints, as an SVG. A terminal, not a drawing of one: every line is from a real run.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::generate::root;
use crate::process::{PASSWORD, Server, build};

/// Pixels per character and line, and around them.
const CELL: (usize, usize) = (8, 18);
const MARGIN: usize = 16;

pub(crate) fn run() -> Result<()> {
    let folder = build("dev")?;
    let server = Server::start(&folder, &["--drain-delay", "0s", "--drain-window", "0s"], &[])?;
    let mut text = String::new();
    for arguments in [
        &["--mode", "tick", "--count", "12"][..],
        &["--mode", "second", "--symbols", "BTCUSDT,ETHUSDT", "--count", "6"],
    ] {
        let shown = arguments.join(" ");
        writeln!(text, "\x1b[1m$ tickwire subscribe {shown}\x1b[0m")?;
        let mut command = Command::new(folder.join("tickwire"));
        command.args(["subscribe", "--address", &server.address]).args(arguments);
        let output = command.env("STREAM_PASS", PASSWORD).env("CLICOLOR_FORCE", "1").output()?;
        ensure!(output.status.success(), "tickwire subscribe ended with {}", output.status);
        text += &String::from_utf8(output.stdout)?;
        text += String::from_utf8(output.stderr)?.lines().last().context("a summary")?;
        text += "\n\n";
    }
    server.stop(true)?;
    let path = root().join("docs/demo.svg");
    std::fs::write(&path, draw(text.trim_end()))?;
    println!("drew docs/demo.svg");
    Ok(())
}

fn draw(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let columns = lines.iter().map(|line| plain_len(line)).max().unwrap_or_default();
    let (width, height) = (columns * CELL.0 + 2 * MARGIN, lines.len() * CELL.1 + 2 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#16181d\"/>\n\
         <g font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"13.3\" \
         fill=\"#d6d9df\" xml:space=\"preserve\">\n"
    );
    for (n, line) in lines.iter().enumerate() {
        let y = MARGIN + n * CELL.1 + 13;
        let mut column = 0;
        let mut style = "";
        for piece in line.split("\x1b[") {
            let (code, rest) = if column == 0 && !line.starts_with("\x1b[") && style.is_empty() {
                ("0", piece)
            } else {
                piece.split_once('m').unwrap_or(("0", piece))
            };
            style = match code {
                "1" => " font-weight=\"bold\" fill=\"#ffffff\"",
                "31" => " fill=\"#f07178\"",
                "32" => " fill=\"#7fd88f\"",
                _ => " ",
            };
            if !rest.is_empty() {
                let x = MARGIN + column * CELL.0;
                let length = rest.chars().count() * CELL.0;
                let escaped = rest.replace('&', "&amp;").replace('<', "&lt;");
                // Writing to a string cannot fail.
                let _written = writeln!(
                    svg,
                    "<text x=\"{x}\" y=\"{y}\" textLength=\"{length}\" lengthAdjust=\"spacingAndGlyphs\"{style}>{escaped}</text>"
                );
                column += rest.chars().count();
            }
        }
    }
    svg + "</g>\n</svg>\n"
}

fn plain_len(line: &str) -> usize {
    let mut pieces = line.split("\x1b[");
    let first = pieces.next().map_or(0, |piece| piece.chars().count());
    first
        + pieces.map(|piece| piece.split_once('m').map_or(0, |(_, rest)| rest.chars().count())).sum::<usize>()
}
