//! What becomes of the texts and files of users.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

use serde_yaml::Value;
use tempfile::TempDir;

use super::edit::{Change, EditError, edit, entry, flow_list};
use super::testing::{NEW, OLD, folder_with, mode, names_in, roles, user, with_hashes};
use super::tokens::{AbilityName, ListedToken, TokenEntry, add, listed, revoke};
use super::*;

fn edited(old: &str, name: &str, new_roles: &[&str]) -> Result<String, (usize, Obstacle)> {
    let change = Change {
        user: &user(name),
        hash: NEW,
        roles: &roles(new_roles),
    };
    edit(old, &change).map_err(why)
}

#[track_caller]
fn why(error: EditError) -> (usize, Obstacle) {
    match error {
        EditError::Refused(line, obstacle) => (line + 1, obstacle),
        EditError::NotYaml(error) => panic!("not YAML: {error}"),
        EditError::NoSuchUser => panic!("no such user"),
        EditError::NoSuchToken(name) => panic!("no token {name}"),
        EditError::TokenExists(name) => panic!("there is a token {name}"),
    }
}

#[track_caller]
fn check(old: &str, name: &str, roles: &[&str], new: &str) {
    assert_eq!(edited(&with_hashes(old), name, roles), Ok(with_hashes(new)));
}

#[track_caller]
fn refused(old: &str, name: &str, line: usize, obstacle: Obstacle) {
    assert_eq!(
        edited(&with_hashes(old), name, &["view"]),
        Err((line, obstacle))
    );
}

// === YAML written ===

#[test]
fn the_entry_is_yaml_for_the_users_file() {
    assert_eq!(
        entry(&user("ralph"), "$2b$x", &roles(&["a", "b"])),
        "ralph:\n  password: \"$2b$x\"\n  roles: [a, b]\n"
    );
    assert_eq!(
        entry(&user("ralph"), "x", &[]),
        "ralph:\n  password: \"x\"\n"
    );
}

#[test]
fn every_name_is_read_back_as_the_same_text() {
    for name in [
        "ralph",
        "123",
        "1e3",
        "0x1F",
        "1_000",
        "-",
        "--",
        "---",
        "-a",
        "+1",
        ".5",
        ".inf",
        ".nan",
        "@a",
        "_",
        "_a",
        "true",
        "No",
        "NULL",
        "y",
        "a@b.c",
        "2026-01-01",
        "e5",
        "on",
        "null",
        "Off",
        "users",
    ] {
        let text = entry(&user(name), "x", &[]);
        let value: Value = serde_yaml::from_str(&text).unwrap();
        assert!(value[name]["password"] == "x", "{text}");
        assert_eq!(
            edited(&text, name, &[]).unwrap(),
            entry(&user(name), NEW, &[])
        );
    }
    for role in ["view", "1", "-", "no", "_", "true"] {
        let value: Value = serde_yaml::from_str(&flow_list(&roles(&[role]))).unwrap();
        assert!(value[0] == role, "{role}");
    }
}

// === Editing: what is kept and what is changed ===

#[test]
fn only_the_password_of_the_user_changes_and_all_else_stays() {
    let old = "# Users\n\nralph:   # the boss\n  # set in May\n  password:   \"OLD\"   # temporary\n\n  \
               roles: [administrator]  # all\n  email: ralph@x\n\n# the others\nanna:\n    roles:\n    - view\n    \
               password: OLD\n\n# end\n";
    let new = old.replacen("\"OLD\"", "\"NEW\"", 1);
    check(old, "ralph", &[], &new);
    check(
        old,
        "anna",
        &[],
        &old.replace("password: OLD", "password: \"NEW\""),
    );
}

#[test]
fn roles_change_only_if_some_are_given() {
    let old = "ralph:\n  roles: [a, 'b c', \"]\"] # x\n  password: OLD\n";
    check(
        old,
        "ralph",
        &[],
        "ralph:\n  roles: [a, 'b c', \"]\"] # x\n  password: \"NEW\"\n",
    );
    check(
        old,
        "ralph",
        &["view", "no"],
        "ralph:\n  roles: [view, \"no\"] # x\n  password: \"NEW\"\n",
    );
}

#[test]
fn roles_one_a_line_keep_their_comments() {
    let old = "ralph:\n  password: 'OLD'\n  roles:  # why\n    - view # to look\n    # careful\n    - edit\n\n    - admin\nanna: {}\n";
    check(
        old,
        "ralph",
        &["view", "admin"],
        "ralph:\n  password: \"NEW\"\n  roles:  # why\n    - view # to look\n    # careful\n    - admin\n\nanna: {}\n",
    );
    check(
        "ralph:\n  password: OLD\n  roles:\n  - \"view\"\n  email: x\n",
        "ralph",
        &["edit", "view", "1"],
        "ralph:\n  password: \"NEW\"\n  roles:\n  - edit\n  - \"view\"\n  - \"1\"\n  email: x\n",
    );
}

