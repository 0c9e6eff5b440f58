//! What `portcullis passwd` does to words, texts and files.

use clap::{Args as _, FromArgMatches as _};
use std::error::Error;
use tempfile::TempDir;

use std::fs;
use std::path::Path;

use super::*;
use crate::config::users_file::FIRST_LINE;
use crate::config::users_file::testing::{folder_with, mode, names_in, roles, user, with_hashes};

fn parsed(line: &[&str]) -> Result<PasswdArgs, clap::Error> {
    let command = PasswdArgs::augment_args(clap::Command::new("passwd"));
    let words = ["passwd"].iter().chain(line);
    PasswdArgs::from_arg_matches(&command.try_get_matches_from(words)?)
}

fn run_line(line: &[&str]) -> Result<(), PasswdError> {
    run(parsed(line).unwrap())
}

// === Command line ===

#[test]
fn the_historic_line_is_understood() {
    let args = parsed(&[
        "--cipher",
        "bcrypt",
        "--file",
        "auth.conf",
        "--password",
        "word word",
        "ralph",
        "administrator",
        "user",
    ])
    .unwrap();
    assert_eq!(args.cipher, Cipher::Bcrypt);
    assert_eq!(args.file.as_deref(), Some(Path::new("auth.conf")));
    assert_eq!(args.password.unwrap().0.as_str(), "word word");
    assert_eq!(args.username.as_str(), "ralph");
    assert_eq!(args.roles, roles(&["administrator", "user"]));
}

#[test]
fn a_name_alone_means_argon2id_and_no_roles() {
    let args = parsed(&["ralph"]).unwrap();
    assert_eq!(
        (args.cipher, args.roles.len(), args.verify),
        (Cipher::Argon2id, 0, false)
    );
}

#[test]
fn lines_that_contradict_themselves_are_refused() {
    assert!(parsed(&["--verify", "--file", "f", "ralph"]).is_ok());
    assert!(parsed(&["--verify", "ralph"]).is_err());
    for instead in ["--disable", "--enable", "--remove"] {
        let with = |more: &[&str]| parsed(&[&[instead, "ralph"], more].concat());
        assert!(with(&["--file", "f"]).is_ok());
        for more in [
            &[][..],
            &["--file", "f", "view"],
            &["--file", "f", "--verify"],
            &["--file", "f", "--password", "x"],
            &["--file", "f", "--cipher", "bcrypt"],
        ] {
            assert!(with(more).is_err(), "{instead} {more:?}");
        }
    }
    assert!(parsed(&["--file", "f", "--disable", "--remove", "ralph"]).is_err());
    assert!(parsed(&["--verify", "--file", "f", "ralph", "view"]).is_err());
    assert!(parsed(&["--verify", "--file", "f", "--cipher", "bcrypt", "ralph"]).is_err());
    assert!(parsed(&[]).is_err());
}

#[test]
fn names_must_fit_and_others_are_refused() {
    for name in ["a", "ralph.x_y@plant+1-2", &"u".repeat(64)] {
        assert!(parsed(&[name]).is_ok(), "{name}");
    }
    for name in ["", "a b", "a:b", "ä", "a\n", "a/b", &"u".repeat(65)] {
        assert!(parsed(&[name]).is_err(), "{name}");
    }
    for role in ["view", "a-b_9"] {
        assert!(parsed(&["ralph", role]).is_ok(), "{role}");
    }
    for role in ["", "a.b", "a,b", "ä", "a]"] {
        assert!(parsed(&["ralph", role]).is_err(), "{role}");
    }
}

#[test]
fn debug_of_the_arguments_hides_the_password() {
    let args = parsed(&["--password", "hunter2", "ralph"]).unwrap();
    assert!(!format!("{args:?}").contains("hunter2"));
}

// === The password ===

#[test]
fn eight_characters_are_enough_and_seven_are_not() {
    for good in ["12345678", "pässwörd", "        ", &"x".repeat(1024)] {
        assert!(check_policy(good.as_bytes()).is_ok(), "{good}");
    }
    for short in ["", "1234567", "ääääääá"] {
        let error = check_policy(short.as_bytes()).unwrap_err();
        assert!(matches!(error, PasswdError::TooShort { .. }), "{short}");
    }
}

#[test]
fn a_password_too_long_or_with_a_nul_is_refused_rather_than_cut() {
    assert!(matches!(
        check_policy(&[b'x'; 1025]),
        Err(PasswdError::TooLong)
    ));
    assert!(matches!(
        check_policy(b"1234567\x008"),
        Err(PasswdError::ContainsNul)
    ));
}

#[test]
fn bcrypt_refuses_more_than_72_bytes_where_argon2id_does_not() {
    let long: Password = Zeroizing::new(vec![b'x'; 73]);
    assert!(matches!(
        hash(
            Cipher::Bcrypt,
            Argon2idParameters::default(),
            &user("ralph"),
            &long
        ),
        Err(HashError::TooLong { limit: 72, .. })
    ));
    assert!(
        hash(
            Cipher::Argon2id,
            Argon2idParameters::default(),
            &user("ralph"),
            &long
        )
        .is_ok()
    );
}

