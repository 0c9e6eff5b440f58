//! `${VAR}` and `${VAR:-default}` in a text of the configuration.
//!
//! This works on single texts, after the YAML was read, so that no value can add keys or lists.
//! A password hash holds `$` too; only `${` begins a variable, and `$${` stands for `${` itself.

/// What became of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Expanded {
    /// There was nothing to expand.
    Unchanged,
    /// Only defaults and `$${` were put in: the result was in the file.
    Public(String),
    /// The value of a variable is in it, which must not be repeated in messages.
    Private(String),
}

/// Why a text cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// The variable has no value, and no default is written.
    #[error(
        "the environment variable {0} is not set; set it, or write a default as ${{{0}:-value}}"
    )]
    Unset(String),
    /// `${` that begins no variable.
    #[error(
        "\"${{\" begins a variable, as ${{NAME}} or ${{NAME:-default}}; for the characters themselves write \"$${{\""
    )]
    Malformed,
}

/// Expands the variables in `text`. As in a shell, the default of `:-` also replaces an empty
/// value.
///
/// # Errors
/// [`ExpandError`] for a variable without value, or `${` that is none.
pub fn expand(
    text: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Expanded, ExpandError> {
    let mut result = String::new();
    let mut private = false;
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            result.push_str(before);
            result.push_str("${");
            rest = inside;
            continue;
        }
        let (reference, after) = inside.split_once('}').ok_or(ExpandError::Malformed)?;
        let reference = Reference::parse(reference)?;
        result.push_str(before);
        private |= reference.append_to(&mut result, &variable)?;
        rest = after;
    }
    if rest.len() == text.len() {
        return Ok(Expanded::Unchanged);
    }
    result.push_str(rest);
    Ok(if private {
        Expanded::Private(result)
    } else {
        Expanded::Public(result)
    })
}

/// What stands between the braces.
struct Reference<'t> {
    name: &'t str,
    default: Option<&'t str>,
}

impl<'t> Reference<'t> {
    fn parse(text: &'t str) -> Result<Self, ExpandError> {
        let (name, default) = match text.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (text, None),
        };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let begins_well = name.starts_with(|c: char| !c.is_ascii_digit());
        if !begins_well || !name.bytes().all(legal) {
            return Err(ExpandError::Malformed);
        }
        Ok(Self { name, default })
    }

    /// Appends what the variable stands for; `true` when that came from the variable itself.
    fn append_to(
        &self,
        result: &mut String,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<bool, ExpandError> {
        match (variable(self.name), self.default) {
            (Some(value), default) if !value.is_empty() || default.is_none() => {
                result.push_str(&value);
                Ok(true)
            }
            (_, Some(default)) => {
                result.push_str(default);
                Ok(false)
            }
            (_, None) => Err(ExpandError::Unset(self.name.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("device".into()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${HOST}\nadmin: yes".into()),
            _ => None,
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<Expanded, ExpandError>) {
        assert_eq!(expand(text, variable), expected, "{text}");
    }

    #[test]
    fn variables_and_defaults_are_put_in() {
        let private = |text: &str| Ok(Expanded::Private(text.into()));
        let public = |text: &str| Ok(Expanded::Public(text.into()));
        check("${HOST}", private("device"));
        check("http://${HOST}:80/", private("http://device:80/"));
        check("${HOST}${HOST:-x}", private("devicedevice"));
        check("${EMPTY}", private(""));
        check("${EMPTY:-x}", public("x"));
        check("${NONE:-a:-b}", public("a:-b"));
        check("${NONE:-}", public(""));
        check("${NONE:-x}${HOST}", private("xdevice"));
    }

    #[test]
    fn a_value_is_put_in_as_it_is() {
        let trick = "${HOST}\nadmin: yes";
        check("${TRICK}", Ok(Expanded::Private(trick.into())));
    }

    #[test]
    fn dollar_signs_of_their_own_stay() {
        for text in [
            "",
            "plain",
            "$argon2id$v=19$m=1",
            "$2b$12$abc",
            "a$",
            "$HOST",
            "{x}",
        ] {
            check(text, Ok(Expanded::Unchanged));
        }
        let public = |text: &str| Ok(Expanded::Public(text.into()));
        check("$${HOST}", public("${HOST}"));
        check("a$${b}${NONE:-c}", public("a${b}c"));
    }

    #[test]
    fn what_has_no_value_is_refused() {
        check("${NONE}", Err(ExpandError::Unset("NONE".into())));
        for text in [
            "${",
            "${HOST",
            "${}",
            "${:-x}",
            "${1A}",
            "${a b}",
            "${HOST-x}",
        ] {
            check(text, Err(ExpandError::Malformed));
        }
    }
}
