//! Texts with names in braces, `cam-{cn}`: what a client is called, and whose a path is.

use super::pattern::is_placeholder_name;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'t> {
    /// This text.
    Literal(&'t str),
    /// What stands in braces.
    Name(&'t str),
}

/// Takes a template apart.
///
/// # Errors
/// A sentence that says what is right.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(brace) = rest.find(['{', '}']) {
        if brace > 0 {
            pieces.push(Piece::Literal(&rest[..brace]));
        }
        let (name, after) = rest[brace..]
            .strip_prefix('{')
            .and_then(|inside| inside.split_once('}'))
            .ok_or("one brace without the other; expected a name in braces, like {cn}")?;
        if !is_placeholder_name(name) {
            return Err(format!(
                "{name:?} cannot stand in braces; expected a name of a-z, 0-9 and _"
            ));
        }
        pieces.push(Piece::Name(name));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_text_with_names_in_braces() {
        use Piece::{Literal, Name};

        assert_eq!(pieces("a"), Ok(vec![Literal("a")]));
        assert_eq!(
            pieces("cam-{cn}.{x_1}"),
            Ok(vec![Literal("cam-"), Name("cn"), Literal("."), Name("x_1")])
        );
        assert_eq!(pieces("{a}{b}"), Ok(vec![Name("a"), Name("b")]));
        assert_eq!(pieces(""), Ok(vec![]));
        for bad in ["{", "}", "a}", "{a", "{}", "{A}", "{{a}}", "{a}}"] {
            assert!(pieces(bad).is_err(), "{bad}");
        }
    }
}
