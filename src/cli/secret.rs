//! A secret from whoever started a command: asked for on a terminal, otherwise one line of standard
//! input for each.

use std::io::{self, BufRead, IsTerminal as _};

use zeroize::Zeroizing;

use crate::password::stored::MAX_PASSWORD_BYTES;

pub(super) type Secret = Zeroizing<Vec<u8>>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Once,
    /// What is set anew, so that a slip of a finger locks nobody out.
    Twice,
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("cannot read it")]
    Read(#[from] io::Error),
    #[error("the two differ")]
    Mismatch,
}

/// Asks with this prompt, which ends in a colon and a space.
pub(super) fn ask(prompt: &str, times: Ask) -> Result<Secret, AskError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Ok(line(stdin.lock())?);
    }
    let typed =
        |text: &str| rpassword::prompt_password(text).map(|word| Zeroizing::new(word.into_bytes()));
    let secret = typed(prompt)?;
    if times == Ask::Twice && typed("The same again: ")? != secret {
        return Err(AskError::Mismatch);
    }
    Ok(secret)
}

/// One line without its end, and not much more of it than a password may have: enough to tell that
/// it is too long.
pub(super) fn line(input: impl BufRead) -> io::Result<Secret> {
    let most = MAX_PASSWORD_BYTES + "\r\n".len() + 1;
    // Large enough from the start: growing would leave copies of the secret behind.
    let mut line = Zeroizing::new(Vec::with_capacity(most));
    input.take(most as u64).read_until(b'\n', &mut line)?;
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_taken_off_and_nothing_else() {
        for (input, password) in [
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            ("secret", "secret"),
            ("secret\n\n", "secret"),
            ("secret\nmore\n", "secret"),
            (" a b \t\n", " a b \t"),
            ("a\rb\n", "a\rb"),
            ("secret\r", "secret\r"),
            ("\n", ""),
            ("", ""),
        ] {
            assert_eq!(
                line(input.as_bytes()).unwrap().as_slice(),
                password.as_bytes()
            );
        }
    }
}
