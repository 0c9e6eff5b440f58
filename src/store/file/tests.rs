//! What is only of a file: what it keeps, what it refuses, and what happens when it fails.

use std::time::Instant;

use super::*;

const BOUNDS: SessionBounds = SessionBounds {
    max: 100,
    per_user: 100,
};

fn digest(n: u8) -> SessionDigest {
    SessionDigest([n; 32])
}

fn session(begun: u64) -> Session {
    Session::begin(UserName::parse("ralph").unwrap(), 7, Timestamp(begun))
}

async fn seen(store: &FileStore, n: u8) -> Option<u64> {
    let session = store.look_up(&digest(n)).await.unwrap();
    session.map(|it| it.last_seen().0)
}

#[tokio::test]
async fn what_was_begun_is_there_again_and_what_was_ended_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/sessions.redb");
    let store = FileStore::open(&path, BOUNDS).unwrap();
    for n in 0..4 {
        store.begin(digest(n), session(1000)).await.unwrap();
    }
    store.end(&digest(0)).await.unwrap();
    store
        .look_up(&digest(1))
        .await
        .unwrap()
        .unwrap()
        .touch(Timestamp(5000));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(
        FileStore::open(&path, BOUNDS),
        Err(OpenError::InUse)
    ));
    check(&path).unwrap();
    store.close(Timestamp(6000));

    let one_less = SessionBounds { max: 2, ..BOUNDS };
    let store = FileStore::open(&path, one_less).unwrap();
    assert_eq!(seen(&store, 0).await, None);
    assert_eq!(seen(&store, 1).await, Some(5000));
    let session = store.look_up(&digest(1)).await.unwrap().unwrap();
    assert_eq!((session.created.0, session.credential_epoch), (1000, 7));
    assert_eq!((store.kept(), store.untold().len()), (2, 1));
    store.close(Timestamp(6000));
    let store = FileStore::open(&path, BOUNDS).unwrap();
    assert_eq!(store.kept(), 2);
}

#[tokio::test]
async fn a_remembered_session_is_there_again_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.redb");
    let store = FileStore::open(&path, BOUNDS).unwrap();
    let kinds = [SessionKind::Visit, SessionKind::Remembered];
    for (n, kind) in (0..).zip(kinds) {
        let begun = session(1000).of_kind(kind);
        store.begin(digest(n), begun).await.unwrap();
    }
    store.close(Timestamp(1000));
    let store = FileStore::open(&path, BOUNDS).unwrap();
    for (n, kind) in (0..).zip(kinds) {
        let kept = store.look_up(&digest(n)).await.unwrap().unwrap();
        assert_eq!(kept.kind, kind);
    }
}

#[tokio::test]
async fn a_file_from_before_there_were_remembered_sessions_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.redb");
    let database = Database::create(&path).unwrap();
    let write = database.begin_write().unwrap();
    let row = (1000, 7, 2000, "ralph");
    let mut table = write.open_table(WITHOUT_KIND).unwrap();
    table.insert(&[1; 32], row).unwrap();
    drop(table);
    write.commit().unwrap();
    drop(database);

    check(&path).unwrap();
    for _ in 0..2 {
        let store = FileStore::open(&path, BOUNDS).unwrap();
        let kept = store.look_up(&digest(1)).await.unwrap().unwrap();
        let times = (kept.created.0, kept.last_seen().0, kept.credential_epoch);
        assert_eq!((times, kept.kind), ((1000, 2000, 7), SessionKind::Visit));
        // What has ended does not come back from what it was read from.
        store.begin(digest(2), session(1000)).await.unwrap();
        store.end(&digest(2)).await.unwrap();
        store.close(Timestamp(2000));
    }
    let store = FileStore::open(&path, BOUNDS).unwrap();
    store.end(&digest(1)).await.unwrap();
    store.close(Timestamp(2000));
    let store = FileStore::open(&path, BOUNDS).unwrap();
    assert_eq!(store.kept(), 0);
}