#[test]
fn fields_that_are_missing_are_added() {
    check(
        "ralph:\n    disabled: true\n    roles: [b] # x\nanna:\n",
        "ralph",
        &["a"],
        "ralph:\n    password: \"NEW\"\n    disabled: true\n    roles: [a] # x\nanna:\n",
    );
    check(
        "ralph:\n  roles: [a]\n",
        "ralph",
        &["b"],
        "ralph:\n  password: \"NEW\"\n  roles: [b]\n",
    );
    check(
        "ralph:\n  password: OLD\n",
        "ralph",
        &["b"],
        "ralph:\n  password: \"NEW\"\n  roles: [b]\n",
    );
    check(
        "ralph: # soon\n",
        "ralph",
        &["a"],
        "ralph: # soon\n  password: \"NEW\"\n  roles: [a]\n",
    );
    check(
        "ralph:\n  password:\n  roles: # none\n",
        "ralph",
        &["a"],
        "ralph:\n  password: \"NEW\"\n  roles: [a] # none\n",
    );
}

#[test]
fn a_new_user_goes_to_the_end() {
    let added = "ralph:\n  password: \"NEW\"\n  roles: [a]\n";
    check("", "ralph", &["a"], added);
    check("# nobody\n", "ralph", &["a"], &format!("# nobody\n{added}"));
    check("---\n", "ralph", &["a"], &format!("---\n{added}"));
    let old = "anna: {password: OLD}\n# end\n";
    check(old, "ralph", &["a"], &format!("{old}{added}"));
    check(
        "anna:\n    password: OLD\n",
        "ralph",
        &[],
        "anna:\n    password: OLD\nralph:\n    password: \"NEW\"\n",
    );
}

#[test]
fn users_may_be_one_level_deeper() {
    let old = "listeners:\n- address: :80\nusers: # all\n   anna:\n      password: OLD\n   # anna's end\n# users' end\nroles: {a: [b]}\n";
    check(old, "anna", &[], &old.replace("OLD", "\"NEW\""));
    check(
        old,
        "ralph",
        &["a"],
        &old.replace(
            "# users' end",
            "   ralph:\n      password: \"NEW\"\n      roles: [a]\n# users' end",
        ),
    );
    check(
        "users:\n",
        "ralph",
        &[],
        "users:\n  ralph:\n    password: \"NEW\"\n",
    );
}

#[test]
fn a_user_may_be_called_users() {
    check(
        "users:\n  password: OLD\n",
        "users",
        &[],
        "users:\n  password: \"NEW\"\n",
    );
}

#[test]
fn quoted_names_are_found_and_those_that_are_no_text_are_refused() {
    check(
        "\"ralph\" :\n  'password': OLD\n",
        "ralph",
        &[],
        "\"ralph\" :\n  'password': \"NEW\"\n",
    );
    check(
        "'123':\n  password: OLD\n",
        "123",
        &[],
        "'123':\n  password: \"NEW\"\n",
    );
    // The gate would not read such a file, whoever in it is changed.
    for key in ["123", "1e3", "true", "null"] {
        let text = format!("ralph:\n  password: OLD\n{key}:\n  password: OLD\n");
        refused(&text, "ralph", 3, Obstacle::NameIsNotText);
    }
    check(
        "'it''s':\n  password: OLD\nit:\n  password: OLD\n",
        "it",
        &[],
        "'it''s':\n  password: OLD\nit:\n  password: \"NEW\"\n",
    );
}

#[test]
fn line_ends_stay_as_they_are() {
    let old = "\u{feff}# a\r\nralph:\r\n  password: OLD\r\n";
    check(
        old,
        "ralph",
        &["a"],
        "\u{feff}# a\r\nralph:\r\n  password: \"NEW\"\r\n  roles: [a]\r\n",
    );
    check(
        "a:\r\n  password: OLD",
        "a",
        &[],
        "a:\r\n  password: \"NEW\"",
    );
    check(
        "a:\n  password: OLD\r\n  roles: [a]\n",
        "a",
        &[],
        "a:\n  password: \"NEW\"\r\n  roles: [a]\n",
    );
    check(
        "a:\n  password: OLD",
        "b",
        &[],
        "a:\n  password: OLD\nb:\n  password: \"NEW\"",
    );
}

#[test]
fn texts_of_several_lines_elsewhere_do_no_harm() {
    let old = "anna:\n  note: |\n    ralph:\n      password: x\n  bio: \"a\n    b: c\"\n  roles: [a,\n    b]\nralph:\n  password: OLD\n";
    check(old, "ralph", &[], &old.replace("OLD", "\"NEW\""));
}

