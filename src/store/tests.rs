//! What every store promises: one suite, run over each of them.

use std::time::Duration;

use super::*;

/// The tests of this suite for one kind of store.
macro_rules! suite {
    ($($kind:ident: $open:expr;)*) => {$(
        mod $kind {
            use super::*;

            suite!(@each $open;
                a_session_is_found_until_it_is_ended
                a_full_store_ends_the_longest_unused_and_keeps_the_rest
                one_after_the_other_the_longest_unused_ends
                a_user_has_so_many_sessions_and_others_are_not_asked
                a_sweep_forgets_what_ended_by_time
                all_of_a_user_end_and_nobody_elses
                all_end
                the_list_comes_in_pages_and_each_session_once
                a_short_digest_finds_its_session
            );
        }
    )*};
    (@each $open:expr; $($rule:ident)*) => {$(
        #[tokio::test]
        async fn $rule() {
            super::$rule($open).await;
        }
    )*};
}

suite! {
    memory: |bounds| Sessions::from(MemoryStore::new(bounds));
    file: |bounds| {
        // Open, it needs no name.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sessions.redb");
        Sessions::from(FileStore::open(&path, bounds).unwrap())
    };
}

const ROOMY: SessionBounds = SessionBounds {
    max: 1000,
    per_user: 100,
};

fn digest(n: u8) -> SessionDigest {
    SessionDigest([n; 32])
}

fn name(user: &str) -> UserName {
    UserName::parse(user).unwrap()
}

fn session(user: &str, begun: u64) -> Session {
    Session::begin(name(user), 0, Timestamp(begun))
}

async fn is_there(store: &Sessions, n: u8) -> bool {
    store.look_up(&digest(n)).await.unwrap().is_some()
}

fn told(kept: Vec<Kept>) -> Vec<u8> {
    kept.iter().map(|it| it.digest.0[0]).collect()
}

fn displaced(store: &Sessions) -> Vec<u8> {
    let untold = store.untold().into_iter();
    let limit = untold.inspect(|(_, why)| assert_eq!(*why, WhyEnded::Limit));
    told(limit.map(|(kept, _)| kept).collect())
}

async fn a_session_is_found_until_it_is_ended(open: impl Fn(SessionBounds) -> Sessions) {
    let store = open(ROOMY);
    store.begin(digest(1), session("ralph", 0)).await.unwrap();
    assert!(is_there(&store, 1).await);
    assert!(!is_there(&store, 2).await);
    assert_eq!(store.kept(), 1);
    assert!(store.end(&digest(1)).await.unwrap());
    assert!(!store.end(&digest(1)).await.unwrap());
    assert!(!is_there(&store, 1).await);
    assert_eq!(store.kept(), 0);
}

async fn a_full_store_ends_the_longest_unused_and_keeps_the_rest(
    open: impl Fn(SessionBounds) -> Sessions,
) {
    let store = open(SessionBounds { max: 5, ..ROOMY });
    for n in 0..5 {
        let begun = session("ralph", u64::from(n) * 10_000);
        store.begin(digest(n), begun).await.unwrap();
    }
    assert!(store.untold().is_empty());
    let oldest = store.look_up(&digest(0)).await.unwrap().unwrap();
    oldest.touch(Timestamp(60_000));
    store
        .begin(digest(5), session("ada", 70_000))
        .await
        .unwrap();
    assert_eq!(store.kept(), 5);
    assert!(!is_there(&store, 1).await);
    for kept in [0, 2, 3, 4, 5] {
        assert!(is_there(&store, kept).await, "{kept}");
    }
    assert_eq!(displaced(&store), [1]);
    assert!(store.untold().is_empty(), "each is told once");
}

async fn one_after_the_other_the_longest_unused_ends(open: impl Fn(SessionBounds) -> Sessions) {
    let store = open(SessionBounds {
        max: 200,
        per_user: 200,
    });
    for n in 0..200 {
        let begun = session("ralph", 1000 * u64::from(n));
        store.begin(digest(n), begun).await.unwrap();
    }
    // Two are found at once here; one of them is used before its turn has come.
    store
        .begin(digest(200), session("ada", 300_000))
        .await
        .unwrap();
    let second = store.look_up(&digest(1)).await.unwrap().unwrap();
    second.touch(Timestamp(300_000));
    for n in 201..204 {
        store
            .begin(digest(n), session("ada", 300_000))
            .await
            .unwrap();
    }
    assert_eq!(displaced(&store), [0, 2, 3, 4]);
    assert_eq!(store.kept(), 200);
}

