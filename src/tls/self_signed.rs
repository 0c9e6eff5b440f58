//! The certificate of a server for which none is configured: made at start for the names of this
//! machine, and kept, so that whoever chose to trust it has to do so once.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use boring::asn1::Asn1Time;
use boring::error::ErrorStack;

use super::certs::CertifiedKey;
use super::files::{read, read_own};
use super::issue::name::AltName;
use super::issue::{Issued, self_signed};

/// How long it is good for: clients of today take none that is good for more than 398 days.
const DAYS: u32 = 397;

/// One that ends sooner than this is made anew.
const LEFT: u32 = 30;

/// The certificate that is kept in the state folder, or a new one, and what to say about it. Where
/// none can be kept, the `current` one stays while it is good.
///
/// # Errors
/// Where none can be made. One that cannot be kept is served all the same.
pub(super) fn load(
    state: Option<&Path>,
    current: Option<&Arc<CertifiedKey>>,
) -> Result<(Arc<CertifiedKey>, String), ErrorStack> {
    let folder = state.map(Path::to_owned).or_else(state_folder);
    if let Some(folder) = &folder
        && let Some(kept) = kept(folder)
    {
        let note = note(&kept, &format!("It is kept in {}.", folder.display()));
        return Ok((Arc::new(kept), note));
    }
    let issued = self_signed(&names(), DAYS)?;
    let mut current = current.filter(|current| is_good_for_a_while(current));
    let place = match folder.map(|folder| keep(&issued, &folder).map_err(|why| (folder, why))) {
        Some(Ok(folder)) => {
            current = None;
            format!("It is now kept in {}.", folder.display())
        }
        Some(Err((folder, why))) => format!(
            "It cannot be kept in {} ({why}), so that the next start makes another; write another \
             folder as \"state\".",
            folder.display()
        ),
        None => "It cannot be kept, so that the next start makes another; write a folder as \
                 \"state\"."
            .into(),
    };
    let pair = current.cloned();
    let pair = pair.unwrap_or_else(|| Arc::new(issued.into_certified_key()));
    let note = note(&pair, &place);
    Ok((pair, note))
}

fn note(pair: &CertifiedKey, place: &str) -> String {
    let fingerprint = pair.fingerprint().unwrap_or_default();
    format!(
        "no certificate is configured, so clients are shown a self-signed one and will warn; write \
         your own as tls.certificates. Its SHA-256 fingerprint is {fingerprint}. {place}"
    )
}

/// How this machine is called, and by itself.
fn names() -> Vec<AltName> {
    let system = rustix::system::uname();
    let own = system.nodename().to_str().ok();
    let own = own.and_then(|name| AltName::server(name).ok());
    let local = [
        AltName::localhost(),
        AltName::from(Ipv4Addr::LOCALHOST),
        AltName::from(Ipv6Addr::LOCALHOST),
    ];
    let own = own.filter(|own| !local.contains(own));
    own.into_iter().chain(local).collect()
}

// === Where it is kept ===

/// Where a service keeps what it must not lose (systemd.exec(5), the XDG base directories).
#[must_use]
pub fn state_folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(given) = variable("STATE_DIRECTORY") {
        // Of several, the first.
        return std::env::split_paths(&given).next();
    }
    if rustix::process::geteuid().is_root() {
        return Some("/var/lib/portcullis".into());
    }
    let of_home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let of_user = variable("XDG_STATE_HOME").map(PathBuf::from);
    Some(of_user.or_else(of_home)?.join("portcullis"))
}

fn files(folder: &Path) -> (PathBuf, PathBuf) {
    let file = |name| folder.join(name);
    (file("self-signed.crt"), file("self-signed.key"))
}

/// One that is whole and good for a while. Any other is no reason to stop: it was made here, and
/// can be made again.
fn kept(folder: &Path) -> Option<CertifiedKey> {
    let (cert, key) = files(folder);
    // In a folder that others can write to, it could be somebody else's.
    let (cert_pem, key_pem) = (read(&cert).ok()?, read_own(&key).ok()?);
    let pair = CertifiedKey::of_pem((&cert, &cert_pem), (&key, &key_pem));
    pair.ok().filter(is_good_for_a_while)
}

pub(super) fn is_good_for_a_while(pair: &CertifiedKey) -> bool {
    let soon = Asn1Time::days_from_now(LEFT);
    soon.is_ok_and(|soon| pair.leaf.not_after() > &*soon)
}

/// Gives the folder back.
fn keep(issued: &Issued, folder: &Path) -> io::Result<PathBuf> {
    let (cert, key) = files(folder);
    let (cert_pem, key_pem) = (issued.chain_pem()?, issued.key_pem(None)?);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    // Were it to end between the two, they would not belong together, and be made anew.
    replace(&key, &key_pem)?;
    replace(&cert, cert_pem.as_bytes())?;
    Ok(folder.to_owned())
}

/// Nobody else can read it at any moment, and nobody sees half of it.
fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    drop(fs::remove_file(&beside));
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(beside, path)
}
