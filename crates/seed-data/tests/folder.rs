//! A user's folder: both layouts, the split, and everything that can be wrong with it.

use std::path::Path;
use std::sync::Arc;

use image::{Rgb, RgbImage};
use seed_data::{DataError, FolderOptions, FolderSet, PairSet, PairSubset, split_fraction};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn picture(folder: &TempDir, name: &str, shade: u8) {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(4, 3, Rgb([shade; 3]))
        .save(path)
        .unwrap();
}

fn write(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) {
    std::fs::write(folder.path().join(name), content).unwrap();
}

fn open(folder: &TempDir) -> Result<FolderSet, DataError> {
    FolderSet::open(folder.path(), FolderOptions::default())
}

#[track_caller]
fn assert_caption_error(folder: &TempDir, expected_line: usize, part: &str) {
    match open(folder).unwrap_err() {
        error @ DataError::Caption { line, .. } => {
            assert_eq!(line, expected_line);
            assert!(error.to_string().contains(part), "{error}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_list_of_captions() {
    let folder = folder();
    picture(&folder, "pets/dog.png", 10);
    picture(&folder, "cat.jpg", 20);
    picture(&folder, "b.bmp", 30);
    write(
        &folder,
        "captions.jsonl",
        "{\"image\": \"pets/dog.png\", \"captions\": [\"A dog!\", \"A happy dog runs.\"]}\r\n\
         \n\
         {\"image\": \"./cat.jpg\", \"caption\": \"A cat\"}\n\
         {\"image\": \"b.bmp\", \"caption\": \"a CAT\"}\n\
         {\"image\": \"b.bmp\", \"caption\": \"second\"}\n",
    );
    let set = open(&folder).unwrap();
    let ids: Vec<_> = (0..set.len()).map(|i| set.id(i)).collect();
    assert_eq!(ids, ["b.bmp", "cat.jpg", "pets/dog.png"]);
    assert_eq!(set.captions(0), ["a cat", "second"]);
    assert_eq!(set.captions(2), ["a dog", "a happy dog runs"]);
    assert_eq!(set.concept(0), set.concept(1), "same caption, same concept");
    assert_ne!(set.concept(0), set.concept(2));
    assert_eq!(set.picture(2).unwrap().get_pixel(0, 0).0, [10; 3]);
}

#[test]
fn text_files_beside_pictures() {
    let folder = folder();
    picture(&folder, "deep/er/one.PNG", 1);
    picture(&folder, "two.webp", 2);
    write(
        &folder,
        "deep/er/one.txt",
        "First caption.\nSecond caption\n",
    );
    write(&folder, "two.txt", "\u{feff}Two");
    write(&folder, "notes.txt", "belongs to no picture");
    let set = open(&folder).unwrap();
    assert_eq!(set.len(), 2);
    assert_eq!(set.id(0), "deep/er/one.PNG");
    assert_eq!(set.captions(0), ["first caption", "second caption"]);
    assert_eq!(set.captions(1), ["two"]);
}

#[test]
fn the_fingerprint_follows_the_content() {
    let folder = folder();
    picture(&folder, "a.png", 1);
    write(&folder, "a.txt", "one");
    let first = open(&folder).unwrap().fingerprint();
    assert_eq!(open(&folder).unwrap().fingerprint(), first);
    write(&folder, "a.txt", "two");
    let second = open(&folder).unwrap().fingerprint();
    assert_ne!(second, first);
    picture(&folder, "b.png", 1);
    write(&folder, "b.txt", "two");
    assert_ne!(open(&folder).unwrap().fingerprint(), second);
}

#[test]
fn an_empty_folder_says_what_to_put_there() {
    let error = open(&folder()).unwrap_err();
    assert!(matches!(error, DataError::EmptyFolder { .. }));
    assert!(error.to_string().contains("captions.jsonl"), "{error}");
    let missing = FolderSet::open(Path::new("no/such/folder"), FolderOptions::default());
    assert!(matches!(missing, Err(DataError::Io { .. })));
}

#[test]
fn missing_pictures_are_counted_and_listed() {
    let folder = folder();
    picture(&folder, "here.png", 1);
    let list: String = (0..9)
        .map(|i| format!("gone{i}.png"))
        .chain(["here.png".to_owned()])
        .fold(String::new(), |list, name| {
            list + "{\"image\": \"" + &name + "\", \"caption\": \"x\"}\n"
        });
    write(&folder, "captions.jsonl", list);
    let error = open(&folder).unwrap_err();
    assert!(
        matches!(&error, DataError::MissingPictures { count: 9, .. }),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("gone0.png") && !text.contains("gone7.png"),
        "{text}"
    );
}

#[test]
fn pictures_without_captions_are_counted_and_listed() {
    let folder = folder();
    picture(&folder, "a.png", 1);
    picture(&folder, "b.png", 1);
    write(&folder, "a.txt", "a");
    let error = open(&folder).unwrap_err();
    assert!(
        matches!(&error, DataError::MissingCaptions { count: 1, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("b.png"), "{error}");
}

#[test]
fn bad_captions_are_named_by_file_and_line() {
    let folder = folder();
    picture(&folder, "a.png", 1);
    let good = "{\"image\": \"a.png\", \"caption\": \"fine\"}\n";
    let list = |second: &[u8], part: &str| {
        write(
            &folder,
            "captions.jsonl",
            [good.as_bytes(), second].concat(),
        );
        assert_caption_error(&folder, 2, part);
    };
    list(
        b"{\"image\": \"a.png\", \"caption\": \"\xff\xfe\"}\n",
        "UTF-8",
    );
    list(b"{\"image\": \"a.png\", \"caption\": \"\"}", "empty");
    list(b"{\"image\": \"a.png\", \"caption\": \"!!..\"}", "empty");
    list(b"{\"image\": \"a.png\"}", "no caption");
    list(b"{\"image\": \"a.png\", \"caption\": ", "expected");
    list(b"{\"image\": \"a.png\", \"text\": \"x\"}", "expected");
    list(
        b"{\"image\": \"../a.png\", \"caption\": \"x\"}",
        "out of the folder",
    );
    list(
        b"{\"image\": \"/etc/a.png\", \"caption\": \"x\"}",
        "out of the folder",
    );

    std::fs::remove_file(folder.path().join("captions.jsonl")).unwrap();
    write(&folder, "a.txt", b"fine\nlatin \xe9\n");
    assert_caption_error(&folder, 2, "UTF-8");
    write(&folder, "a.txt", "  \n");
    assert_caption_error(&folder, 1, "empty");
}

#[test]
fn a_damaged_picture_is_an_error_of_that_picture() {
    let folder = folder();
    picture(&folder, "good.png", 9);
    write(&folder, "bad.png", "no picture at all");
    write(&folder, "good.txt", "good");
    write(&folder, "bad.txt", "bad");
    let set = open(&folder).unwrap();
    let error = set.picture(0).unwrap_err();
    assert!(error.to_string().contains("bad.png"), "{error}");
    assert!(set.picture(1).is_ok());
}

#[test]
fn the_split_is_stable_disjoint_and_complete() {
    let folder = folder();
    for i in 0..20 {
        picture(&folder, &format!("{i:02}.png"), i);
        write(&folder, &format!("{i:02}.txt"), format!("picture {i}"));
    }
    let whole = open(&folder).unwrap();
    let fingerprint = whole.fingerprint();
    let whole: Arc<dyn PairSet> = Arc::new(whole);
    let (training, validation) = split_fraction(&whole, 3, 0.25);
    assert_eq!((training.len(), validation.len()), (15, 5));
    let mut all = [training.indices(), validation.indices()].concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..20));

    let again = split_fraction(&whole, 3, 0.25).1;
    assert_eq!(again.indices(), validation.indices());
    assert_eq!(again.fingerprint(), validation.fingerprint());
    assert_ne!(training.fingerprint(), validation.fingerprint());
    assert_ne!(training.fingerprint(), fingerprint);
    assert_ne!(
        split_fraction(&whole, 4, 0.25).1.indices(),
        validation.indices()
    );

    let first = validation.indices()[0];
    assert_eq!(validation.id(0), whole.id(first));
    assert_eq!(validation.captions(0), whole.captions(first));
    assert_eq!(
        validation.picture(0).unwrap(),
        whole.picture(first).unwrap()
    );
    let (training, validation) = split_fraction(&whole, 3, 0.0);
    assert_eq!((training.len(), validation.len()), (19, 1));
    assert!(PairSubset::new(whole, vec![50]).is_empty());
}