async fn a_user_has_so_many_sessions_and_others_are_not_asked(
    open: impl Fn(SessionBounds) -> Sessions,
) {
    let store = open(SessionBounds {
        per_user: 3,
        ..ROOMY
    });
    store.begin(digest(9), session("ada", 0)).await.unwrap();
    for n in 0..5 {
        let begun = session("ralph", 1000 * u64::from(n));
        store.begin(digest(n), begun).await.unwrap();
        if n == 2 {
            let first = store.look_up(&digest(0)).await.unwrap().unwrap();
            first.touch(Timestamp(100_000));
        }
    }
    assert_eq!(displaced(&store), [1, 2]);
    for kept in [0, 3, 4, 9] {
        assert!(is_there(&store, kept).await, "{kept}");
    }
}

async fn a_sweep_forgets_what_ended_by_time(open: impl Fn(SessionBounds) -> Sessions) {
    let store = open(ROOMY);
    let policy = SessionPolicy {
        idle: Duration::from_secs(10),
        lifetime: Duration::from_secs(100),
        remember: None,
    };
    store.begin(digest(1), session("ralph", 0)).await.unwrap();
    store
        .begin(digest(2), session("ralph", 8_000))
        .await
        .unwrap();
    let swept = store.sweep(&policy, Timestamp(12_000)).await.unwrap();
    assert_eq!((swept, store.kept()), (1, 1));
    assert!(!is_there(&store, 1).await && is_there(&store, 2).await);
}

async fn all_of_a_user_end_and_nobody_elses(open: impl Fn(SessionBounds) -> Sessions) {
    let store = open(ROOMY);
    for (n, user) in [(1, "ada"), (2, "ralph"), (3, "ralp"), (4, "ralph")] {
        store.begin(digest(n), session(user, 0)).await.unwrap();
    }
    let ended = store.end_all(Some(&name("ralph"))).await.unwrap();
    assert_eq!(told(ended), [2, 4]);
    assert!(is_there(&store, 1).await && is_there(&store, 3).await);
    assert!(!is_there(&store, 2).await && !is_there(&store, 4).await);
    let again = store.end_all(Some(&name("ralph"))).await.unwrap();
    assert!(again.is_empty());
}

async fn all_end(open: impl Fn(SessionBounds) -> Sessions) {
    let store = open(ROOMY);
    for (n, user) in [(1, "ada"), (2, "ralph")] {
        store.begin(digest(n), session(user, 0)).await.unwrap();
    }
    assert_eq!(told(store.end_all(None).await.unwrap()), [1, 2]);
    assert!(!is_there(&store, 1).await && !is_there(&store, 2).await);
    assert_eq!(store.kept(), 0);
}

async fn the_list_comes_in_pages_and_each_session_once(open: impl Fn(SessionBounds) -> Sessions) {
    let store = open(ROOMY);
    for n in 0..50 {
        let user = ["ralph", "ada", "bob"][usize::from(n) % 3];
        store.begin(digest(n), session(user, 0)).await.unwrap();
    }
    for (user, expected) in [(None, 50), (Some(name("ada")), 17), (Some(name("eve")), 0)] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = store.list(user.as_ref(), after.as_ref(), 7).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= 7);
            after = Some((last.session.user.clone(), last.digest));
            // A place stays one when what was there has ended.
            if expected == 50 {
                store.end(&last.digest).await.unwrap();
                let begun = Session::begin(last.session.user.clone(), 0, Timestamp(0));
                store.begin(last.digest, begun).await.unwrap();
            }
            seen.extend(page.iter().map(|it| (it.session.user.clone(), it.digest)));
        }
        assert_eq!(seen.len(), expected);
        assert!(seen.is_sorted_by(|one, next| one < next));
    }
}

async fn a_short_digest_finds_its_session(open: impl Fn(SessionBounds) -> Sessions) {
    let store = open(ROOMY);
    let mut twin = digest(7);
    twin.0[31] = 0;
    for digest in [digest(7), twin, digest(8)] {
        store.begin(digest, session("ralph", 0)).await.unwrap();
    }
    let found = async |digest: SessionDigest| {
        let short = ShortDigest::parse(digest.short().as_str()).unwrap();
        store.find(&short).await.unwrap().len()
    };
    assert_eq!(found(digest(8)).await, 1);
    assert_eq!(found(digest(7)).await, 2);
    assert_eq!(found(digest(6)).await, 0);
}
