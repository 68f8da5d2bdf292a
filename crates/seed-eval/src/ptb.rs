//! The Penn Treebank tokenisation of captions, as the COCO evaluation makes it.
//!
//! pycocoevalcap runs Stanford CoreNLP 3.4.1's `PTBTokenizer -preserveLines -lowerCase` and drops the
//! tokens of `PUNCTUATION`. The lower case comes after brackets are renamed and before the list is
//! applied, so that `(` stays, as `-lrb-`; so do runs such as `?!`, which the list does not name.
//!
//! A token is the longest match of `RULES` at its place. The rules are of two sources: the documented conventions
//! of the Penn Treebank (contractions and possessives come apart, words with hyphens stay whole), and the output
//! of the Java program. On the captions and strings of the tests every line is as that program has it; of
//! 321,180 English words and signs, each between two letters, 56 lines differ, and of 40,000 lines of common
//! words with random marks, numbers and contractions 40.
//!
//! White space is that of the rules below, not Python's. The Java program takes U+0085 for an ellipsis, which is dropped, and
//! U+001C to U+001F for characters that it does not know, which part words all the same but for those of an address.
//! A line break other than `\n`, such as `\r`, would there shift all captions that follow; here it parts words.
//!
//! Known to differ, since a rule for each would hardly ever be of use in a caption: most words with an
//! irregular apostrophe come apart (`c'mon`, `li'l`, `s'mores`, `n'roll`, `l'chaim`, `don'ts`, `dunkin'`), and an
//! apostrophe at the head of a word is mostly taken for a quote (`'til`, `'cause`, `'tisn't`, `'98`); the program
//! takes `'em` even off `'empire'`. Telephone numbers stay whole where hyphens join them, `555-1234`, but not with
//! spaces or brackets, `(555) 555-1234`. Besides, `U.S.-U.K.`, `AT&amp;T`, `sq.m`, `ph.d.s`, `o'clock.,`, accents
//! without a letter, a few rare signs, and faces other than the commonest.

use std::sync::LazyLock;

use regex_automata::{
    Anchored, Input, MatchKind,
    meta::{Config, Regex},
    util::syntax,
};

/// Tokens that the COCO evaluation drops. Its names of brackets are without effect, since tokens are in
/// lower case by then.
const PUNCTUATION: &[&str] = &[
    "''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--",
    "...", ";",
];

/// The tokens of a caption in lower case, without punctuation, joined by single spaces. It is empty if
/// nothing is left.
///
/// ```
/// # use seed_eval::ptb_tokenize;
/// assert_eq!(ptb_tokenize("A man's dog (\"Rex\") isn't here."), "a man 's dog -lrb- rex -rrb- is n't here");
/// ```
pub fn ptb_tokenize(caption: &str) -> String {
    // The rules may look at the character after a token, so there must be one.
    let text = format!("{caption}\n");
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < caption.len() {
        at = next(&text, at, &mut tokens);
    }
    tokens.retain(|token| !PUNCTUATION.contains(&token.as_str()));
    tokens.join(" ")
}

/// Takes the longest match at `at`, and returns where it ends.
fn next(text: &str, at: usize, tokens: &mut Vec<String>) -> usize {
    let input = Input::new(text).range(at..).anchored(Anchored::Yes);
    let one = text[at..].chars().next().map_or(1, char::len_utf8);
    let Some(found) = LEXER.search(&input) else {
        // A character that the tokenizer does not know: emoji, variation selectors, control characters.
        return at + one;
    };
    let (_, looked_at, action) = RULES[found.pattern().as_usize()];
    let found = &text[at..found.end()];
    let end = found
        .char_indices()
        .rev()
        .take(looked_at)
        .last()
        .map_or(found.len(), |(end, _)| end);
    let token = &found[..end];
    match action {
        Action::Keep => tokens.push(token.to_lowercase()),
        Action::Skip => {}
        Action::Split(at) => {
            let (first, second) = token.split_at(at);
            tokens.extend([first.to_lowercase(), second.to_lowercase()]);
        }
        Action::PlainQuotes => tokens.push(token.replace(['’', '\u{92}'], "'").to_lowercase()),
        Action::SoftHyphens => tokens.push(token.replace('\u{AD}', "").to_lowercase()),
        Action::Glue => tokens.push(
            token
                .replace(char::is_whitespace, "\u{A0}")
                .replace('(', "-lrb-")
                .replace(')', "-rrb-")
                .to_lowercase(),
        ),
        Action::As(token) => tokens.push(token.to_owned()),
    }
    at + end
}

