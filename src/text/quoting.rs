//! Quoted values: `nota="dos adultos"`. Inside the quotes, `\"` and `\\` are the only escapes.

/// Why a quoted value cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QuoteError {
    /// The closing quote is missing.
    Unclosed,
    /// A backslash is followed by something other than `"` or `\`.
    Escape,
    /// The closing quote is followed by something other than a space or a tab.
    NotLast,
}

/// Appends `option` and then `text` in quotes.
pub fn push_quoted(option: &str, text: &str, out: &mut String) {
    out.push_str(option);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// Reads a quoted value. `text` begins after the opening quote. Returns the value, in which tabs
/// have become spaces, and the text after the closing quote.
pub fn read_quoted(text: &str) -> Result<(String, &str), QuoteError> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let rest = &text[at + 1..];
                return match rest.is_empty() || rest.starts_with([' ', '\t']) {
                    true => Ok((value, rest)),
                    false => Err(QuoteError::NotLast),
                };
            }
            '\\' => match chars.next() {
                Some((_, c @ ('"' | '\\'))) => value.push(c),
                _ => return Err(QuoteError::Escape),
            },
            '\t' => value.push(' '),
            c => value.push(c),
        }
    }
    Err(QuoteError::Unclosed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_is_read_back() {
        for text in ["", "dos adultos", "\"", "\\", "a\\\"b\"", "ñ 字", "a=b, c"] {
            let mut line = String::new();
            push_quoted("nota=", text, &mut line);
            let quoted = line.strip_prefix("nota=\"").unwrap();
            assert_eq!(read_quoted(quoted), Ok((text.to_owned(), "")), "{line}");
        }
    }

    #[test]
    fn value_ends_at_the_closing_quote() {
        assert_eq!(read_quoted("a\tb\" c\""), Ok(("a b".to_owned(), " c\"")));
        assert_eq!(read_quoted("a\"\tb"), Ok(("a".to_owned(), "\tb")));
        assert_eq!(read_quoted("a\"b"), Err(QuoteError::NotLast));
        assert_eq!(read_quoted("a"), Err(QuoteError::Unclosed));
        assert_eq!(read_quoted("a\\nb\""), Err(QuoteError::Escape));
        assert_eq!(read_quoted("a\\"), Err(QuoteError::Escape));
    }
}
