//! Passwords that come with every request (HTTP Basic, RFC 7617), on the routes that take them.
//!
//! The first is looked at as any login is; for a minute after that it counts without being looked at
//! again. Reading the field is in `authorization`.

use std::time::Instant;

use super::attempt::{PasswordAttempts, Tried};
use super::authorization::BasicCredentials;
use super::client::Scheme;
use super::origin;
use crate::gate::request::PresentedAuthorization;
use crate::gate::users::User;
use crate::http1::head::RequestHead;
use crate::identity::{InvalidIdentity, NoIdentity};
use crate::password::verified::Turn;

/// Passwords are only taken over TLS, ours or that of something before us.
const SCHEMES: [Scheme; 2] = [Scheme::Https, Scheme::Http];

/// The label of these logins.
const METHOD: &str = "basic";

/// Whether it is their password, or why they are nobody.
pub(super) async fn verify(
    attempts: &PasswordAttempts<'_>,
    head: &RequestHead,
    credentials: BasicCredentials,
) -> Result<PresentedAuthorization, NoIdentity> {
    let user = attempts.user(&credentials.user);
    let verified = match is_of_another_site(head) {
        true => Err(InvalidIdentity::CrossSite),
        false => find_out(attempts, credentials, user).await,
    };
    match (verified, user) {
        (Ok(()), Some(user)) => Ok(PresentedAuthorization::Basic {
            user: user.name.clone(),
            credential_epoch: user.credential_epoch,
        }),
        (Ok(()), None) => Err(NoIdentity::Invalid(InvalidIdentity::WrongPassword)),
        (Err(why), _) => Err(NoIdentity::Invalid(why)),
    }
}

async fn find_out(
    attempts: &PasswordAttempts<'_>,
    credentials: BasicCredentials,
    user: Option<&User>,
) -> Result<(), InvalidIdentity> {
    let BasicCredentials {
        user: typed,
        password,
    } = credentials;
    let started = Instant::now();
    let shared = attempts.shared;
    let epoch = user.map(|user| user.credential_epoch);
    let mark = shared.verified.mark(&typed, &password, epoch);
    loop {
        let ip = attempts.client.ip;
        if let Err(locked) = shared.attempts.check(&typed, ip, attempts.now) {
            return concluded(attempts, Tried::Locked(locked), user, started);
        }
        match shared.verified.turn(mark, Instant::now()) {
            Turn::Right => return Ok(()),
            Turn::Yours(finding) => {
                let tried = attempts.make(&typed, password, user).await;
                let concluded = concluded(attempts, tried, user, started);
                match (tried, concluded) {
                    (Tried::Right, Ok(())) => finding.right(Instant::now()),
                    (Tried::Wrong, _) => finding.wrong(),
                    // Nobody has found out anything.
                    (_, _) => drop(finding),
                }
                return concluded;
            }
            Turn::Others(asked) => match asked.answer().await {
                Some(true) => return Ok(()),
                Some(false) => return Err(InvalidIdentity::WrongPassword),
                None => {}
            },
        }
    }
}

/// Puts an attempt on record; what it means.
fn concluded(
    attempts: &PasswordAttempts<'_>,
    tried: Tried,
    user: Option<&User>,
    started: Instant,
) -> Result<(), InvalidIdentity> {
    let recorded = attempts.put_on_record(METHOD, tried.as_str(), user, started);
    match (tried, recorded) {
        (Tried::Right, Ok(())) => Ok(()),
        (Tried::Right, Err(_)) | (Tried::Failed, _) => Err(InvalidIdentity::LoginUnavailable),
        (Tried::Wrong, _) => Err(InvalidIdentity::WrongPassword),
        (Tried::Locked(locked), _) => {
            let seconds = u32::try_from(locked.seconds()).unwrap_or(u32::MAX);
            Err(InvalidIdentity::LockedOut(seconds))
        }
        (Tried::Busy, _) => Err(InvalidIdentity::TooManyLogins),
    }
}

/// Whether a browser says that the page of another site made the request. A browser that has a
/// password sends it along with all requests, whoever makes them; our session cookie would not come
/// with these either (`SameSite=Lax`). Following a link is no such request, but in a frame it is.
fn is_of_another_site(head: &RequestHead) -> bool {
    let fields = head.fields();
    match fields.get("sec-fetch-site") {
        Some(b"cross-site" | b"same-site") => {
            let is_link = fields.get("sec-fetch-mode") == Some(b"navigate")
                && fields.get("sec-fetch-dest") == Some(b"document")
                && matches!(head.method().as_str(), "GET" | "HEAD");
            !is_link
        }
        Some(_) => false,
        // Browsers that do not say that yet.
        None => fields
            .get("origin")
            .is_some_and(|origin| !origin::is_of(origin, head.authority(), &SCHEMES)),
    }
}