// === Editing: what is refused ===

#[test]
fn flow_style_is_refused_for_the_user_and_at_the_top() {
    let old = "anna:\n  password: OLD\nralph: {password: OLD}\n";
    refused(old, "ralph", 3, Obstacle::FlowStyle);
    check(old, "anna", &[], &old.replacen("OLD", "\"NEW\"", 1));
    refused(
        "# x\n{ralph: {password: OLD}}\n",
        "ralph",
        2,
        Obstacle::FlowStyle,
    );
    refused("{}", "ralph", 1, Obstacle::FlowStyle);
    refused("users: {}\n", "ralph", 1, Obstacle::FlowStyle);
    refused(
        "ralph:\n  {password: OLD}\n",
        "ralph",
        2,
        Obstacle::FlowStyle,
    );
}

#[test]
fn anchors_aliases_merges_and_tags_are_refused() {
    refused(
        "anna: &a\n  password: OLD\nralph:\n  <<: *a\n",
        "ralph",
        1,
        Obstacle::Anchor,
    );
    refused(
        "anna:\n  password: &a OLD\nralph:\n  password: *a\n",
        "ralph",
        2,
        Obstacle::Anchor,
    );
    refused(
        "anna:\n  roles:\n  - &a view\nralph:\n  password: OLD\n",
        "ralph",
        3,
        Obstacle::Anchor,
    );
    refused(
        "x: &x 1\nusers:\n  ralph:\n    password: OLD\n    n: *x\n",
        "ralph",
        5,
        Obstacle::Anchor,
    );
    refused(
        "users: &u\n  ralph:\n    password: OLD\n",
        "ralph",
        1,
        Obstacle::Anchor,
    );
    refused("&a ralph:\n  password: OLD\n", "ralph", 1, Obstacle::Anchor);
    refused(
        "ralph:\n  password: !secret OLD\n",
        "ralph",
        2,
        Obstacle::Anchor,
    );
    check(
        "x: &x 1\nusers:\n  ralph:\n    password: OLD\n",
        "ralph",
        &[],
        "x: &x 1\nusers:\n  ralph:\n    password: \"NEW\"\n",
    );
}

#[test]
fn an_anchor_hidden_in_a_list_does_not_change_another_user() {
    let old =
        "ralph:\n  password: OLD\n  roles: [&a edit]\nanna:\n  password: OLD\n  roles: [*a]\n";
    refused(old, "ralph", 1, Obstacle::Unclear);
    check(old, "ralph", &[], &old.replacen("OLD", "\"NEW\"", 1));
}

#[test]
fn tabs_in_the_indentation_are_refused() {
    refused(
        "ralph:\n  password: \"a\n\tb\"\n",
        "ralph",
        3,
        Obstacle::Tab,
    );
    check(
        "ralph:\n  password:\tOLD\n",
        "ralph",
        &[],
        "ralph:\n  password:\t\"NEW\"\n",
    );
}

#[test]
fn duplicates_are_refused_with_both_lines() {
    let first = |first| Obstacle::Duplicate { first };
    refused(
        "ralph:\n  password: OLD\nralph:\n  password: OLD\n",
        "ralph",
        3,
        first(1),
    );
    refused(
        "users:\n  a:\n    roles: []\n  'a':\n    roles: []\n",
        "ralph",
        4,
        first(2),
    );
    refused(
        "ralph:\n  password: OLD\n  roles: []\n  password: OLD\n",
        "anna",
        4,
        first(2),
    );
    refused(
        "12:\n  password: OLD\n\"12\":\n  password: OLD\n",
        "12",
        3,
        first(1),
    );
}

#[test]
fn several_documents_and_directives_are_refused() {
    refused(
        "ralph:\n  password: OLD\n...\n",
        "ralph",
        3,
        Obstacle::Documents,
    );
    refused(
        "%YAML 1.2\n---\nralph:\n  password: OLD\n",
        "ralph",
        1,
        Obstacle::Documents,
    );
    refused("--- {a: {password: x}}\n", "ralph", 1, Obstacle::Documents);
    check(
        "# x\n--- # y\nralph:\n  password: OLD\n",
        "ralph",
        &[],
        "# x\n--- # y\nralph:\n  password: \"NEW\"\n",
    );
}

