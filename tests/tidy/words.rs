//! Rust cut into words: just enough to tell code from strings and comments.

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// An identifier or keyword.
    Word,
    /// One character of punctuation.
    Mark,
    /// A string, character, number or lifetime: its inside is nobody's business.
    Literal,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

/// Cuts Rust into tokens; comments, doc comments among them, leave nothing behind.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut out = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let (kind, len) = if first.is_whitespace() {
            (None, first.len_utf8())
        } else if rest.starts_with("//") {
            (None, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (None, block_comment(rest))
        } else if let Some(len) = quoted(rest) {
            (Some(Kind::Literal), len)
        } else if first.is_alphanumeric() || first == '_' {
            let kind = if first.is_ascii_digit() {
                Kind::Literal
            } else {
                Kind::Word
            };
            (Some(kind), word(rest))
        } else {
            (Some(Kind::Mark), first.len_utf8())
        };
        let text = &rest[..len];
        out.extend(kind.map(|kind| Token { kind, text, line }));
        line += text.matches('\n').count();
        at += len;
    }
    out
}

fn word(rest: &str) -> usize {
    rest.find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len())
}

/// The length of the block comment that starts here; they nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the string, character or lifetime that starts here, if one does.
fn quoted(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r"].into_iter().find(|prefix| {
        let after = rest.strip_prefix(prefix).unwrap_or("");
        let hashed = after.trim_start_matches('#').starts_with('"') && prefix.ends_with('r');
        after.starts_with('"') || hashed || (*prefix == "b" && after.starts_with('\''))
    });
    let prefix = prefix.unwrap_or("");
    let body = &rest[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let inside = &body[hashes + 1..];
        let close = inside
            .find(&end)
            .unwrap_or(inside.len() - end.len().min(inside.len()));
        return Some(prefix.len() + hashes + 1 + close + end.len());
    }
    let quote = body.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut inside = body[1..].chars();
    if quote == '\'' && inside.next() != Some('\\') && inside.next() != Some('\'') {
        return Some(1 + word(&body[1..])); // A lifetime or a label.
    }
    let mut escaped = false;
    let close = body[1..].find(|c| {
        let found = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        found
    });
    Some(prefix.len() + close.map_or(body.len(), |close| close + 2))
}

/// The words of the attribute whose `[` stands first.
pub(crate) fn attribute<'a>(tokens: &[Token<'a>]) -> Vec<&'a str> {
    let mut depth = 0;
    let mut words = Vec::new();
    for token in tokens {
        match token.text {
            "[" => depth += 1,
            _ if depth == 0 => break,
            "]" if depth == 1 => break,
            "]" => depth -= 1,
            text if token.kind == Kind::Word => words.push(text),
            _ => {}
        }
    }
    words
}

/// The names of `#[cfg(test)] mod name;`.
pub(crate) fn test_modules<'a>(tokens: &[Token<'a>]) -> Vec<&'a str> {
    let mut out = Vec::new();
    let mut marked = false;
    for (index, token) in tokens.iter().enumerate() {
        marked |= token.text == "#" && is_test_cfg(&tokens[index + 1..]);
        if let ("mod", [_, name, end, ..]) = (token.text, &tokens[index..])
            && marked
            && end.text == ";"
        {
            out.push(name.text);
        }
        marked &= !matches!(token.text, "{" | "}" | ";");
    }
    out
}

/// Whether the attribute that starts here keeps what follows for tests.
fn is_test_cfg(tokens: &[Token]) -> bool {
    let words = attribute(tokens);
    words.first() == Some(&"cfg") && words.contains(&"test") && !words.contains(&"not")
}

/// For each token: how many inline `mod` blocks it stands in, and whether one of them is
/// compiled for tests only.
pub(crate) fn places(tokens: &[Token]) -> Vec<(usize, bool)> {
    let mut open = vec![(0, false)];
    let (mut marked, mut module) = (false, false);
    let mut places = Vec::with_capacity(tokens.len());
    for (index, token) in tokens.iter().enumerate() {
        let (depth, test_only) = open.last().copied().unwrap_or_default();
        places.push((depth, test_only));
        match token.text {
            "#" => marked |= is_test_cfg(&tokens[index + 1..]),
            "mod" => module = true,
            "{" if module => open.push((depth + 1, test_only || marked)),
            "{" => open.push((depth, test_only)),
            "}" => drop(open.pop()),
            _ => {}
        }
        if matches!(token.text, "{" | "}" | ";") {
            (marked, module) = (false, false);
        }
    }
    places
}
