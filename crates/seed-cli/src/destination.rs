//! Where pictures go: one into a file, several into a folder.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use seed_files::AtomicFile;

/// The sheet of all pictures of a folder.
const SHEET: &str = "sheet.png";
/// Longest name of a file that is made of words, in bytes.
const LONGEST: usize = 60;

/// The places of pictures that are still to be made.
#[derive(Debug)]
pub(crate) enum Destination {
    /// The one file; its folder is made if it was named as one.
    File {
        /// The file.
        path: PathBuf,
        /// Whether its folder is made.
        makes_folder: bool,
    },
    /// A folder, and the names in it that are given, in lower case.
    Folder(PathBuf, HashSet<String>),
}

impl Destination {
    /// Where one picture goes, or `several`, if `output` was asked for; `usual` is the name without ending where nothing was.
    /// Nothing is made yet.
    pub(crate) fn plan(output: Option<&Path>, several: bool, usual: &str) -> Result<Self, String> {
        let refused = |path: &Path, reason: &str| Err(format!("{}: {reason}", path.display()));
        if several {
            let path = output.map_or_else(|| PathBuf::from(usual), Path::to_owned);
            if path.exists() && !path.is_dir() {
                return refused(
                    &path,
                    "this is a file, and several pictures go into a folder",
                );
            }
            if !path.exists() && is_png(&path) {
                return refused(
                    &path,
                    "several pictures go into a folder, and this names a file",
                );
            }
            return Ok(Self::Folder(path, HashSet::from([SHEET.to_owned()])));
        }
        let usual = format!("{usual}.png");
        let makes_folder = output.is_some_and(names_folder);
        let path = match output {
            None => PathBuf::from(usual),
            Some(path) if path.is_dir() || makes_folder => path.join(usual),
            Some(path) => path.to_owned(),
        };
        if !is_png(&path) {
            return refused(&path, "pictures are written as PNG: end the name with .png");
        }
        if path.is_dir() {
            return refused(&path, "this is a folder");
        }
        Ok(Self::File { path, makes_folder })
    }

    /// Makes the folder, and finds out whether it can be written to.
    pub(crate) fn prepare(&self) -> Result<(), String> {
        let told = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        let file = match self {
            Self::File { path, makes_folder } => {
                if let Some(folder) = path.parent().filter(|_| *makes_folder) {
                    fs::create_dir_all(folder).map_err(|error| told(folder, error))?;
                }
                path.clone()
            }
            Self::Folder(folder, _) => {
                fs::create_dir_all(folder).map_err(|error| told(folder, error))?;
                folder.join(SHEET)
            }
        };
        // Dropped again, it leaves nothing.
        AtomicFile::create(&file).map_err(|error| told(&file, error))?;
        Ok(())
    }

    /// The place of the next picture, of that name where it is one of several.
    pub(crate) fn next(&mut self, name: &str) -> PathBuf {
        match self {
            Self::File { path, .. } => path.clone(),
            Self::Folder(folder, taken) => {
                let mut file = format!("{name}.png");
                let mut count = 1;
                while !taken.insert(file.to_lowercase()) {
                    count += 1;
                    file = format!("{name}-{count}.png");
                }
                folder.join(file)
            }
        }
    }

    /// The place of the sheet of all pictures, where there are several.
    pub(crate) fn sheet(&self) -> Option<PathBuf> {
        match self {
            Self::File { .. } => None,
            Self::Folder(folder, _) => Some(folder.join(SHEET)),
        }
    }
}

/// A name for what is made of a picture.
pub(crate) fn stem_of(source: &str) -> String {
    let stem = Path::new(source).file_stem().unwrap_or_default();
    match stem.to_string_lossy().trim_start_matches('-') {
        "" => "picture".to_owned(),
        stem => stem.to_owned(),
    }
}

/// A name of words: letters and digits, with hyphens between.
pub(crate) fn slug_of(words: &str) -> String {
    let mut slug = String::new();
    for part in words.split(|sign: char| !sign.is_alphanumeric()) {
        let hyphen = usize::from(!slug.is_empty());
        if part.is_empty() {
            continue;
        }
        if slug.len() + hyphen + part.len() > LONGEST {
            break;
        }
        if hyphen > 0 {
            slug.push('-');
        }
        slug.push_str(&part.to_lowercase());
    }
    if slug.is_empty() {
        "drawing".to_owned()
    } else {
        slug
    }
}

fn is_png(path: &Path) -> bool {
    let extension = path.extension();
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("png"))
}

/// Whether a path ends as only folders' do.
fn names_folder(path: &Path) -> bool {
    path.to_string_lossy().ends_with(std::path::is_separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_picture_goes_into_a_file_and_several_into_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let plan = |output: &Path, several| Destination::plan(Some(output), several, "apple");
        let one = |output: &Path| plan(output, false).unwrap().next("unused");
        assert_eq!(one(&at("a.png")), at("a.png"));
        assert_eq!(one(&at("a.PNG")), at("a.PNG"));
        assert_eq!(one(folder.path()), at("apple.png"));
        let fresh = PathBuf::from(format!("{}/", at("new").display()));
        let planned = plan(&fresh, false).unwrap();
        planned.prepare().unwrap();
        assert!(at("new").is_dir());
        let usual = Destination::plan(None, false, "apple").unwrap().next("");
        assert_eq!(usual, Path::new("apple.png"));

        let mut several = plan(&at("all"), true).unwrap();
        assert!(!at("all").exists());
        several.prepare().unwrap();
        assert_eq!(fs::read_dir(at("all")).unwrap().count(), 0);
        let names = ["x", "X", "sheet", "x"].map(|name| several.next(name));
        let expected = ["x.png", "X-2.png", "sheet-2.png", "x-3.png"];
        assert_eq!(names, expected.map(|name| at("all").join(name)));
        assert_eq!(several.sheet(), Some(at("all").join("sheet.png")));
    }

    #[test]
    fn files_and_folders_are_not_taken_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file.png"), b"").unwrap();
        fs::create_dir(at("folder.png")).unwrap();
        let refusal = |name: &str, several| {
            let planned = Destination::plan(Some(&at(name)), several, "apple");
            planned.map(|_| ()).unwrap_err()
        };
        assert!(refusal("file.png", true).contains("this is a file"));
        assert!(refusal("new.png", true).contains("names a file"));
        assert!(refusal("a.jpg", false).contains(".png"));
        assert!(refusal("a", false).contains(".png"));
        // A folder of any name is one.
        assert!(Destination::plan(Some(&at("folder.png")), true, "").is_ok());
        let inside = Destination::plan(Some(&at("folder.png")), false, "apple");
        assert_eq!(inside.unwrap().next(""), at("folder.png").join("apple.png"));
        let nowhere = Destination::plan(Some(&at("no/such/a.png")), false, "").unwrap();
        assert!(nowhere.prepare().unwrap_err().contains("a.png"));
        let below_file = Destination::plan(Some(&at("file.png/all")), true, "").unwrap();
        assert!(below_file.prepare().unwrap_err().contains("file.png"));
    }

    #[test]
    fn names_are_made_of_words() {
        assert_eq!(slug_of("a Red apple, two!"), "a-red-apple-two");
        assert_eq!(slug_of("../.."), "drawing");
        assert_eq!(slug_of("Äpfel 🍎"), "äpfel");
        assert!(slug_of(&"word ".repeat(100)).len() <= LONGEST);
        assert_eq!(slug_of(&"w".repeat(100)), "drawing");
        assert_eq!(stem_of("photos/cat.jpg"), "cat");
        assert_eq!(stem_of("-"), "picture");
    }
}