#[test]
fn a_file_of_something_else_is_refused() {
    refused("listeners:\n- address: x\n", "ralph", 1, Obstacle::NotAUser);
    refused(
        "# x\nadmin:\n  address: x\n",
        "ralph",
        2,
        Obstacle::NotAUser,
    );
    refused("ralph: OLD\n", "ralph", 1, Obstacle::NotAUser);
    refused("users: /etc/users.yaml\n", "ralph", 1, Obstacle::NotAUser);
    refused("users:\n- ralph\n", "ralph", 1, Obstacle::NotAUser);
    refused("- ralph\n", "ralph", 1, Obstacle::NotAKey);
    refused("ralph\n", "ralph", 1, Obstacle::NotAKey);
    refused("? ralph\n: password: OLD\n", "ralph", 1, Obstacle::NotAKey);
    refused(
        "users:\n  ralph: OLD\n  anna:\n    password: OLD\n",
        "ralph",
        1,
        Obstacle::NotAUser,
    );
}

#[test]
fn values_that_are_not_on_their_line_are_refused() {
    for password in [
        "|\n    OLD",
        ">-\n    OLD",
        "\"a\n    b\"",
        "a\n    b",
        "{file: x}",
    ] {
        refused(
            &format!("ralph:\n  password: {password}\n"),
            "ralph",
            2,
            Obstacle::NotOneLine,
        );
    }
    refused(
        "ralph:\n  password:\n    OLD\n",
        "ralph",
        2,
        Obstacle::NotOneLine,
    );
    refused(
        "ralph:\n  password: OLD\n  roles: [a,\n    b]\n",
        "ralph",
        3,
        Obstacle::NotOneLine,
    );
    refused(
        "ralph:\n  password: OLD\n  roles:\n  - {a: b}\n",
        "ralph",
        4,
        Obstacle::NotOneLine,
    );
    refused(
        "ralph:\n  password: OLD\n  roles:\n  - a\n    b\n",
        "ralph",
        5,
        Obstacle::NotOneLine,
    );
}

#[test]
fn what_only_looks_like_a_user_is_refused() {
    refused(
        "ralph:\n  password: \"x\nanna: y\"\n",
        "anna",
        1,
        Obstacle::Unclear,
    );
    refused(
        "ralph:\n  roles: []\n  bio: \"x\n  password: y\"\n",
        "ralph",
        1,
        Obstacle::Unclear,
    );
    refused("a\rb:\n  password: OLD\n", "ralph", 1, Obstacle::LineBreak);
    refused(
        "# a\u{2028}b\nralph:\n  password: OLD\n",
        "ralph",
        1,
        Obstacle::LineBreak,
    );
}

#[test]
fn no_text_panics_and_every_edit_keeps_the_other_lines() {
    let sample = "# é\r\n\"users\": # x\n  ralph:\n    password: 'OLD' # y\n    roles:\n    - \"a\"\n    - b\n  \
                  anna: {password: \"OLD\", roles: [a, 'b']}\n  carl:\n    note: |\n      x: *y\nroles: {}";
    for at in sample.char_indices().map(|(at, _)| at) {
        for piece in [
            "", "\n", "\t", "\"", "'", "[", "}", ": ", "- ", "&a ", "#", " #", "é", "\\", "\r",
            "---\n", "  ",
        ] {
            for text in [
                format!("{}{piece}{}", &sample[..at], &sample[at..]),
                format!("{}{piece}", &sample[..at]),
            ] {
                for disabled in [true, false] {
                    drop(set_disabled(&text, &user("ralph"), disabled));
                    drop(remove(&text, &user("carl")));
                }
                let change = Change {
                    user: &user("ralph"),
                    hash: NEW,
                    roles: &roles(&["c", "b"]),
                };
                let Ok(new) = edit(&text, &change) else {
                    continue;
                };
                let has = |line: &&str| new.contains(line.trim_end());
                let lost: Vec<&str> = text.lines().filter(|line| !has(line)).collect();
                let may_change = |line: &&str| {
                    line.contains("pass") || line.contains('-') || line.contains("roles")
                };
                assert!(lost.iter().all(may_change), "{text}\n=>\n{new}\n{lost:?}");
            }
        }
    }
}

// === Disabling and removing ===

