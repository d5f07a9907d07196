//! What is asked of one source file: its room, its doors, its size.

use super::words::{self, Kind, Token};
use super::{
    DOORS, LOCK_FILES, LOG_FILE, OUTPUT_MACROS, PRINTING_FILE, ROOMS, UNFINISHED_MACROS,
    UNSAFE_FILES, UNSAFE_ROOMS,
};
use super::{FILE_LINES_MAX, FN_LINES_MAX, LINE_CHARS_MAX, OTHER_PACKAGES};
use std::collections::{BTreeMap, BTreeSet};

/// Who owns the names that stand at the root of the crate without being rooms.
#[derive(Default)]
pub(crate) struct Owners<'a> {
    /// `macro_export` puts a macro there, whatever room it is defined in.
    pub(crate) macros: BTreeMap<&'a str, &'a str>,
    /// What `lib.rs` takes from a room: for users, and for the macros that they expand.
    pub(crate) exports: BTreeMap<&'a str, &'a str>,
}

impl Owners<'_> {
    /// Whether the room `own` may say `crate::name`, or `$crate::name` in a macro.
    fn judge(&self, own: &str, name: &str, in_macro: bool) -> Result<(), String> {
        let export = self.exports.get(name).copied();
        let public = export.filter(|_| in_macro);
        let room = self.macros.get(name).copied().or(public).unwrap_or(name);
        if rank(room).is_some_and(|room| Some(room) <= rank(own)) {
            Ok(())
        } else if rank(room).is_some() {
            let advice = "move what both need down, or hand it in as a value";
            Err(format!(
                "stairs: {own} names {room}, which stands above it; {advice}"
            ))
        } else {
            let owner = export.unwrap_or("the room that owns it");
            Err(format!(
                "stairs: {own} names crate::{name}, a name of lib.rs; go by {owner}"
            ))
        }
    }
}

fn rank(room: &str) -> Option<usize> {
    ROOMS.iter().position(|known| *known == room)
}

pub(crate) struct Source<'a> {
    pub(crate) path: &'a str,
    text: &'a str,
    tokens: Vec<Token<'a>>,
    /// See [`words::places`].
    places: Vec<(usize, bool)>,
    /// Declared by `#[cfg(test)] mod name;`, itself or a module around it.
    pub(crate) test_only: bool,
}