/// What becomes of a match.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// It is a token.
    Keep,
    /// It is white space.
    Skip,
    /// It is two tokens, of which the first has so many bytes.
    Split(usize),
    /// It is a token, in which a closing quote becomes the straight one.
    PlainQuotes,
    /// It is a token, from which soft hyphens go.
    SoftHyphens,
    /// It is one token that may hold spaces, which become non-breaking, and brackets, which are renamed.
    Glue,
    /// It becomes this token.
    As(&'static str),
}

use Action::{As, Glue, Keep, PlainQuotes, Skip, SoftHyphens, Split};

/// Classes that the rules name. One may name those below it.
const CLASSES: &[(&str, &str)] = &[
    // May hold a period, `dog.cat`, but not end with one.
    ("word", r"(?:{letter}{inner}*(?:[.!?]{letter}{inner}*)*)"),
    (
        "inner",
        r"(?:{letter}|\p{Nd}|[[\p{Mn}\p{Mc}]--[\u{FE00}-\u{FE0F}]])",
    ),
    ("letter", r"[\p{L}\u{AD}]"),
    ("hyphened", "(?:{alnum}+(?:-{alnum}+)*)"),
    ("number", r"(?:\d*(?:[.,]\d+)+|\d+(?:[.:,]\d+)*)"),
    ("alnum", r"[\p{L}\p{Nd}]"),
    ("acronym", r"[a-z](?:\.[a-z])*"),
    ("quote", r"['’\u{92}`‘\u{91}‛]"),
    ("apostrophe", r"['’\u{92}]"),
    // Inside an address, and at its end.
    ("url", r"[^\s<>|(){}]"),
    ("url_end", r"[^\s<>|.!?(){},;:&-]"),
    ("host", r#"[^\s<>|.!?(){},:/$@'"]"#),
    // After a contraction: nothing of a word.
    ("end", r"[^a-z]"),
    // Abbreviations that keep their period wherever they stand.
    (
        "abbreviation",
        "(?:adj|adm|adv|ala?|alex|apr|ariz|assn|assoc|asst|attys?|aug|ave|bancorp|bhd|bldg|blvd|brig|bros\
        |calif|capt|cf|cie|cmdr|colo?|comdr|conn|corp|cos?|cpl|ct|dak|dec|dept|det|drs?|elec|ens|esq|est\
        |etc|ext|feb|fla|fri|ft|ga|gen|govs?|hon|inc|ind|insp|intl|jan|jos|jr|jul|jun|kans?|ky|lieut|lt\
        |ltd|maj|mar|md|messrs|mich|minn|mlle|mme|mon?|mont|mrs?|ms|msgr|mt|natl|neb|nev|nov|oct|okla\
        |penn|pfc|ph|plc|pres|profs?|pvt|rd|reps?|rev|rt|sens?|sept?|seq|sfc|sgt|spc|sq|sr|ste?|supt|sys\
        |tel|tenn|thu|thurs|treas|tues?|univ|va|vs|vt|wed|wisc?|wm|wyo|(?:ed|ph)\\.d|[bdm]\\.sc\
        |(?-i:mfg|mtg|pt[ye]s?))",
    ),
    // Abbreviations only where a number follows.
    ("numbered", "(?:art|ca|figs?|nos?|op|pp|prop)"),
    // States and titles that are also words count with a capital only.
    (
        "capitalised",
        "(?-i:A(?i:rk|z)|D(?i:el)|I(?i:ll)|L(?i:a)|M(?i:ass|iss)|O(?i:re)|P(?i:a)|T(?i:ex)|W(?i:ash))",
    ),
];

/// Every rule: a pattern, in which `{name}` is one of [`CLASSES`]; how many of its last characters are only
/// looked at; what becomes of the rest. Of the rules that match at a place that with the longest match
/// counts, what is looked at included; of equals the first. Case does not matter, but where a rule says so.
const RULES: &[(&str, usize, Action)] = &[
    (r"[\s\u{FEFF}]+", 0, Skip),
    // Contractions of two words.
    ("cannot{end}", 1, Split(3)),
    ("(?:gonna|gotta|lemme|gimme|wanna){end}", 1, Split(3)),
    ("'t(?:is|was){end}", 1, Split(2)),
    // The word before n't loses its n.
    ("{letter}*[a-mo-z]n{quote}t", 3, Keep),
    ("n{quote}t", 0, PlainQuotes),
    // Clitics, and the word before them even where it could be longer.
    ("{word}{apostrophe}[msd]{end}", 3, Keep),
    ("{word}{apostrophe}(?:re|ve|ll){end}", 4, Keep),
    ("{apostrophe}(?:[msd]|re|ve|ll){end}", 1, PlainQuotes),
    // Other words with an apostrophe: `rock 'n' roll`, `more'n`, `hold'em`, `'90s`, `o'clock`, `d'or`, `ma'am`, `y'all`.
    ("{apostrophe}n{apostrophe}", 0, Keep),
    (r"{apostrophe}(?:n\s|em{end})", 1, Keep),
    ("{apostrophe}[2-9]0s", 0, Keep),
    ("[do]{apostrophe}{letter}+", 0, Keep),
    ("{letter}*[aeiou]{apostrophe}[aeiou]{letter}*", 0, Keep),
    ("y{apostrophe}{letter}", 1, Keep),
    // Words, numbers, and what is made of them.
    ("{word}", 0, SoftHyphens),
    // That begins with a digit: `1980s`.
    ("{alnum}+", 0, Keep),
    // Joined by single hyphens or underscores, of which the first part may hold periods and commas: `e-mail`,
    // `a_b`, `U.S.-based`, `x,y-z`.
    (r"{alnum}+(?:[.,]{alnum}+)*\.?(?:[-_]{alnum}+)+", 0, Keep),
    // Joined by one slash or two.
    ("{hyphened}(?:/{hyphened}){1,2}", 0, Keep),
    (
        r"{acronym}\.|(?:{abbreviation}|{capitalised}|a\.k\.a)\.",
        0,
        Keep,
    ),
    (r"{numbered}\.\d", 1, Keep),
    (r"{numbered}\.\s\d", 2, Keep),
    // A period before another mark belongs to the word.
    (r"(?:{word}|{hyphened})\.[,;:]", 1, Keep),
    (r"(?-i:[A-Z]+(?:[&+][A-Z]+)+)|c\+\+|[cf]#", 0, Keep),
    (r"[-+]?{number}|[.:,]\d+(?:[.:,]\d+)*", 0, Keep),
    // A fraction, with the whole number before it: `1/2`, `10 1/2`.
    (r"(?:\d+ )?\d+[/⁄]\d+", 0, Glue),
    (r"(?:https?|ftp|svn)://{url}+{url_end}", 0, Keep),
    (
        r"www\.(?:{host}+\.)+[a-z]{2,4}(?:/{url}+{url_end})?",
        0,
        Keep,
    ),
    (
        r"(?:{host}+\.)+(?:com|net|org|edu)(?:/{url}+{url_end})?",
        0,
        Keep,
    ),
    (r"[a-z0-9][^\s<>|(){}]*@(?:{host}+\.)*{host}+", 0, Keep),
    ("@[a-z_][a-z0-9_]*|#[a-z]+", 0, Keep),
    (r"<[/!?]?[a-z][^<>]*>|<!--[^>]*-->", 0, Glue),
    // Marks.
    (r"\.\.+|…", 0, As("...")),
    ("--+|[–—]", 0, As("--")),
    (r"[?!]+|\*+|_+|@+|#+|<<|>>|&#\d+;", 0, Keep),
    // Faces.
    (r"[:;=][-'o]?[()\]\\]|\^_\^|-_-", 0, Glue),
    ("[:;=]-?[dp]{end}", 1, Keep),
    ("[\"“”«»]|''|``", 0, As("''")),
    ("[{quote}‹›]", 0, As("'")),
    (r"\(", 0, As("-lrb-")),
    (r"\)", 0, As("-rrb-")),
    (r"\[", 0, As("-lsb-")),
    (r"\]", 0, As("-rsb-")),
    (r"\{", 0, As("-lcb-")),
    (r"\}", 0, As("-rcb-")),
    ("&amp;", 0, As("&")),
    ("&quot;", 0, As("''")),
    ("&apos;", 0, As("'")),
    ("&lt;", 0, As("<")),
    ("&gt;", 0, As(">")),
    ("&nbsp;", 0, Skip),
    (r"(?-i:[A-Z]+)\$", 0, Keep),
    ("€", 0, As("$")),
    ("£", 0, As("#")),
    ("¢", 0, As("cents")),
    ("½", 0, As("1/2")),
    ("¼", 0, As("1/4")),
    ("¾", 0, As("3/4")),
    ("⅓", 0, As("1/3")),
    ("⅔", 0, As("2/3")),
    (
        r"[\p{P}\p{S}\p{No}&&[\u{0}-\u{FFFF}]--[\u{FFFD}\u{20B9}]]",
        0,
        Keep,
    ),
];

static LEXER: LazyLock<Regex> = LazyLock::new(|| {
    let patterns: Vec<String> = RULES
        .iter()
        .map(|(pattern, _, _)| {
            CLASSES
                .iter()
                .fold((*pattern).to_owned(), |pattern, (name, class)| {
                    pattern.replace(&format!("{{{name}}}"), class)
                })
        })
        .collect();
    Regex::builder()
        .configure(Config::new().match_kind(MatchKind::All))
        .syntax(syntax::Config::new().case_insensitive(true))
        .build_many(&patterns)
        .expect("the rules are sound: whatever is tokenised compiles them all")
});