#[test]
fn a_user_is_disabled_and_enabled_and_all_else_stays() {
    let switched = |text: &str, name: &str, disabled| {
        set_disabled(&with_hashes(text), &user(name), disabled).map_err(why)
    };
    let check = |old: &str, name, disabled, new: &str| {
        assert_eq!(switched(old, name, disabled), Ok(with_hashes(new)));
    };
    let ralph = "# all\nralph:  # r\n  roles:\n  - a  # why\n  password: OLD\n  # end\nanna:\n  password: OLD\n";
    let disabled = ralph.replace("OLD\n  # end", "OLD\n  disabled: true\n  # end");
    check(ralph, "ralph", true, &disabled);
    check(&disabled, "ralph", true, &disabled);
    let enabled = disabled.replace("true", "false");
    check(&disabled, "ralph", false, &enabled);
    check(&enabled, "ralph", true, &disabled);
    // Who is not disabled is enabled already.
    check(ralph, "ralph", false, ralph);
    check(
        "users:\r\n    '12':\r\n        password: OLD # p",
        "12",
        true,
        "users:\r\n    '12':\r\n        password: OLD # p\r\n        disabled: true",
    );
    let commented = "a:\n  disabled: no-one # x\n  roles: b\n";
    check(
        commented,
        "a",
        true,
        "a:\n  disabled: true # x\n  roles: b\n",
    );
    for (text, line, obstacle) in [
        ("ralph: {password: OLD}\n", 1, Obstacle::FlowStyle),
        ("ralph: &r\n  password: OLD\n", 1, Obstacle::Anchor),
        (
            "ralph:\n  disabled:\n    true\n  roles: a\n",
            2,
            Obstacle::NotOneLine,
        ),
    ] {
        assert_eq!(
            switched(text, "ralph", true),
            Err((line, obstacle)),
            "{text}"
        );
    }
    assert!(matches!(
        set_disabled("", &user("ralph"), true),
        Err(EditError::NoSuchUser)
    ));
}

#[test]
fn a_user_is_removed_and_all_others_and_every_comment_outside_stay() {
    let without = |text: &str, name: &str| remove(&with_hashes(text), &user(name)).map_err(why);
    let check = |old: &str, name, new: &str| {
        assert_eq!(without(old, name), Ok(with_hashes(new)), "{old}");
    };
    let both =
        "# all\nralph:\n  password: OLD\n  # his\n  roles: [a]\n# of anna\nanna: {password: OLD}\n";
    check(both, "ralph", "# all\n# of anna\nanna: {password: OLD}\n");
    check(
        both,
        "anna",
        "# all\nralph:\n  password: OLD\n  # his\n  roles: [a]\n# of anna\n",
    );
    check("ralph:\n  password: OLD", "ralph", "");
    check("# x\nralph:\n  password: OLD\n", "ralph", "# x\n");
    check("users:\n  ralph:\n    password: OLD\n", "ralph", "users:\n");
    let anchored = "ralph: &r\n  password: OLD\nanna: *r\n";
    assert_eq!(without(anchored, "ralph"), Err((1, Obstacle::Anchor)));
    assert!(matches!(
        remove(both, &user("nobody")),
        Err(EditError::NoSuchUser)
    ));
}

// === Files ===

#[test]
fn the_mode_and_owner_of_the_file_stay() {
    let (_folder, file) = folder_with("ralph:\n  password: OLD\n");
    // Works for root alone; for anybody else the owner stays anyway.
    let _ = chown(&file, Some(12345), Some(12345));
    let owner = |file: &Path| {
        fs::metadata(file)
            .map(|data| (data.uid(), data.gid()))
            .unwrap()
    };
    for wanted in [0o640, 0o600, 0o664] {
        fs::set_permissions(&file, Permissions::from_mode(wanted)).unwrap();
        let before = owner(&file);
        let change = Change {
            user: &user("ralph"),
            hash: NEW,
            roles: &[],
        };
        UsersFile::read(&file).unwrap().change(&change).unwrap();
        assert_eq!((mode(&file), owner(&file)), (wanted, before));
    }
}

#[test]
fn a_symbolic_link_stays_and_its_target_is_edited() {
    let (folder, file) = folder_with("ralph:\n  password: OLD\n");
    let links = TempDir::new().unwrap();
    let link = links.path().join("link.yaml");
    symlink(&file, &link).unwrap();
    let change = Change {
        user: &user("ralph"),
        hash: NEW,
        roles: &[],
    };
    UsersFile::read(&link).unwrap().change(&change).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        with_hashes("ralph:\n  password: \"NEW\"\n")
    );
    assert_eq!(names_in(folder.path()), ["users.yaml"]);
    assert_eq!(names_in(links.path()), ["link.yaml"]);
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let link = folder.path().join("link.yaml");
    symlink(folder.path().join("nowhere"), &link).unwrap();
    assert!(matches!(
        UsersFile::read(&link),
        Err(UsersFileError::DanglingLink { .. })
    ));
    assert!(matches!(
        UsersFile::read(folder.path()),
        Err(UsersFileError::NotAFile { .. })
    ));
    let nowhere = folder.path().join("no/users.yaml");
    assert!(matches!(
        UsersFile::read(&nowhere),
        Err(UsersFileError::Read { .. })
    ));
    let binary = folder.path().join("binary");
    fs::write(&binary, [0xff, 0xfe]).unwrap();
    assert!(matches!(
        UsersFile::read(&binary),
        Err(UsersFileError::NotText { .. })
    ));
}

