//! `certs ca`, `server` and `client`: from arguments to files, and what to do with these.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::files::{Access, Existing, NewFile, check, write};
use super::{
    BundleArgs, CaArgs, CertsError, ClientArgs, LeafArgs, MIN_CHARACTERS, OutputArgs, ServerArgs,
    SignerArgs, date, yaml,
};
use crate::cli::secret::{self, Ask, AskError, Secret};
use crate::password::stored::MAX_PASSWORD_BYTES;
use crate::tls::issue::authority::Authority;
use crate::tls::issue::name::{AltName, Subject};
use crate::tls::issue::{Issued, Order, Purpose};

/// Where a passphrase may come from, beside a file and a person.
const CA_PASSPHRASE: &str = "PORTCULLIS_CA_PASSPHRASE";
pub(super) const KEY_PASSPHRASE: &str = "PORTCULLIS_KEY_PASSPHRASE";

/// Makes a CA; what to tell about it.
pub(super) fn ca(args: CaArgs) -> Result<String, CertsError> {
    let CaArgs {
        name,
        organization,
        days,
        path_length,
        signer,
        output,
    } = args;
    let stem = if signer.ca.is_none() {
        "ca"
    } else {
        "intermediate"
    };
    let targets = Targets::pem(&output, stem);
    check(targets.paths(), output.existing())?;
    let authority = signer.load()?;
    if let (Some(authority), Some(path)) = (&authority, &signer.ca) {
        authority.check_path(path, path_length)?;
    }
    let what = format!("a CA, \"{name}\"");
    let made = Made::new(
        Order {
            subject: Subject {
                organization,
                ..Subject::named(name)
            },
            names: Vec::new(),
            purpose: Purpose::Authority { path_length },
            key: output.key.into(),
            days,
        },
        authority,
        &targets,
        &output,
    )?;
    let mut text = made.said(&what, days);
    let certificate = targets.certificate().display();
    let _ = match &signer.ca {
        None => write!(
            text,
            "\nGive {certificate} to whoever is to trust what it signs, and {} to nobody.\n",
            targets.key().display(),
        ),
        Some(root) => write!(
            text,
            "\nWhoever trusts {} trusts what it signs: its own certificate goes with each.\n",
            root.display(),
        ),
    };
    let _ = write!(
        text,
        "\nNext:\n  \
         portcullis certs server --ca {certificate} gate.example.com\n  \
         portcullis certs client --ca {certificate} camera-7\n",
    );
    Ok(text)
}

/// Makes a server's certificate; what to tell about it.
pub(super) fn server(args: ServerArgs) -> Result<String, CertsError> {
    let ServerArgs {
        names,
        also_client,
        leaf:
            LeafArgs {
                days,
                signer,
                bundle,
                output,
            },
    } = args;
    let listed = texts(&names).join(", ");
    let targets = Targets::new(&bundle, &output, &names[0].to_string());
    check(targets.paths(), output.existing())?;
    let authority = signer.load()?;
    let is_self_signed = authority.is_none();
    let made = Made::new(
        Order {
            subject: Subject::of_server(&names),
            names,
            purpose: if also_client {
                Purpose::ServerAndClient
            } else {
                Purpose::Server
            },
            key: output.key.into(),
            days,
        },
        authority,
        &targets,
        &output,
    )?;
    let mut text = made.said(&format!("a server certificate for {listed}"), days);
    let _ = write!(
        text,
        "\nFor the configuration:\n  \
         tls:\n    \
         certificates: [{{{}}}]\n",
        targets.yaml(made.is_protected),
    );
    if is_self_signed {
        text.push_str("\nNobody vouches for it: clients have to be told to trust it.\n");
    }
    Ok(text)
}

/// Makes a client's certificate; what to tell about it.
pub(super) fn client(args: ClientArgs) -> Result<String, CertsError> {
    let ClientArgs {
        name,
        san_uri,
        san_email,
        san_dns,
        organization,
        unit,
        leaf:
            LeafArgs {
                days,
                signer,
                bundle,
                output,
            },
    } = args;
    let names: Vec<_> = [san_uri, san_email, san_dns].concat();
    let mut what = format!("a client certificate for \"{name}\"");
    if !names.is_empty() {
        let _ = write!(what, " ({})", texts(&names).join(", "));
    }
    let called = name.to_string();
    let targets = Targets::new(&bundle, &output, &name.to_string());
    check(targets.paths(), output.existing())?;
    let authority = signer.load()?;
    let made = Made::new(
        Order {
            subject: Subject {
                common_name: name,
                organization,
                unit,
            },
            names,
            purpose: Purpose::Client,
            key: output.key.into(),
            days,
        },
        authority,
        &targets,
        &output,
    )?;
    let mut text = made.said(&what, days);
    if signer.ca.is_none() {
        text.push_str("\nNobody vouches for it: it is known by its fingerprint.\n");
    }
    // In a rule, these stand for other characters.
    let is_literal = !called.contains(['*', '{', '}']);
    let called = if is_literal { &called } else { "NAME" };
    let called = yaml(Path::new(called));
    let client_auth = match &signer.ca {
        Some(ca) => format!("mode: optional, ca: {}", yaml(ca)),
        None => "mode: pinned".to_owned(),
    };
    let fits = match signer.ca {
        Some(_) if is_literal => format!("cn: {called}"),
        _ => format!("sha256: \"{}\"", made.issued.fingerprint()?),
    };
    let _ = write!(
        text,
        "\nFor the configuration:\n  \
         tls:\n    \
         client_auth: {{{client_auth}}}\n  \
         clients:\n    \
         - {{match: {{{fits}}}, name: {called}, roles: [ROLE]}}\n",
    );
    Ok(text)
}

