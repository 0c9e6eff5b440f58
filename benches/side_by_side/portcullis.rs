//! Portcullis as it is measured: with all that it does in earnest.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

use portcullis::tls::issue::name::AltName;

use crate::Result;
use crate::http1::{Client, Request};
use crate::peers::{Place, USER};
use crate::tls::{Connector, Protocol};

/// Carries the session.
pub const COOKIE: &str = "__Host-portcullis";

pub const PASSWORD: &str = "correct horse battery staple";

/// What a case wants besides the usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extra {
    /// Routes that are looked at before the one that matches.
    pub routes: usize,
    /// Logging in costs next to nothing.
    pub cheap_logins: bool,
    /// Users of each kind of [`Person`].
    pub people: usize,
    /// Certificates besides the usual one, for [`name_of`] each of these.
    pub certificates: usize,
}

/// Somebody who does not know the password.
#[derive(Clone, Copy, Debug)]
pub enum Person {
    /// Stored as usual.
    Argon2id,
    /// Stored by something older.
    Bcrypt,
    /// May not log in.
    Disabled,
    /// Is nobody.
    Unknown,
}

impl Person {
    /// Those who are in the configuration.
    const USERS: [Self; 3] = [Self::Argon2id, Self::Bcrypt, Self::Disabled];

    /// All names have one length.
    pub fn name(self, number: usize) -> String {
        let kind = match self {
            Self::Argon2id => "person",
            Self::Bcrypt => "foreign",
            Self::Disabled => "absent",
            Self::Unknown => "nobody",
        };
        format!("{kind:x<8}-{number}")
    }

    /// The entry in `users`.
    fn entry(self, number: usize) -> Result<String> {
        let hash = match self {
            Self::Bcrypt => bcrypt::hash(PASSWORD, 8)?,
            _ => hash(false)?,
        };
        let disabled = matches!(self, Self::Disabled);
        let name = self.name(number);
        Ok(format!(
            ", {name}: {{password: '{hash}', roles: [user], disabled: {disabled}}}"
        ))
    }
}

/// A name that a certificate of [`Extra`] is for.
pub fn name_of(certificate: usize) -> String {
    format!("host-{certificate}.example")
}

/// Writes the configuration and says what to run.
pub fn prepare(place: &Place<'_>, binary: &Path, extra: &Extra) -> Result<Vec<String>> {
    let file = place.folder.join("portcullis.yaml");
    std::fs::write(&file, config(place, extra)?)?;
    Ok(vec![
        binary.display().to_string(),
        "run".into(),
        "-c".into(),
        file.display().to_string(),
    ])
}

/// Makes a certificate and its key, and says how the configuration names them.
fn further_certificate(folder: &Path, number: usize) -> Result<String> {
    let name = AltName::server(&name_of(number))?;
    let issued = portcullis::tls::issue::self_signed(&[name], 2)?;
    let (cert, key) = (format!("{number}.crt"), format!("{number}.key"));
    std::fs::write(folder.join(&cert), issued.chain_pem()?)?;
    std::fs::write(folder.join(&key), &*issued.key_pem(None)?)?;
    Ok(format!(", {{cert: {cert}, key: {key}}}"))
}

fn config(place: &Place<'_>, extra: &Extra) -> Result<String> {
    let Place {
        address,
        admin,
        backend,
        certificate,
        ..
    } = place;
    let hash = hash(extra.cheap_logins)?;
    let mut routes = String::new();
    for number in 0..extra.routes {
        writeln!(routes, "  - {{match: /page-{number}/, can: view}}")?;
    }
    let people = (0..extra.people).flat_map(|number| Person::USERS.map(|it| it.entry(number)));
    let people: String = people.collect::<Result<_>>()?;
    let more = (0..extra.certificates).map(|number| further_certificate(place.folder, number));
    let more: String = more.collect::<Result<_>>()?;
    Ok(format!(
        "listeners: [{{address: '{address}', max_connections: 20000}}]\n\
         tls: {{certificates: [{{cert: '{cert}', key: '{key}'}}{more}]}}\n\
         upstreams: {{backend: {{url: 'http://{backend}'}}}}\n\
         roles: {{user: [view]}}\n\
         users: {{{USER}: {{password: '{hash}', roles: [user]}}{people}}}\n\
         login: {{lockout: {{per_user: 100, per_address: 10000}}}}\n\
         routes:\n{routes}  - {{can: view}}\n\
         sessions: {{max: 1000000}}\n\
         timeouts: {{idle: 10m}}\n\
         admin: {{address: '{admin}'}}\n\
         threads: 1\n\
         log: {{format: json}}\n",
        cert = certificate.cert.display(),
        key = certificate.key.display(),
    ))
}

/// The password's hash, by default at the cost that `portcullis passwd` gives it.
fn hash(cheap: bool) -> Result<String> {
    let (kib, passes) = if cheap { (8, 1) } else { (19456, 2) };
    let params = Params::new(kib, passes, 1, None).map_err(|error| error.to_string())?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let salt = SaltString::encode_b64(b"sixteen bytes of").map_err(|error| error.to_string())?;
    let hash = argon2.hash_password(PASSWORD.as_bytes(), &salt);
    Ok(hash.map_err(|error| error.to_string())?.to_string())
}

/// Logs in and gives back the cookie field of the session.
pub async fn log_in(address: SocketAddr) -> Result<String> {
    let connector = Connector::new(Protocol::Http1)?;
    let mut client = Client::connect(&connector, address).await?;
    log_in_with(&mut client).await
}

/// The same on a connection that is there already.
pub async fn log_in_with(client: &mut Client) -> Result<String> {
    let (status, answer) = client.ask_for_text(&Request::login(USER, PASSWORD)).await?;
    if status != 200 {
        return Err(format!("the login was answered with {status}").into());
    }
    let start = answer.find(COOKIE).ok_or("the login set no cookie")?;
    let end = answer[start..].find(';').ok_or("the cookie has no end")?;
    Ok(answer[start..start + end].to_owned())
}