#[test]
fn a_file_that_somebody_else_changed_meanwhile_is_left_to_them() {
    let (folder, file) = folder_with("ralph:\n  password: OLD\n");
    let change = Change {
        user: &user("ralph"),
        hash: NEW,
        roles: &[],
    };
    let read = UsersFile::read(&file).unwrap();
    fs::write(&file, "# theirs\n").unwrap();
    assert!(matches!(
        read.change(&change),
        Err(UsersFileError::ChangedMeanwhile { .. })
    ));
    assert_eq!(fs::read(&file).unwrap(), b"# theirs\n");

    let new = folder.path().join("new.yaml");
    let read = UsersFile::read(&new).unwrap();
    fs::write(&new, "# theirs\n").unwrap();
    assert!(matches!(
        read.change(&change),
        Err(UsersFileError::ChangedMeanwhile { .. })
    ));
    assert_eq!(fs::read(&new).unwrap(), b"# theirs\n");
    assert_eq!(names_in(folder.path()), ["new.yaml", "users.yaml"]);
}

#[test]
fn a_file_with_another_name_is_refused_and_both_names_keep_it() {
    let (folder, file) = folder_with("ralph:\n  password: OLD\n");
    let other = folder.path().join("other.yaml");
    fs::hard_link(&file, &other).unwrap();
    let before = fs::read(&file).unwrap();
    let read = UsersFile::read(&file).unwrap();
    for done in [
        read.set_disabled(&user("ralph"), true),
        rehash(&file, &user("ralph"), fingerprint(OLD), NEW).map(drop),
    ] {
        let error = done.unwrap_err();
        assert!(error.to_string().contains("a hard link"), "{error}");
    }
    assert_eq!(fs::read(&other).unwrap(), before);
    assert_eq!(fs::metadata(&file).unwrap().nlink(), 2);
    assert_eq!(names_in(folder.path()), ["other.yaml", "users.yaml"]);
    fs::remove_file(&other).unwrap();
    let read = UsersFile::read(&file).unwrap();
    read.set_disabled(&user("ralph"), true).unwrap();
}

#[test]
fn a_pipe_in_the_place_of_the_file_is_refused_at_once() {
    let (_folder, file) = folder_with("ralph:\n  password: OLD\n");
    let read = UsersFile::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.unwrap().success());
    assert!(matches!(
        UsersFile::read(&file),
        Err(UsersFileError::NotAFile { .. })
    ));
    assert!(matches!(
        read.set_disabled(&user("ralph"), true),
        Err(UsersFileError::Write { .. })
    ));
}

#[test]
fn who_holds_the_folder_keeps_nobody_from_changing_a_password() {
    let (folder, file) = folder_with("ralph:\n  password: OLD\n");
    let theirs = File::open(folder.path()).unwrap();
    theirs.lock().unwrap();
    let read = UsersFile::read(&file).unwrap();
    read.set_disabled(&user("ralph"), true).unwrap();
    assert_eq!(names_in(folder.path()), ["users.yaml"]);
}

#[test]
fn what_was_left_by_one_who_was_killed_goes_with_the_next_change() {
    let (folder, file) = folder_with("ralph:\n  password: OLD\n");
    let left = File::create(folder.path().join(".portcullis-0123456789abcdef")).unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(600);
    left.set_modified(long_ago).unwrap();
    File::create(folder.path().join(".users.yaml.lock")).unwrap();
    let lock = folder.path().join(".users.yaml.lock");
    fs::set_permissions(lock, Permissions::from_mode(0o600)).unwrap();
    let read = UsersFile::read(&file).unwrap();
    read.set_disabled(&user("ralph"), true).unwrap();
    assert_eq!(names_in(folder.path()), ["users.yaml"]);
}

// === Better hashes ===

fn fingerprint(hash: &str) -> u64 {
    StoredPassword::parse(hash).unwrap().fingerprint()
}

#[test]
fn a_better_hash_takes_the_place_of_the_very_one_it_is_for_and_of_no_other() {
    let (_folder, file) = folder_with("ralph:  # r\n  password: OLD  # o\nanna: {password: OLD}\n");
    let put = |name, verified| rehash(&file, &user(name), fingerprint(verified), NEW);
    let text = || fs::read_to_string(&file).unwrap();
    let before = text();
    assert_eq!(put("ralph", NEW).unwrap(), Rehashed::Superseded);
    assert_eq!(put("nobody", OLD).unwrap(), Rehashed::Superseded);
    assert!(matches!(
        put("anna", OLD),
        Err(UsersFileError::Refused { line: 3, .. })
    ));
    fs::set_permissions(&file, Permissions::from_mode(0o444)).unwrap();
    assert!(matches!(
        put("ralph", OLD),
        Err(UsersFileError::ReadOnly { .. })
    ));
    assert_eq!(text(), before);
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(put("ralph", OLD).unwrap(), Rehashed::Written);
    let expected = "ralph:  # r\n  password: \"NEW\"  # o\nanna: {password: OLD}\n";
    assert_eq!(text(), with_hashes(expected));
}