fn texts(names: &[AltName]) -> Vec<String> {
    names.iter().map(AltName::to_string).collect()
}

// === Targets ===

/// The files to be written.
enum Targets {
    Pem { certificate: PathBuf, key: PathBuf },
    Pkcs12 { file: PathBuf, alias: String },
}

impl Targets {
    fn new(bundle: &BundleArgs, output: &OutputArgs, name: &str) -> Self {
        if !bundle.pkcs12 {
            return Self::pem(output, name);
        }
        Self::Pkcs12 {
            file: output.file(name, "p12"),
            alias: file_stem(name),
        }
    }

    fn pem(output: &OutputArgs, name: &str) -> Self {
        Self::Pem {
            certificate: output.file(name, "crt"),
            key: output.file(name, "key"),
        }
    }

    fn certificate(&self) -> &Path {
        match self {
            Self::Pem { certificate, .. } => certificate,
            Self::Pkcs12 { file, .. } => file,
        }
    }

    fn key(&self) -> &Path {
        match self {
            Self::Pem { key, .. } => key,
            Self::Pkcs12 { file, .. } => file,
        }
    }

    fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Pem { certificate, key } => vec![certificate, key],
            Self::Pkcs12 { file, .. } => vec![file],
        }
    }

    /// As they stand among `tls.certificates`.
    fn yaml(&self, is_protected: bool) -> String {
        match self {
            Self::Pem { certificate, key } => {
                let passphrase = if is_protected {
                    ", passphrase: {file: PASSPHRASE-FILE}"
                } else {
                    ""
                };
                format!(
                    "cert: {}, key: {}{passphrase}",
                    yaml(certificate),
                    yaml(key)
                )
            }
            Self::Pkcs12 { file, .. } => format!(
                "keystore: {{path: {}, password: {{file: PASSWORD-FILE}}}}",
                yaml(file)
            ),
        }
    }
}

impl OutputArgs {
    fn existing(&self) -> Existing {
        if self.force {
            Existing::Replace
        } else {
            Existing::Refuse
        }
    }

    fn file(&self, name: &str, extension: &str) -> PathBuf {
        let stem = self.stem.clone().unwrap_or_else(|| file_stem(name));
        let file = format!("{stem}.{extension}");
        if self.out == Path::new(".") {
            return file.into();
        }
        self.out.join(file)
    }

    /// What is to protect the key, if anything is.
    fn protection(&self, targets: &Targets) -> Result<Option<Secret>, CertsError> {
        let is_wanted = self.encrypt || matches!(targets, Targets::Pkcs12 { .. });
        let secret = match &self.passphrase_file {
            Some(file) => first_line(file)?,
            None if !is_wanted => return Ok(None),
            None => match from_environment(KEY_PASSPHRASE) {
                Some(secret) => secret,
                None => {
                    let prompt = format!("New passphrase for {}: ", targets.key().display());
                    secret::ask(&prompt, Ask::Twice)?
                }
            },
        };
        check_passphrase(&secret)?;
        Ok(Some(secret))
    }
}

/// A name as a file may be called: no slash, no star, no colon, no dot at its start.
fn file_stem(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._@+-".contains(c) {
            c
        } else {
            '_'
        }
    };
    // As others do it.
    let name = name.replace('*', "_wildcard");
    // 255 bytes are what most file systems take, with what comes after the dot.
    let stem: String = name.chars().map(plain).take(200).collect();
    if stem.starts_with(['.', '-']) {
        return format!("_{stem}");
    }
    stem
}

// === Passphrases ===

pub(super) fn from_environment(name: &str) -> Option<Secret> {
    let word = std::env::var_os(name)?;
    Some(Zeroizing::new(word.into_encoded_bytes()))
}