#[tokio::test]
async fn a_sweep_takes_from_the_disk_what_ended_by_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.redb");
    let store = FileStore::open(&path, BOUNDS).unwrap();
    store.begin(digest(1), session(0)).await.unwrap();
    store.begin(digest(2), session(3_600_000)).await.unwrap();
    let policy = SessionPolicy::default();
    let swept = store.sweep(&policy, Timestamp(3_600_000)).await.unwrap();
    assert_eq!(swept, 1);
    store.close(Timestamp(3_600_000));
    assert_eq!(FileStore::open(&path, BOUNDS).unwrap().kept(), 1);
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_is_not_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.redb");
    let store = FileStore::open(&path, BOUNDS).unwrap();
    for n in 0..100 {
        store.begin(digest(n), session(1000)).await.unwrap();
    }
    store.close(Timestamp(1000));
    let whole = std::fs::read(&path).unwrap();
    let at_row = whole.windows(32).position(|it| it == [55; 32]).unwrap();
    let mut refused = 0;
    for at in [0, at_row, at_row + 7, whole.len() / 2] {
        let mut spoilt = whole.clone();
        spoilt[at] ^= 0x55;
        std::fs::write(&path, &spoilt).unwrap();
        let checked = check(&path);
        assert_eq!(std::fs::read(&path).unwrap(), spoilt);
        match FileStore::open(&path, BOUNDS) {
            // Where nothing was, nothing was spoilt.
            Ok(store) => {
                assert!(checked.is_ok() && store.kept() == 100, "{at}");
                store.close(Timestamp(1000));
            }
            Err(OpenError::Damaged(_)) => {
                assert!(checked.is_err());
                refused += 1;
            }
            Err(error) => panic!("{at}: {error}"),
        }
    }
    assert!(refused >= 2, "{refused}");
    for foreign in [&b"users: {}\n"[..], &whole[..whole.len() / 2]] {
        std::fs::write(&path, foreign).unwrap();
        assert!(matches!(check(&path), Err(OpenError::Damaged(_))));
        let opened = FileStore::open(&path, BOUNDS);
        assert!(matches!(opened, Err(OpenError::Damaged(_))), "{opened:?}");
        // What is left of it can be looked at; a mark that it was opened is all that may be new.
        let left = std::fs::read(&path).unwrap();
        assert_eq!(left.len(), foreign.len());
        let changed = left.iter().zip(foreign).filter(|(now, was)| now != was);
        assert!(changed.count() <= 1);
    }
}

#[test]
fn a_database_of_somebody_else_is_refused_and_what_is_no_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.redb");
    let other = Database::create(&path).unwrap();
    let write = other.begin_write().unwrap();
    let table: TableDefinition<'_, u64, u64> = TableDefinition::new("theirs");
    write.open_table(table).unwrap();
    write.commit().unwrap();
    drop(other);
    assert!(matches!(check(&path), Err(OpenError::Damaged(_))));
    let opened = FileStore::open(&path, BOUNDS);
    assert!(matches!(opened, Err(OpenError::Damaged(_))));
    assert!(FileStore::open(folder.path(), BOUNDS).is_err());
    assert!(check(&folder.path().join("none")).is_ok());
    assert!(!folder.path().join("none").exists());
}

/// What is in a folder, in order.
fn names_in(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_file_that_is_half_made_never_has_its_name_and_is_gone_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.redb");
    // As a power cut leaves it.
    let half_made = "sessions.redb.new-0123456789abcdef";
    std::fs::write(folder.path().join(half_made), b"redb").unwrap();
    let others = ["sessions.redb.new-mine", "sessions.redb.old"];
    for other in others {
        std::fs::write(folder.path().join(other), b"").unwrap();
    }
    let store = FileStore::open(&path, BOUNDS).unwrap();
    let mut expected = vec!["sessions.redb"];
    expected.extend(others);
    assert_eq!(names_in(folder.path()), expected);
    store.begin(digest(1), session(1000)).await.unwrap();
    store.close(Timestamp(1000));
    assert_eq!(FileStore::open(&path, BOUNDS).unwrap().kept(), 1);
}

#[test]
fn of_many_who_make_the_file_at_the_same_moment_one_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.redb");
    let opened: Vec<_> = std::thread::scope(|scope| {
        let open = || FileStore::open(&path, BOUNDS);
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let (mine, others): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
    assert_eq!(mine.len(), 1, "{others:?}");
    for other in others {
        assert!(matches!(other, Err(OpenError::InUse)), "{other:?}");
    }
    assert_eq!(names_in(folder.path()), ["sessions.redb"]);
}

#[test]
fn what_is_not_ours_keeps_its_content_and_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs.yaml");
    let link = folder.path().join("sessions.redb");
    std::fs::write(&theirs, "users: {}\n").unwrap();
    std::fs::set_permissions(&theirs, Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink(&theirs, &link).unwrap();
    for path in [&theirs, &link] {
        assert!(FileStore::open(path, BOUNDS).is_err());
        let mode = std::fs::metadata(&theirs).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "{path:?}");
    }
    std::fs::remove_file(&theirs).unwrap();
    let error = FileStore::open(&link, BOUNDS).unwrap_err().to_string();
    assert!(error.contains("symbolic link"), "{error}");
    assert_eq!(names_in(folder.path()), ["sessions.redb"]);
}

#[test]
fn a_file_of_ours_that_others_could_read_is_ours_alone_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.redb");
    FileStore::open(&path, BOUNDS).unwrap().close(Timestamp(0));
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let _open = FileStore::open(&path, BOUNDS).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // It is still locked.
    let again = FileStore::open(&path, BOUNDS);
    assert!(matches!(again, Err(OpenError::InUse)));
}

