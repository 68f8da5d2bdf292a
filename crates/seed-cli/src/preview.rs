//! Pictures in the terminal: as pixels where it shows such (kitty's and iTerm's protocols), as half blocks elsewhere.
//!
//! - <https://sw.kovidgoyal.net/kitty/graphics-protocol>
//! - <https://iterm2.com/documentation-images.html>

use std::{
    env,
    fmt::Write as _,
    io::{self, IsTerminal, Write},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use image::RgbImage;
use seed_data::{Filter, squash};

/// Most columns of half blocks.
const COLUMNS: u32 = 64;
/// Most bytes of a piece of kitty's protocol.
const PIECE: usize = 4096;

/// How a terminal shows pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    Kitty,
    Iterm,
    HalfBlocks,
}

/// Shows a picture on stdout; `png` is the same as a file.
pub(crate) fn show(picture: &RgbImage, png: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let shows = if stdout.is_terminal() {
        Shows::by(|name| env::var(name).unwrap_or_default())
    } else {
        Shows::HalfBlocks
    };
    let text = match shows {
        Shows::Kitty => kitty(png),
        Shows::Iterm => iterm(png),
        Shows::HalfBlocks => {
            let columns = env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
            half_blocks(picture, columns.unwrap_or(COLUMNS).clamp(1, COLUMNS))
        }
    };
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

impl Shows {
    /// What the environment says of the terminal. A multiplexer hands pictures on to none.
    fn by(variable: impl Fn(&str) -> String) -> Self {
        let program = variable("TERM_PROGRAM");
        if !variable("TMUX").is_empty() || variable("TERM").starts_with("screen") {
            Self::HalfBlocks
        } else if variable("TERM").contains("kitty") || program == "ghostty" {
            Self::Kitty
        } else if ["iTerm.app", "WezTerm"].contains(&program.as_str()) {
            Self::Iterm
        } else {
            Self::HalfBlocks
        }
    }
}

fn kitty(png: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(png);
    let pieces: Vec<&str> = (0..encoded.len())
        .step_by(PIECE)
        .map(|start| &encoded[start..encoded.len().min(start + PIECE)])
        .collect();
    let mut text = String::new();
    for (index, piece) in pieces.iter().enumerate() {
        let about = if index == 0 { "a=T,f=100," } else { "" };
        let more = u8::from(index + 1 < pieces.len());
        let _ = write!(text, "\x1b_G{about}m={more};{piece}\x1b\\");
    }
    text
}

fn iterm(png: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(png);
    let size = png.len();
    format!("\x1b]1337;File=inline=1;size={size}:{encoded}\x07")
}

/// Two pixels a character: the upper in the foreground's colour, the lower in the background's.
fn half_blocks(picture: &RgbImage, columns: u32) -> String {
    let (width, height) = picture.dimensions();
    let (columns, rows) = if width > columns {
        (columns, (height * columns / width).max(1))
    } else {
        (width, height)
    };
    let small = squash(picture, columns, rows, Filter::Bicubic);
    let mut lines = Vec::new();
    for y in (0..rows).step_by(2) {
        let mut line = String::new();
        for x in 0..columns {
            let [r, g, b] = small.get_pixel(x, y).0;
            let _ = write!(line, "\x1b[38;2;{r};{g};{b}m");
            if y + 1 < rows {
                let [r, g, b] = small.get_pixel(x, y + 1).0;
                let _ = write!(line, "\x1b[48;2;{r};{g};{b}m");
            }
            line.push('▀');
        }
        lines.push(line + "\x1b[0m");
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn half_blocks_hold_two_rows_a_line() {
        let picture = RgbImage::from_fn(2, 3, |x, y| Rgb([x as u8, y as u8, 9]));
        let text = half_blocks(&picture, 64);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        let first = "\x1b[38;2;0;0;9m\x1b[48;2;0;1;9m▀\x1b[38;2;1;0;9m\x1b[48;2;1;1;9m▀\x1b[0m";
        assert_eq!(lines[0], first);
        // The last row has none below it.
        assert_eq!(lines[1], "\x1b[38;2;0;2;9m▀\x1b[38;2;1;2;9m▀\x1b[0m");
        let wide = half_blocks(&RgbImage::new(640, 320), 64);
        assert_eq!(wide.lines().count(), 16);
        assert_eq!(wide.lines().next().unwrap().matches('▀').count(), 64);
    }

    #[test]
    fn protocols_hold_the_whole_file() {
        let png: Vec<u8> = (0..10_000).map(|byte| byte as u8).collect();
        let text = kitty(&png);
        let pieces = text.split("\x1b\\").filter(|piece| !piece.is_empty());
        let pieces: Vec<(&str, &str)> =
            pieces.map(|piece| piece.split_once(';').unwrap()).collect();
        assert_eq!(pieces[0].0, "\x1b_Ga=T,f=100,m=1");
        assert_eq!(pieces.last().unwrap().0, "\x1b_Gm=0");
        let whole: String = pieces.iter().map(|(_, piece)| *piece).collect();
        assert_eq!(BASE64_STANDARD.decode(whole).unwrap(), png);
        let text = iterm(&png);
        let (_, encoded) = text.trim_end_matches('\x07').split_once(':').unwrap();
        assert_eq!(BASE64_STANDARD.decode(encoded).unwrap(), png);
    }

    #[test]
    fn the_environment_says_what_a_terminal_shows() {
        let by = |set: &[(&str, &str)]| {
            let found = |name: &str| set.iter().find(|(key, _)| *key == name);
            Shows::by(|name| found(name).map_or_else(String::new, |(_, value)| (*value).to_owned()))
        };
        assert_eq!(by(&[]), Shows::HalfBlocks);
        assert_eq!(by(&[("TERM", "xterm-kitty")]), Shows::Kitty);
        assert_eq!(by(&[("TERM_PROGRAM", "WezTerm")]), Shows::Iterm);
        let within = [("TERM", "xterm-kitty"), ("TMUX", "/tmp/tmux")];
        assert_eq!(by(&within), Shows::HalfBlocks);
    }
}