pub(super) fn first_line(file: &Path) -> Result<Secret, CertsError> {
    let failed = |source| CertsError::Read {
        file: file.to_owned(),
        source,
    };
    let open = File::open(file).map_err(failed)?;
    secret::line(BufReader::new(open)).map_err(failed)
}

fn check_passphrase(secret: &Secret) -> Result<(), CertsError> {
    let Ok(text) = std::str::from_utf8(secret) else {
        return Err(CertsError::NotText);
    };
    if secret.len() > MAX_PASSWORD_BYTES || text.contains('\0') {
        return Err(CertsError::NotText);
    }
    let found = text.chars().count();
    if found < MIN_CHARACTERS {
        return Err(CertsError::TooShort { found });
    }
    Ok(())
}

impl SignerArgs {
    fn load(&self) -> Result<Option<Authority>, CertsError> {
        let Some(certificate) = &self.ca else {
            return Ok(None);
        };
        let key = match &self.ca_key {
            Some(key) => key.clone(),
            None => certificate.with_extension("key"),
        };
        // Before anything is asked.
        let given = match &self.ca_passphrase_file {
            Some(file) => Some(first_line(file)?),
            None => from_environment(CA_PASSPHRASE),
        };
        let passphrase = || match given {
            Some(secret) => Ok(secret),
            None => secret::ask(&format!("Passphrase of {}: ", key.display()), Ask::Once).map_err(
                |error| match error {
                    AskError::Read(error) => error,
                    AskError::Mismatch => io::Error::other(error),
                },
            ),
        };
        Ok(Some(Authority::load(certificate, &key, passphrase)?))
    }
}

// === Made ===

/// A certificate that has been made and written.
struct Made {
    issued: Issued,
    /// Who signed it; `None`: itself.
    signer: Option<String>,
    is_protected: bool,
    files: Vec<(&'static str, String)>,
}

impl Made {
    fn new(
        order: Order,
        authority: Option<Authority>,
        targets: &Targets,
        output: &OutputArgs,
    ) -> Result<Self, CertsError> {
        let protection = output.protection(targets)?;
        let issued = order.issue(authority.as_ref())?;
        let new = |path: &Path, content: Zeroizing<Vec<u8>>, access| NewFile {
            path: path.to_owned(),
            content,
            access,
        };
        let files = match targets {
            // The key first: a certificate without its key is of no use to anybody.
            Targets::Pem { certificate, key } => vec![
                new(key, issued.key_pem(protection.as_ref())?, Access::Private),
                new(
                    certificate,
                    Zeroizing::new(issued.chain_pem()?.into_bytes()),
                    Access::Public,
                ),
            ],
            Targets::Pkcs12 { file, alias } => {
                let password = protection.as_deref().map_or(&[][..], Vec::as_slice);
                let password = std::str::from_utf8(password).map_err(|_| CertsError::NotText)?;
                let content = Zeroizing::new(issued.pkcs12(alias, password)?);
                vec![new(file, content, Access::Private)]
            }
        };
        write(&files, output.existing())?;
        Ok(Self {
            files: described(targets, &issued, protection.is_some()),
            signer: authority.map(|authority| authority.name()),
            is_protected: protection.is_some(),
            issued,
        })
    }

    /// What was made, by whom, until when, and where it is.
    fn said(&self, what: &str, days: u32) -> String {
        let mut text = format!("Made {what}\n");
        let mut line = |label: &str, value: &str| {
            let _ = writeln!(text, "  {label:12} {value}");
        };
        let signer = self.signer.as_ref().map(|signer| format!("\"{signer}\""));
        line("signed by", signer.as_deref().unwrap_or("itself"));
        let mut until = date(self.issued.not_after());
        if self.issued.is_shortened() {
            let _ = write!(
                until,
                " (not for {days} days: that is when its CA ends, too)"
            );
        }
        line("good until", &until);
        for (label, file) in &self.files {
            line(label, file);
        }
        text
    }
}

/// Each file with what is in it.
fn described(
    targets: &Targets,
    issued: &Issued,
    is_protected: bool,
) -> Vec<(&'static str, String)> {
    let protection = if is_protected {
        "encrypted"
    } else {
        "not encrypted"
    };
    match targets {
        Targets::Pem { certificate, key } => {
            let above = match issued.intermediate_count() {
                0 => String::new(),
                1 => " (with that of the CA above it)".to_owned(),
                count => format!(" (with those of {count} CAs above it)"),
            };
            let certificate = format!("{}{above}", certificate.display());
            let key = format!("{} ({protection}, readable by you only)", key.display());
            vec![("certificate", certificate), ("private key", key)]
        }
        Targets::Pkcs12 { file, alias } => {
            let file = file.display();
            let text = format!("{file} ({protection}, readable by you only; alias \"{alias}\")");
            vec![("PKCS#12", text)]
        }
    }
}