#[test]
fn a_line_of_any_length_is_either_whole_or_too_long() {
    for length in [1024, 1025, 1026, 1027, 100_000] {
        for end in ["", "\n", "\r\n"] {
            let line = secret::line(("x".repeat(length) + end).as_bytes()).unwrap();
            assert_eq!(
                check_policy(&line).is_ok(),
                length == 1024,
                "{length} {end:?}"
            );
        }
    }
}

// === Files ===

#[test]
fn a_new_file_is_private_and_says_what_it_is() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("users.yaml");
    let path = file.to_str().unwrap();
    run_line(&[
        "--file",
        path,
        "--password",
        "correct horse",
        "--cipher",
        "sha256",
        "ralph",
        "view",
    ])
    .unwrap();
    let hash = hash_sha256("ralph", b"correct horse");
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(
        text,
        format!("{FIRST_LINE}ralph:\n  password: \"{hash}\"\n  roles: [view]\n")
    );
    assert_eq!(mode(&file), 0o600);
    assert_eq!(names_in(folder.path()), ["users.yaml"]);
}

#[test]
fn of_many_who_set_passwords_at_the_same_moment_all_do() {
    const USERS: usize = 30;
    let (folder, file) = folder_with("ralph:\n  password: OLD\n");
    let path = file.to_str().unwrap();
    std::thread::scope(|scope| {
        for number in 0..USERS {
            scope.spawn(move || {
                let user = format!("user{number}");
                let words = ["--password", "correct horse", "--cipher", "sha256", &user];
                run_line(&[&["--file", path], &words[..]].concat()).unwrap();
            });
        }
    });
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with(&with_hashes("ralph:\n  password: OLD\n")));
    for number in 0..USERS {
        assert!(text.contains(&format!("\nuser{number}:\n")), "{number}");
    }
    assert_eq!(names_in(folder.path()), ["users.yaml"]);
}

#[test]
fn the_right_password_is_verified_and_a_wrong_one_is_not() {
    let (_folder, file) = folder_with(
        "ralph:\n  password: OLD\n12: {password: NEW}\nnone:\n  roles: [a]\nbad:\n  password: x\n",
    );
    let path = file.to_str().unwrap();
    let verify =
        |password, name| run_line(&["--verify", "--file", path, "--password", password, name]);
    assert!(verify("correctbatteryhorsestapler", "ralph").is_ok());
    assert!(matches!(
        verify("wrong", "ralph"),
        Err(PasswdError::WrongPassword { .. })
    ));
    // Stored passwords may be shorter than new ones.
    assert!(verify("pass5", "12").is_ok());
    assert!(matches!(
        verify("pass5", "anna"),
        Err(PasswdError::File(UsersFileError::NoSuchUser { .. }))
    ));
    assert!(matches!(
        verify("pass5", "none"),
        Err(PasswdError::File(UsersFileError::NoPassword { .. }))
    ));
    assert!(matches!(
        verify("x", "bad"),
        Err(PasswdError::File(UsersFileError::StoredHash { .. }))
    ));
    let (_folder, file) = folder_with("users:\n  ralph: {password: NEW}\n");
    assert!(
        run_line(&[
            "--verify",
            "--file",
            file.to_str().unwrap(),
            "--password",
            "pass5",
            "ralph"
        ])
        .is_ok()
    );
}

#[test]
fn what_was_set_is_verified() {
    let (_folder, file) = folder_with("users:\n  anna:\n    password: OLD\n");
    let path = file.to_str().unwrap();
    for cipher in ["argon2id", "sha256"] {
        run_line(&[
            "--file",
            path,
            "--password",
            "correct horse",
            "--cipher",
            cipher,
            "ralph",
        ])
        .unwrap();
        run_line(&[
            "--verify",
            "--file",
            path,
            "--password",
            "correct horse",
            "ralph",
        ])
        .unwrap();
    }
}

#[test]
fn a_refusal_names_file_and_line_and_leaves_every_byte() {
    let (folder, file) = folder_with("anna:\n  password: OLD\nralph: {password: OLD}");
    let before = fs::read(&file).unwrap();
    let path = file.to_str().unwrap();
    let error = run_line(&["--file", path, "--password", "correct horse", "ralph"]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("{path}:3: flow style ({{…}}) ")),
        "{error}"
    );
    let error = run_line(&["--file", path, "--password", "short", "anna"]).unwrap_err();
    assert!(error.to_string().contains("at least 8"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(names_in(folder.path()), ["users.yaml"]);

    fs::write(&file, "a: [").unwrap();
    let error = run_line(&["--file", path, "--password", "correct horse", "ralph"]).unwrap_err();
    assert!(
        matches!(error, PasswdError::File(UsersFileError::NotYaml { .. }))
            && error.source().is_some()
    );
    assert_eq!(fs::read(&file).unwrap(), b"a: [");
}