#[test]
fn a_pipe_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("sessions.redb");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for refused in [check(&pipe), FileStore::open(&pipe, BOUNDS).map(drop)] {
        let error = refused.unwrap_err().to_string();
        assert_eq!(error, "not a regular file");
    }
}

#[tokio::test]
async fn whatever_is_damaged_is_looked_at_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.redb");
    let store = FileStore::open(&path, BOUNDS).unwrap();
    store.begin(digest(7), session(1000)).await.unwrap();
    store.close(Timestamp(1000));
    let whole = std::fs::read(&path).unwrap();
    // Of some pages that are gone, redb says so by panicking where it only reads.
    let mut refused = 0;
    for page in 0..whole.len() / 4096 {
        let place = page * 4096..(page + 1) * 4096;
        if whole[place.clone()] == [0; 4096] {
            continue;
        }
        let mut spoilt = whole.clone();
        spoilt[place].fill(0);
        std::fs::write(&path, &spoilt).unwrap();
        // Not all that was written is of use still.
        let checked = std::panic::catch_unwind(|| check(&path).is_err());
        refused += u32::from(checked.expect("no panic"));
    }
    assert!(refused > 1, "{refused}");
    for length in [1, 64, 320, 4095, 4096, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(check(&path).is_err(), "{length}");
    }
}

/// A disk that fails while it is broken, and waits while it is stuck.
#[derive(Clone, Debug)]
struct Disk {
    content: Arc<InMemoryBackend>,
    is_broken: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
    is_stuck: Arc<AtomicBool>,
    /// How often it may be waited for while it is stuck.
    permits: Arc<AtomicU64>,
    /// How often it was waited for.
    syncs: Arc<AtomicU64>,
    is_waited_for: Arc<AtomicBool>,
}

impl Disk {
    fn new() -> Self {
        Self {
            content: Arc::new(InMemoryBackend::new()),
            is_broken: Arc::default(),
            panics: Arc::default(),
            is_stuck: Arc::default(),
            permits: Arc::default(),
            syncs: Arc::default(),
            is_waited_for: Arc::default(),
        }
    }

    fn store(&self) -> FileStore {
        let disk = self.clone();
        FileStore::start(Box::new(move || open_database(disk.clone())), BOUNDS).unwrap()
    }

    fn set(flag: &AtomicBool) {
        flag.store(true, Ordering::Release);
    }

    /// Comes back when somebody waits who may not go on.
    async fn is_stuck_with_somebody(&self) {
        let waits = || {
            let may_go_on = self.permits.load(Ordering::Acquire) > 0;
            self.is_waited_for.load(Ordering::Acquire) && !may_go_on
        };
        until(waits).await;
    }

    fn unstick(&self) {
        self.is_stuck.store(false, Ordering::Release);
    }

    fn check(&self) -> io::Result<()> {
        assert!(!self.panics.load(Ordering::Acquire), "as the test wants");
        match self.is_broken.load(Ordering::Acquire) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn take_permit(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        self.permits.fetch_update(set, fetch, less).is_ok()
    }
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.content.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.content.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check().and_then(|()| self.content.set_len(len))
    }
    fn sync_data(&self) -> io::Result<()> {
        while self.is_stuck.load(Ordering::Acquire) && !self.take_permit() {
            self.is_waited_for.store(true, Ordering::Release);
            std::thread::sleep(Duration::from_millis(10));
        }
        self.is_waited_for.store(false, Ordering::Release);
        self.syncs.fetch_add(1, Ordering::AcqRel);
        self.check()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check().and_then(|()| self.content.write(offset, data))
    }
}

#[tokio::test]
async fn a_disk_that_fails_refuses_everything_until_all_is_written_again() {
    let disk = Disk::new();
    let store = disk.store();
    for n in 0..3 {
        store.begin(digest(n), session(1000)).await.unwrap();
    }
    Disk::set(&disk.is_broken);
    assert!(store.end(&digest(0)).await.is_err());
    assert!(!store.is_up());
    let untold = store.untold();
    let (kept, why) = &untold[0];
    assert_eq!((kept.digest, *why), (digest(0), WhyEnded::StoreFailed));
    assert_eq!(untold.len(), 1);
    assert!(store.look_up(&digest(1)).await.is_err());
    assert!(store.begin(digest(9), session(1000)).await.is_err());
    assert!(store.list(None, None, 10).await.is_err());

    disk.is_broken.store(false, Ordering::Release);
    until(|| store.is_up()).await;
    // What was ended stays so, and what was not begun is not there.
    for (n, expected) in [(0, None), (1, Some(1000)), (9, None)] {
        assert_eq!(seen(&store, n).await, expected);
    }
    store.close(Timestamp(1000));
    let store = disk.store();
    for (n, expected) in [(0, None), (1, Some(1000)), (9, None)] {
        assert_eq!(seen(&store, n).await, expected);
    }
}