impl<'a> Source<'a> {
    pub(crate) fn new((path, text): (&'a String, &'a String)) -> Source<'a> {
        let tokens = words::tokens(text);
        let places = words::places(&tokens);
        Source {
            path,
            text,
            tokens,
            places,
            test_only: false,
        }
    }

    /// Whether this is a file of the library itself.
    pub(crate) fn is_ours(&self) -> bool {
        self.path.starts_with("src/")
    }

    /// Whether its tests are run by `cargo test` at the root: other packages stand below `tests`.
    pub(crate) fn is_tested_here(&self) -> bool {
        let foreign = |package: &&str| self.path.starts_with(&format!("tests/{package}/"));
        let tests = self.is_ours() || self.path.starts_with("tests/");
        tests && !OTHER_PACKAGES.iter().any(foreign)
    }

    /// The text of the token at `index`; nothing beyond the end.
    fn word(&self, index: usize) -> &'a str {
        self.tokens.get(index).map_or("", |token| token.text)
    }

    fn is_path_sep(&self, index: usize) -> bool {
        self.word(index) == ":" && self.word(index + 1) == ":"
    }

    /// The parts of the module's path: `src/hub/task.rs` is `["hub", "task"]`, a room first.
    pub(crate) fn module(&self) -> Vec<&'a str> {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        inner.trim_end_matches("/mod").split('/').collect()
    }

    fn complain(&self, out: &mut Vec<String>, line: usize, what: &str) {
        out.push(format!("{}:{line}: {what}", self.path));
    }

    /// The modules with files of their own that are declared here for tests only.
    pub(crate) fn test_modules(&self) -> Vec<Vec<&'a str>> {
        let mut around = self.module();
        around.retain(|part| *part != "lib");
        let inner = words::test_modules(&self.tokens).into_iter();
        inner.map(|name| [&around[..], &[name]].concat()).collect()
    }

    /// The names that `lib.rs` takes from a room, each with that room.
    pub(crate) fn exports(&self) -> Vec<(&'a str, &'a str)> {
        let mut out = Vec::new();
        let statements = self.tokens.split(|token| token.text == ";");
        for statement in statements {
            let mut words = statement.iter().filter(|token| token.kind == Kind::Word);
            let _ = words.find(|token| token.text == "use");
            let room = words.find(|token| !matches!(token.text, "crate" | "self"));
            if let Some(room) = room.filter(|room| ROOMS.contains(&room.text)) {
                out.extend(words.map(|token| (token.text, room.text)));
            }
        }
        out
    }

    /// The macros defined here, each with the room it belongs to: `macro_export` puts them at
    /// the root of the crate whatever room they live in.
    pub(crate) fn macros(&self) -> Vec<(&'a str, &'a str)> {
        let room = self.module()[0];
        let defined = |index: &usize| self.word(*index) == "macro_rules";
        (0..self.tokens.len())
            .filter(defined)
            .map(|index| (self.word(index + 2), room))
            .collect()
    }

    /// A test without a bound in time hangs for as long as its runner waits, and nobody learns
    /// which one it was.
    pub(crate) fn check_bounds(&self, out: &mut Vec<String>) {
        let starts = |index: usize, words: &[&str]| {
            let mut words = words.iter().enumerate();
            words.all(|(offset, word)| self.word(index + offset) == *word)
        };
        for index in 0..self.tokens.len() {
            if !starts(index, &["#", "[", "test", "]"]) {
                continue;
            }
            let body = (index..self.tokens.len()).find(|at| self.word(*at) == "{");
            let first = body.map_or(index, |at| at + 1);
            let bounded = starts(first, &["let", "_bound", "=", "bounded", "("])
                || starts(first, &["let", "_bound", "=", "bounded_by", "("]);
            if !bounded {
                let what = "bounds: a test without a bound; begin it with";
                let what = format!("{what} `let _bound = bounded();` (tests/bounded)");
                self.complain(out, self.tokens[index].line, &what);
            }
        }
    }

    pub(crate) fn check_lengths(&self, out: &mut Vec<String>) {
        let lines = self.text.lines().count();
        if lines > FILE_LINES_MAX {
            let what = format!("file length: {lines} lines, {FILE_LINES_MAX} is the wall; split");
            self.complain(out, lines, &format!("{what} it along its ideas"));
        }
        for (index, line) in self.text.lines().enumerate() {
            let chars = line.chars().count();
            if chars > LINE_CHARS_MAX {
                let what = format!("line length: {chars} of {LINE_CHARS_MAX} characters; break it");
                self.complain(out, index + 1, &what);
            }
        }
        for index in 0..self.tokens.len() {
            let named = self
                .tokens
                .get(index + 1)
                .is_some_and(|next| next.kind == Kind::Word);
            if self.word(index) != "fn" || !(named || self.word(index + 1) == "$") {
                continue;
            }
            let first = self.tokens[index].line;
            let lines = self
                .body_end(index)
                .map_or(0, |end| self.tokens[end].line - first + 1);
            if lines > FN_LINES_MAX {
                let name = self.word(index + 1);
                let what = format!("function length: {name} has {lines} of {FN_LINES_MAX} lines");
                self.complain(out, first, &format!("{what}; name its steps and split it"));
            }
        }
    }

    /// The closing brace of the function whose `fn` stands at `index`; none without a body.
    fn body_end(&self, index: usize) -> Option<usize> {
        let (mut braces, mut others) = (0_usize, 0_usize);
        for at in index..self.tokens.len() {
            match self.word(at) {
                "(" | "[" => others += 1,
                ")" | "]" => others = others.checked_sub(1)?,
                ";" if braces == 0 && others == 0 => return None,
                "{" if others == 0 || braces > 0 => braces += 1,
                "}" if braces == 1 => return Some(at),
                "}" if others == 0 || braces > 0 => braces = braces.checked_sub(1)?,
                _ => {}
            }
        }
        None
    }

    /// `cfg_attr` with a reason may leave a test out somewhere: it runs everywhere else.
    pub(crate) fn check_ignored(&self, out: &mut Vec<String>) {
        for (index, token) in self.tokens.iter().enumerate() {
            if token.text != "#" || self.word(index + 1) != "[" {
                continue;
            }
            let words = words::attribute(&self.tokens[index + 1..]);
            let conditional = words.first() == Some(&"cfg_attr");
            let ignore = (index..).take_while(|at| !matches!(self.word(*at), "]" | ""));
            let ignore = ignore.into_iter().find(|at| self.word(*at) == "ignore");
            let bare = ignore.is_some_and(|at| !conditional || self.word(at + 1) != "=");
            if bare && (conditional || words.first() == Some(&"ignore")) {
                let what = "ignored test: a test runs or is not there; mend it, move it to benches";
                self.complain(out, token.line, what);
            }
        }
    }

    /// The stairs: the file belongs to a room, and names no room above its own.
    pub(crate) fn check_room(&self, owners: &Owners, out: &mut Vec<String>) {
        let module = self.module();
        if rank(module[0]).is_none() {
            let what = "room: not in ROOMS of tests/tidy.rs; give it its place on the stairs there";
            return self.complain(out, 1, what);
        }
        if module[0] == "lib" || self.test_only {
            return;
        }
        for (index, token) in self.tokens.iter().enumerate() {
            let (inline, test_only) = self.places[index];
            let start = match token.text {
                "crate" => 0,
                "super" if index < 3 || self.word(index - 3) != "super" => {
                    (module.len() + inline).saturating_sub(1)
                }
                _ => continue,
            };
            if test_only || !self.is_path_sep(index + 1) {
                continue;
            }
            let in_macro = index > 0 && self.word(index - 1) == "$";
            let mut named = Vec::new();
            self.root_names(index + 3, start, &mut named);
            for (name, line) in named {
                if let Err(what) = owners.judge(module[0], name, in_macro) {
                    self.complain(out, line, &what);
                }
            }
        }
    }

    /// Collects what the path or `use` tree at `index` names directly below the crate's root,
    /// when it starts in a module `depth` steps below that root. Returns where it stopped.
    fn root_names(&self, index: usize, depth: usize, out: &mut Vec<(&'a str, usize)>) -> usize {
        match self.word(index) {
            "super" if self.is_path_sep(index + 1) => {
                self.root_names(index + 3, depth.saturating_sub(1), out)
            }
            "{" => {
                let mut at = index + 1;
                while at < self.tokens.len() && self.word(at) != "}" {
                    at = self.root_names(at, depth, out);
                    // To the next branch of the tree, past the rest of this one.
                    let mut open = 0;
                    while at < self.tokens.len() {
                        match self.word(at) {
                            "{" => open += 1,
                            "}" if open == 0 => break,
                            "}" => open -= 1,
                            "," if open == 0 => break,
                            _ => {}
                        }
                        at += 1;
                    }
                    at += usize::from(self.word(at) == ",");
                }
                at + 1
            }
            name => {
                if depth == 0 && !name.is_empty() {
                    out.push((name, self.tokens[index].line));
                }
                index + 1
            }
        }
    }

    pub(crate) fn check_doors(&self, out: &mut Vec<String>) {
        let room = self.module()[0];
        let lines = |word: &str| -> BTreeSet<usize> {
            let said = |token: &&Token| token.kind == Kind::Word && token.text == word;
            self.tokens
                .iter()
                .filter(said)
                .map(|token| token.line)
                .collect()
        };
        for (word, rooms) in DOORS.iter().filter(|(_, rooms)| !rooms.contains(&room)) {
            for line in lines(word) {
                let rooms = rooms.join(", ");
                let what = format!("door: only {rooms} may name {word}; go through there");
                self.complain(out, line, &what);
            }
        }
        let listed = UNSAFE_FILES.contains(&self.path);
        let lines = lines("unsafe");
        let first = lines.first().copied();
        if let Some(first) = first.filter(|_| !listed && !UNSAFE_ROOMS.contains(&room)) {
            let what = format!(
                "unsafe: not at home in {room}, here on {} lines",
                lines.len()
            );
            let advice = "use a safe door, or justify the file in UNSAFE_FILES of tests/tidy.rs";
            self.complain(out, first, &format!("{what}; {advice}"));
        }
        if listed && lines.is_empty() {
            let what = "unsafe: there is none here any more; take the file off UNSAFE_FILES";
            self.complain(out, 1, what);
        }
    }

    pub(crate) fn check_locks(&self, out: &mut Vec<String>) {
        let calls = ["lock", "(", ")", "."];
        for (index, token) in self.tokens.iter().enumerate() {
            let in_test = self.test_only || self.places[index].1;
            let locks = (0..)
                .zip(calls)
                .all(|(at, word)| self.word(index + at) == word)
                && self.word(index.saturating_sub(1)) == "."
                && matches!(self.word(index + 4), "unwrap" | "unwrap_or_else" | "expect");
            if locks && !in_test && !LOCK_FILES.contains(&self.path) {
                let what = "lock: of std's, which parks where a program is patched";
                let what = format!("{what}; go by sys::lock::lock, or see LOCK_FILES");
                self.complain(out, token.line, &what);
            }
        }
    }

    pub(crate) fn check_log(&self, out: &mut Vec<String>) {
        if self.path == LOG_FILE {
            return;
        }
        for (index, token) in self.tokens.iter().enumerate() {
            let before = |count| index.checked_sub(count).map_or("", |at| self.word(at));
            let imported = before(1) == "use" || self.word(index + 1) == "as";
            // A later part of a path names something of ours.
            let inner = before(1) == ":" && before(3).ends_with(char::is_alphanumeric);
            let named = token.kind == Kind::Word && token.text == "log" && !inner;
            if named && (imported || self.is_path_sep(index + 1)) {
                let what =
                    "log: the logger is foreign code, which may panic or park; go by report!";
                self.complain(out, token.line, what);
            }
        }
    }

    pub(crate) fn check_macros(&self, out: &mut Vec<String>) {
        for (index, token) in self.tokens.iter().enumerate() {
            let called = self.word(index + 1) == "!" && self.word(index + 2) != "=";
            let may_print = self.test_only || self.places[index].1 || self.path == PRINTING_FILE;
            let output = OUTPUT_MACROS.contains(&token.text) && !may_print;
            if called && (output || UNFINISHED_MACROS.contains(&token.text)) {
                let what = format!("macro: {}! has no place in src", token.text);
                let what = format!("{what}; finish the work, or use log or a returned value");
                self.complain(out, token.line, &what);
            }
        }
    }
}