#[test]
fn of_many_who_write_at_the_same_moment_nobody_loses_anything() {
    const USERS: usize = 8;
    let text: String = (0..USERS)
        .map(|number| format!("user{number}:\n  password: OLD\n"))
        .collect();
    let (folder, file) = folder_with(&text);
    let write = &|number: usize| {
        let user = user(&format!("user{number}"));
        loop {
            match rehash(&file, &user, fingerprint(OLD), NEW) {
                Ok(done) => return assert_eq!(done, Rehashed::Written),
                Err(UsersFileError::ChangedMeanwhile { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    std::thread::scope(|scope| {
        for number in 0..USERS {
            scope.spawn(move || write(number));
        }
    });
    let expected = with_hashes(&text.replace("OLD", "\"NEW\""));
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    assert_eq!(names_in(folder.path()), ["users.yaml"]);
}

// === Tokens ===

fn token<'a>(name: &'a TokenName, abilities: &'a [AbilityName]) -> TokenEntry<'a> {
    TokenEntry {
        name,
        hash: "sha256:00",
        abilities,
        created: "2026-01-01T00:00:00Z",
        expires: None,
    }
}

fn token_name(name: &str) -> TokenName {
    TokenName::parse(name).unwrap()
}

/// In the texts of these tests `HASH` stands for what a new token has below its name, but for how
/// deep it stands.
fn with_token(old: &str, name: &str, token_named: &str, new_roles: &[&str]) -> String {
    let name = &user(name);
    let added = add(
        old,
        name,
        &roles(new_roles),
        &token(&token_name(token_named), &[]),
    );
    let text = added.map_err(why).unwrap();
    let text = text.replace("hash: \"sha256:00\"\n", "HASH\n");
    text.lines()
        .filter(|line| !line.contains("created: \"2026-01-01T00:00:00Z\""))
        .fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn a_token_is_put_below_its_user_and_all_else_stays() {
    let begun = "# Ours.\nralph: # 1\n  password: x # 2\n  roles: [user]\n";
    let rest = "\n# Next.\nada:\n  password: y\n";
    let first = format!("{begun}  tokens:\n    ci:\n      HASH\n{rest}");
    assert_eq!(
        with_token(&format!("{begun}{rest}"), "ralph", "ci", &[]),
        first
    );
    for empty in [
        "tokens:",
        "tokens: {}",
        "tokens:   {} # none",
        "tokens: # none",
    ] {
        let old = format!("{begun}  {empty}\n{rest}");
        let comment = empty.find(" #").map_or("", |at| &empty[at..]);
        let new = first.replace("tokens:\n", &format!("tokens:{comment}\n"));
        assert_eq!(with_token(&old, "ralph", "ci", &[]), new, "{empty}");
    }
    // Behind those that are there, as deep as they are.
    let old = "users:\n   ralph:\n      tokens:\n       ci:\n         hash: x # 1\n       # 2\n";
    let new = "users:\n   ralph:\n      tokens:\n       ci:\n         hash: x # 1\n       2:\n          HASH\n       # 2\n";
    let new = new.replace("2:", "\"2\":");
    assert_eq!(with_token(old, "ralph", "2", &[]), new);
    // A user without anything, and a file without anything.
    let new = "ralph:\n  tokens:\n    ci:\n      HASH\n";
    assert_eq!(with_token("ralph:\n", "ralph", "ci", &[]), new);
    let new = "ralph:\n  roles: [user]\n  tokens:\n    ci:\n      HASH\n";
    assert_eq!(with_token("", "ralph", "ci", &["user"]), new);
    let new = format!("ada:\n  password: y\n{new}");
    assert_eq!(
        with_token("ada:\n  password: y\n", "ralph", "ci", &["user"]),
        new
    );
}

#[test]
fn all_that_is_said_of_a_token_is_read_back() {
    let abilities = ["view", "no", "a.b:c/d-e_f"].map(|it| it.parse().unwrap());
    for (name, expires) in [
        ("ci", None),
        ("123", Some("2027-01-31T00:00:00Z")),
        ("-", None),
    ] {
        let name = &token_name(name);
        let entry = TokenEntry {
            expires,
            ..token(name, &abilities)
        };
        let text = add("", &user("1"), &roles(&["user"]), &entry);
        let text = text.map_err(why).unwrap();
        let listed = listed(serde_yaml::from_str(&text).unwrap()).unwrap();
        let expected = ListedToken {
            user: "1".into(),
            name: name.to_string(),
            abilities: Some(["view", "no", "a.b:c/d-e_f"].map(str::to_owned).into()),
            created: Some("2026-01-01T00:00:00Z".into()),
            expires: expires.map(str::to_owned),
        };
        assert_eq!(listed, [expected], "{text}");
    }
    for bad in ["", "*", "a b", "a,b", "a\"", "ä"] {
        assert!(bad.parse::<AbilityName>().is_err(), "{bad}");
    }
}

#[test]
fn a_token_is_taken_away_with_its_lines_only() {
    let ci = "    ci:\n      hash: x # 1\n      abilities: [view]\n";
    let backup = "    # The night.\n    backup: # 2\n      hash: y\n";
    let text = |tokens: &str| format!("# 0\nralph:\n  tokens:{tokens}  roles: [user] # 3\nada:\n");
    let revoked = |old: &str, name| {
        revoke(old, &user("ralph"), &token_name(name))
            .map_err(why)
            .unwrap()
    };
    let both = text(&format!(" # all\n{ci}{backup}"));
    assert_eq!(revoked(&both, "ci"), text(&format!(" # all\n{backup}")));
    let night = "    # The night.\n";
    assert_eq!(
        revoked(&both, "backup"),
        text(&format!(" # all\n{ci}{night}"))
    );
    // They stay somebody who has tokens and no password.
    let none = text(&format!(" {{}} # all\n{night}"));
    assert_eq!(revoked(&revoked(&both, "ci"), "backup"), none);
    assert_eq!(
        with_token(&none, "ralph", "ci", &[])
            .matches("HASH")
            .count(),
        1
    );
}

#[test]
fn what_is_no_token_is_said_and_the_text_left_alone() {
    let old = "ralph:\n  tokens:\n    ci:\n      hash: x\nada:\n  password: x\n";
    let added = |name, token_named| {
        let added = add(old, &user(name), &[], &token(&token_name(token_named), &[]));
        added.unwrap_err()
    };
    assert!(matches!(added("ralph", "ci"), EditError::TokenExists(_)));
    assert!(matches!(added("eve", "ci"), EditError::NoSuchUser));
    let revoked =
        |name, token_named| revoke(old, &user(name), &token_name(token_named)).unwrap_err();
    assert!(matches!(revoked("ralph", "cd"), EditError::NoSuchToken(_)));
    assert!(matches!(revoked("ada", "ci"), EditError::NoSuchToken(_)));
    assert!(matches!(revoked("eve", "ci"), EditError::NoSuchUser));
    for (old, line, obstacle) in [
        ("ralph: {tokens: {ci: {hash: x}}}\n", 1, Obstacle::FlowStyle),
        (
            "ralph:\n  tokens: {ci: {hash: x}}\n",
            2,
            Obstacle::FlowStyle,
        ),
        ("ralph:\n  tokens: ci\n", 2, Obstacle::NotOneLine),
        ("ralph:\n  tokens:\n    - ci\n", 3, Obstacle::NotAKey),
        (
            "ralph:\n  tokens: &a\n    ci:\n      hash: x\n",
            2,
            Obstacle::Anchor,
        ),
    ] {
        let (name, token_name) = (user("ralph"), token_name("ci"));
        let added = add(old, &name, &[], &token(&token_name, &[]));
        assert_eq!(why(added.unwrap_err()), (line, obstacle), "{old}");
        let revoked = revoke(old, &name, &token_name);
        assert_eq!(why(revoked.unwrap_err()), (line, obstacle), "{old}");
    }
}

#[test]
fn the_file_of_a_token_keeps_its_mode_and_a_missing_one_is_no_empty_one() {
    let (folder, file) = folder_with("ralph:\n  password: OLD\n");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    let (name, ci) = (user("ralph"), token_name("ci"));
    let users = UsersFile::read(&file).unwrap();
    users.add_token(&name, &[], &token(&ci, &[])).unwrap();
    // Two operators at once.
    let error = users.add_token(&name, &[], &token(&ci, &[])).unwrap_err();
    assert!(matches!(error, UsersFileError::ChangedMeanwhile { .. }));
    let users = UsersFile::read(&file).unwrap();
    assert_eq!(users.tokens().unwrap()[0].name, "ci");
    users.revoke_token(&name, &ci).unwrap();
    let users = UsersFile::read(&file).unwrap();
    assert_eq!(users.tokens().unwrap(), []);
    assert!(users.stored_password(&name).is_ok());
    assert_eq!(mode(&file), 0o640);
    assert_eq!(names_in(folder.path()), ["users.yaml"]);
    let missing = UsersFile::read(&folder.path().join("none.yaml")).unwrap();
    assert!(matches!(missing.tokens(), Err(UsersFileError::Read { .. })));
}