#[tokio::test]
async fn a_disk_that_hangs_refuses_after_a_while_and_until_it_has_everything() {
    let disk = Disk::new();
    let store = disk.store();
    store.begin(digest(1), session(1000)).await.unwrap();
    Disk::set(&disk.is_stuck);
    assert!(store.end(&digest(1)).await.is_err());
    // Nobody hears that it is no more, as long as it might come back.
    assert!(store.look_up(&digest(1)).await.is_err());
    disk.unstick();
    until(|| store.is_up()).await;
    assert_eq!(seen(&store, 1).await, None);
}

#[tokio::test]
async fn a_disk_that_hangs_is_not_up_again_before_it_has_the_last_of_what_was_waited_for() {
    let disk = Disk::new();
    let store = Arc::new(disk.store());
    for n in 1..4 {
        store.begin(digest(n), session(1000)).await.unwrap();
    }
    let syncs = disk.syncs.load(Ordering::Acquire);
    store.end(&digest(3)).await.unwrap();
    let syncs_of_one = disk.syncs.load(Ordering::Acquire) - syncs;

    Disk::set(&disk.is_stuck);
    let end = |n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.end(&digest(n)).await })
    };
    let first = end(1);
    disk.is_stuck_with_somebody().await;
    let second = end(2);
    assert!(first.await.unwrap().is_err());
    assert!(second.await.unwrap().is_err());

    // The disk has the first one, and not yet the second.
    disk.permits.store(syncs_of_one, Ordering::Release);
    until(|| disk.permits.load(Ordering::Acquire) == 0).await;
    disk.is_stuck_with_somebody().await;
    assert!(!store.is_up());
    assert!(store.end(&digest(2)).await.is_err());
    assert!(store.look_up(&digest(2)).await.is_err());
    disk.unstick();
    until(|| store.is_up()).await;
    assert!(!store.end(&digest(2)).await.unwrap());
    store.close(Timestamp(1000));
    assert_eq!(disk.store().kept(), 0);
}

#[tokio::test]
async fn that_a_session_is_no_more_is_said_when_the_disk_has_it() {
    let disk = Disk::new();
    let store = Arc::new(disk.store());
    store.begin(digest(1), session(1000)).await.unwrap();
    Disk::set(&disk.is_stuck);
    let ending = Arc::clone(&store);
    let abandoned = tokio::spawn(async move { ending.end(&digest(1)).await });
    disk.is_stuck_with_somebody().await;
    abandoned.abort();
    let briefly = Duration::from_millis(100);
    assert!(timeout(briefly, store.end(&digest(1))).await.is_err());
    assert!(timeout(briefly, store.end_all(None)).await.is_err());
    assert!(timeout(briefly, store.settle()).await.is_err());
    let settled = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.settle().await }
    });
    disk.unstick();
    settled.await.unwrap().unwrap();
    assert!(!store.end(&digest(1)).await.unwrap());
}

#[tokio::test]
async fn a_login_that_was_refused_begins_no_session_and_displaces_none() {
    let disk = Disk::new();
    let one = SessionBounds { max: 2, ..BOUNDS };
    let own = disk.clone();
    let open = Box::new(move || open_database(own.clone()));
    let store = Arc::new(FileStore::start(open, one).unwrap());
    store.begin(digest(1), session(1000)).await.unwrap();
    Disk::set(&disk.is_stuck);
    let begin = |n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.begin(digest(n), session(1000)).await })
    };
    let being_written = begin(2);
    disk.is_stuck_with_somebody().await;
    let queued = begin(3);
    assert!(being_written.await.unwrap().is_err());
    assert!(queued.await.unwrap().is_err());
    // Nothing is asked of a disk that hangs already.
    let asked = store.jobs.lock().asked;
    assert!(store.begin(digest(4), session(1000)).await.is_err());
    assert_eq!(store.jobs.lock().asked, asked);

    disk.unstick();
    until(|| store.is_up()).await;
    store.settle().await.unwrap();
    until(|| store.kept() == 1).await;
    store.close(Timestamp(1000));
    let store = disk.store();
    assert_eq!((store.kept(), seen(&store, 1).await), (1, Some(1000)));
}

#[tokio::test]
async fn a_store_whose_thread_has_ended_is_down() {
    let disk = Disk::new();
    let store = disk.store();
    store.begin(digest(1), session(1000)).await.unwrap();
    Disk::set(&disk.panics);
    assert!(store.end(&digest(1)).await.is_err());
    until(|| !store.is_up()).await;
    assert!(store.look_up(&digest(1)).await.is_err());
    assert!(store.settle().await.is_err());
    assert_eq!(store.untold().len(), 1);
}
